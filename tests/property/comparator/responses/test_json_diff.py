"""Laws of the structural walk, with DeepDiff as the oracle."""

import datetime as dt
import json
import random
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from comparator.exchanges.difference import MIRRORED_KINDS, Difference
from comparator.exchanges.json_place import path_text
from comparator.exchanges.json_values import value_text
from comparator.exchanges.model import HeaderList, Response
from comparator.responses.compare import compare_responses, surely_equal
from comparator.responses.exact_json import parse
from comparator.responses.json_diff import Walk, fingerprint, same, walk
from comparator.rules.actions import ComparisonTime
from comparator.rules.compile import NO_RULES, RuleSet, compile_route, compile_rule
from comparator.rules.json_paths import parse_pattern
from comparator.settings import CompareSettings, RuleSettings
from comparator.store.deepdiff_rendering import deep_difference

TODAY = ComparisonTime(dt.date(2026, 3, 4))
RULES = compile_route(CompareSettings(), "")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.sampled_from([Decimal("0.5"), Decimal("1.0"), Decimal("1.00"), Decimal("1E+2")])
    | st.sampled_from(["", "a", "1", "1.00000", "2026-03-04T12:00:00Z", "é", "__x"])
    | st.text(max_size=4)
)
names = st.sampled_from(["a", "b", "score", "__private", "a.b", "", "é", "[0]"]) | st.text(max_size=3)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=25
)


def text(value: Any, **layout: Any) -> bytes:
    """JSON with decimals digit by digit."""
    return value_text(value).encode("utf-8", "surrogatepass") if not layout else json.dumps(value, **layout).encode()


def differences(a: Any, b: Any, rules: RuleSet = NO_RULES) -> list[Difference]:
    return walk(a, b, rules, TODAY).differences


def by_texts(a: Any, b: Any) -> list[Difference]:
    finished = Walk(NO_RULES, TODAY)
    finished.compare_texts(text(a), text(b))
    return finished.differences


def shape(found: list[Difference]) -> list[tuple[str, str, str, str]]:
    return sorted((d.kind, d.place, value_text(d.served), value_text(d.mirrored)) for d in found)


@given(documents)
def test_document_does_not_differ_from_itself(document: Any) -> None:
    assert differences(document, document) == []


@given(documents, documents)
def test_swapping_the_sides_mirrors_the_differences(a: Any, b: Any) -> None:
    mirrored = [d.swapped() for d in differences(b, a)]
    assert shape(differences(a, b)) == shape(mirrored)
    assert all(MIRRORED_KINDS.get(MIRRORED_KINDS.get(d.kind, d.kind), d.kind) == d.kind for d in mirrored)


@given(documents, documents)
def test_walk_of_texts_agrees_with_walk_of_documents(a: Any, b: Any) -> None:
    assert shape(by_texts(a, b)) == shape(differences(a, b))


@given(st.dictionaries(names, documents, min_size=1, max_size=4), st.data())
def test_walk_of_texts_agrees_if_one_member_changed(document: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(document)))
    other = {**document, name: data.draw(documents)}
    assert shape(by_texts(document, other)) == shape(differences(document, other))


@settings(max_examples=200)
@given(documents, documents)
def test_deepdiff_agrees_on_whether_documents_differ(a: Any, b: Any) -> None:
    """The one disagreement is declared: DeepDiff calls True and 1 equal inside some containers, we never do."""
    ours = bool(differences(a, b))
    theirs = bool(deep_difference(a, b))
    assert ours == theirs or (ours and blurred(a) == blurred(b))


def blurred(value: Any) -> Any:
    """The document as Python's == sees it: True is 1, 1 is 1.0."""
    if isinstance(value, dict):
        return {name: blurred(item) for name, item in value.items()}
    if isinstance(value, list):
        return [blurred(item) for item in value]
    return float(value) if isinstance(value, bool | int | Decimal) else value


@given(documents, documents)
def test_walk_equality_and_fingerprint_are_the_same_relation(a: Any, b: Any) -> None:
    assert (differences(a, b) == []) == same(a, b) == (fingerprint(a) == fingerprint(b))


