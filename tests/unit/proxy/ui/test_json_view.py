"""proxy.ui.json_view: two responses aligned by path, candidate left, what is equal folded, what rules allow named."""

from collections.abc import Sequence

import pytest

from comparator.exchanges.model import Response, Side
from comparator.responses.exact_json import parse
from comparator.settings import CompareSettings, KnownDifference, KnownPlace, RuleSettings
from comparator.verdict import Comparator
from proxy.ui.json_view import LINES_MAX, VALUE_LINES_MAX, DiffLine, JsonView, Sign, json_view, response_marks
from proxy.ui.marked_text import Parts
from proxy.ui.rule_words import rules_in_words
from tests.support.comparisons import NOW, body_of, mirrored, response, served

SIGNS = {"equal": "=", "differs": "!", "only": "+", "suppressed": "~", "fold": "...", "left_out": "???"}


def text(parts: Parts | None) -> str:
    return "-" if parts is None else "".join(f"<{part.text}>" if part.changed else part.text for part in parts)


def written(view: JsonView) -> list[str]:
    return [written_line(line) for line in view.lines]


def written_line(line: DiffLine) -> str:
    sides = (
        text(line.candidate)
        if line.sign in {Sign.FOLD, Sign.LEFT_OUT}
        else f"{text(line.candidate)} | {text(line.legacy)}"
    )
    return "  " * line.depth + f"{SIGNS[line.sign]} {sides}" + (f"  ({line.why})" if line.why else "")


def view(
    candidate: object,
    legacy: object,
    *,
    rules: Sequence[RuleSettings] = (),
    known: Sequence[KnownDifference] = (),
    served_by: Side = Side.CANDIDATE,
) -> JsonView:
    settings = CompareSettings(rules=tuple(rules), known_differences=tuple(known))
    documents = {Side.CANDIDATE: candidate, Side.LEGACY: legacy}
    own, other = documents[served_by], documents[served_by.other]
    comparison = Comparator(settings).compare(
        "r", served(response(own), side=served_by), mirrored(response(other), side=served_by.other), now=NOW
    )
    marks = response_marks(comparison, rules_in_words(settings))
    return json_view(parse(body_of(own)), parse(body_of(other)), marks, served_by=served_by)


CANDIDATE = {
    "address": "0xab",
    "score": "6.46300",
    "passing_score": True,
    "last_score_timestamp": "2026-11-30T04:00:30.939466+00:00",
    "threshold": "20",
    "error": None,
    "stamps": {"Ens": {"score": "1.0"}, "Gold": {"score": "2.70000", "dedup": False}},
}
LEGACY = {
    **CANDIDATE,
    "score": "3.76300",
    "last_score_timestamp": "2026-11-30T04:00:31.261466+00:00",
    "stamps": {"Ens": {"score": "1.0"}},
}
TIME = RuleSettings(path="last_score_timestamp", time_within_ms=60_000, owner="scoring")
EXPECTED = [
    "... 1 equal member: address",
    '! "score": <"6.46300">, | "score": <"3.76300">,  (2.7 apart)',
    '= "passing_score": true, | "passing_score": true,',
    (
        '~ "last_score_timestamp": "2026-11-30T04:00:3<0.939>466+00:00", | "last_score_timestamp": "2026-11-30T04:00:3<1.261>466+00:00",'
        "  (within 60 s (scoring): 0.322 s apart)"
    ),
    "... 2 equal members: threshold, error",
    '= "stamps": { | "stamps": {',
    "  ... 1 equal member: Ens",
    '  + <"Gold": {> | -  (only on candidate)',
    '    + <"score": "2.70000",> | -',
    '    + <"dedup": false> | -',
    "  + <}> | -",
    "= } | }",
]


@pytest.mark.parametrize("served_by", list(Side))
def test_documents_are_aligned_with_the_candidate_left_whoever_served(served_by: Side) -> None:
    shown = view(CANDIDATE, LEGACY, rules=[TIME], served_by=served_by)
    assert written(shown) == EXPECTED
    assert (shown.differing, shown.suppressed, shown.equal, shown.left_out) == (2, 1, 5, 0)


def test_equal_documents_are_one_line() -> None:
    assert written(view(CANDIDATE, CANDIDATE)) == ["... both sides are equal"]


def test_known_difference_is_suppressed_with_its_ticket() -> None:
    known = KnownDifference(name="rounding", reason="rounding", ticket="T-1", where=(KnownPlace(path="score"),))
    lines = written(view({"score": "1"}, {"score": "2"}, known=[known]))
    assert lines[0] == '~ "score": <"1"> | "score": <"2">  (known [T-1]: rounding)'


def test_ignored_object_is_one_line() -> None:
    rule = RuleSettings(path="debug", ignore=True, reason="noise")
    lines = written(view({"debug": {"a": 1, "b": 2}, "x": 1}, {"debug": {"a": 2}, "x": 2}, rules=[rule]))
    assert lines[0] == '~ "debug": <{2 members}>, | "debug": <{1 members}>,  (ignored)'


def test_legacy_only_member_and_element_stand_on_the_right() -> None:
    lines = written(view({"a": [1, 2]}, {"a": [1, 2, 3], "b": 1}))
    assert "  + - | [2] <3>,  (only on legacy)" in lines
    assert '+ - | "b": <1>  (only on legacy)' in lines


def test_another_type_is_said() -> None:
    assert written(view({"a": 1}, {"a": "1"}))[0] == '! "a": <1> | "a": <"1">  (another type)'


def test_arrays_fold_equal_elements_by_index() -> None:
    lines = written(view({"a": [0, 1, 2, 3, 9, 5]}, {"a": [0, 1, 2, 3, 4, 5]}))
    assert lines[1:4] == [
        "  ... 4 equal elements: [0] to [3]",
        "  ! [4] <9>, | [4] <4>,  (5 apart)",
        "  ... 1 equal element: [5]",
    ]


def test_values_are_not_looked_up_behind_an_array_that_was_paired_otherwise() -> None:
    rules = [RuleSettings(path="a", key_by=("id",)), RuleSettings(path="a[*].at", ignore=True)]
    one, two = {"id": 1, "at": "x", "v": 1}, {"id": 2, "at": "y", "v": 1}
    lines = written(view({"a": [one, two]}, {"a": [{**two, "v": 2}, one]}, rules=rules))
    assert any(line.strip().startswith('! "v": <1> | "v": <2>') for line in lines)
    assert not any('"y"' in line and '"x"' in line for line in lines)


def test_value_of_one_side_is_bounded() -> None:
    lines = view({"a": {str(n): n for n in range(1000)}}, {}).lines
    assert sum(line.sign is Sign.ONLY for line in lines) == VALUE_LINES_MAX + 1
    assert "962 more lines" in text(lines[-1].candidate)


def test_places_beyond_the_bound_are_counted() -> None:
    shown = view([{"v": n} for n in range(900)], [{"v": -n - 1} for n in range(900)])
    assert len(shown.lines) <= LINES_MAX + 10
    places = sum(bool(line.place) for line in shown.lines)
    assert places + shown.left_out == 900
    assert f"{shown.left_out:,} more places differ" in text(shown.lines[-1].candidate)


def test_more_differences_than_are_kept_are_said_beside_those_that_are() -> None:
    shown = view([{"v": n} for n in range(1_200)], [{"v": -n - 1} for n in range(1_200)])
    assert any("more differences than are kept" in line.why for line in shown.lines)
    assert shown.lines[1].sign is Sign.EQUAL


def test_a_megabyte_is_shown_around_its_difference() -> None:
    long = "x" * 1_000_000
    (line,) = view({"a": f"{long}1{long}"}, {"a": f"{long}2{long}"}).lines
    assert len(text(line.candidate)) < 400
    assert "equal characters" in text(line.candidate)
    assert "<1>" in text(line.candidate)
    assert "<2>" in text(line.legacy)


def test_body_that_is_no_document_shows_what_was_compared() -> None:
    comparison = Comparator(CompareSettings()).compare(
        "r", served(response({"a": 1})), mirrored(Response(200, (("Content-Type", "application/json"),), b"{")), now=NOW
    )
    shown = json_view({"a": 1}, None, response_marks(comparison, {}), served_by=Side.CANDIDATE, is_document=False)
    assert "cannot be read" in shown.lines[0].why
    assert shown.differing == 1