@given(documents)
def test_writing_and_parsing_a_document_is_the_identity(document: Any) -> None:
    assert same(parse(text(document)), document)


@given(st.lists(scalars, max_size=6), st.randoms(use_true_random=False))
def test_unordered_array_is_a_multiset(items: list[Any], shuffler: random.Random) -> None:
    shuffled = items[:]
    shuffler.shuffle(shuffled)
    rules = RuleSet([compile_rule(RuleSettings(path="items", unordered=True), "r")])
    assert differences({"items": items}, {"items": shuffled}, rules) == []


@given(st.lists(scalars, min_size=1, max_size=6), st.data())
def test_unordered_array_with_an_extra_element_differs(items: list[Any], data: st.DataObject) -> None:
    more = [*items, data.draw(st.sampled_from(items))]
    rules = RuleSet([compile_rule(RuleSettings(path="items", unordered=True), "r")])
    assert len(differences({"items": items}, {"items": more}, rules)) == 1


@given(st.dictionaries(st.text(max_size=3), scalars, max_size=5), st.randoms(use_true_random=False))
def test_keyed_array_is_paired_by_its_key(values: dict[str, Any], shuffler: random.Random) -> None:
    items = [{"k": key, "v": value} for key, value in values.items()]
    shuffled = items[:]
    shuffler.shuffle(shuffled)
    rules = RuleSet([compile_rule(RuleSettings(path="$", key_by=("k",)), "r")])
    assert differences(items, shuffled, rules) == []


@given(documents, documents)
def test_ignoring_everything_leaves_no_difference(a: Any, b: Any) -> None:
    rules = RuleSet([compile_rule(RuleSettings(path="**", ignore=True), "r")])
    assert differences(a, b, rules) == []


@given(documents, documents)
def test_rule_hides_exactly_the_differences_at_its_place(a: Any, b: Any) -> None:
    found = differences(a, b)
    hidden = {d.path for d in found[::2]}
    rules = RuleSet(
        [compile_rule(RuleSettings(path=path_text(path) or "$", ignore=True), "r") for path in sorted(hidden, key=str)]
    )
    left = differences(a, b, rules)
    assert [d for d in left if d.path in hidden] == []
    assert {d.path for d in found} - hidden >= {d.path for d in left}


@given(st.lists(names | st.integers(0, 9), max_size=5))
def test_written_path_parses_to_the_same_place(path: list[str | int]) -> None:
    steps = [getattr(s, "name", getattr(s, "index", None)) for s in parse_pattern(path_text(path))]
    assert steps == path


@given(st.text(max_size=12))
def test_parsing_a_path_raises_only_value_error(path: str) -> None:
    try:
        parse_pattern(path)
    except ValueError as error:
        assert str(error)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_two_bodies_are_compared_without_error(a: bytes, b: bytes) -> None:
    rules = compile_route(CompareSettings(), "")
    left, right = (Response(200, (("Content-Type", "application/json"),), body) for body in (a, b))
    found = compare_responses(left, right, rules, TODAY, max_bytes=1000)
    assert bool(found.differences) or a == b or same(parse(a), parse(b))


header_lines = st.lists(
    st.tuples(st.sampled_from(["Date", "Server", "server", "Content-Type", "Location", "Vary"]), st.sampled_from("ab")),
    max_size=4,
).map(tuple)


@given(header_lines, header_lines, st.sampled_from([b"", b"{}"]), st.sampled_from([b"", b"{}"]), st.booleans())
def test_surely_equal_responses_do_not_differ(
    ours: HeaderList, theirs: HeaderList, a: bytes, b: bytes, cut: bool
) -> None:
    left, right = Response(200, ours, a), Response(200, theirs, b, cut)
    first = surely_equal(left, right, RULES), surely_equal(left, right, RULES)
    found = compare_responses(left, right, RULES, TODAY, max_bytes=1000)
    assert first[0] == first[1]
    assert not (first[0] and found.differences)
