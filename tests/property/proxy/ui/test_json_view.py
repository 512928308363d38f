"""proxy.ui.json_view agrees with the comparator, whatever the documents."""

from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from comparator.exchanges.model import Side
from comparator.exchanges.visible_text import visible
from comparator.responses.exact_json import parse
from comparator.settings import CompareSettings, RuleSettings
from comparator.verdict import Comparator
from proxy.ui.json_view import LINES_MAX, VALUE_LINES_MAX, JsonView, Sign, json_view, response_marks
from proxy.ui.marked_text import compared
from proxy.ui.rule_words import rules_in_words
from tests.support.comparisons import NOW, body_of, mirrored, response, served

NAMES = st.sampled_from(["a", "b", "c", "<script>", 'x"y', "\u202eabc", "\x1b[31m"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "x", "\x00", "1.50", "</td>"]))


def documents(*, arrays: bool) -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.dictionaries(NAMES, inner, max_size=4), *([st.lists(inner, max_size=4)] if arrays else [])
        ),
        max_leaves=12,
    )


RULES = st.sampled_from(
    [
        (),
        (RuleSettings(path="a", ignore=True),),
        (RuleSettings(path="**.b", ignore=True), RuleSettings(path="**.c", unordered=True)),
        (RuleSettings(path="*", unordered=True),),
        (RuleSettings(path="**.a", key_by=("b",)),),
    ]
)


def viewed(candidate: object, legacy: object, rules: tuple[RuleSettings, ...], served_by: Side) -> tuple[JsonView, int]:
    configuration = CompareSettings(rules=rules)
    by_side = {Side.CANDIDATE: candidate, Side.LEGACY: legacy}
    own, other = by_side[served_by], by_side[served_by.other]
    comparison = Comparator(configuration).compare(
        "r", served(response(own), side=served_by), mirrored(response(other), side=served_by.other), now=NOW
    )
    marks = response_marks(comparison, rules_in_words(configuration))
    view = json_view(parse(body_of(own)), parse(body_of(other)), marks, served_by=served_by)
    return view, len(comparison.differences)


@settings(max_examples=150)
@given(documents(arrays=True), documents(arrays=True), RULES, st.sampled_from(Side))
@example([None, None, [None]], [None, None, [], None], (), Side.LEGACY)
def test_every_difference_is_shown_once_or_counted(
    candidate: object, legacy: object, rules: tuple[RuleSettings, ...], served_by: Side
) -> None:
    view, differences = viewed(candidate, legacy, rules, served_by)
    shown = sum(line.sign in {Sign.DIFFERS, Sign.ONLY} and bool(line.place) for line in view.lines)
    assert view.differing == differences
    assert shown + view.left_out >= differences >= shown
    assert len(view.lines) <= LINES_MAX + VALUE_LINES_MAX + 60


@given(documents(arrays=True), RULES, st.sampled_from(Side))
def test_equal_documents_differ_nowhere(document: object, rules: tuple[RuleSettings, ...], served_by: Side) -> None:
    view, _ = viewed(document, document, rules, served_by)
    assert [line.sign for line in view.lines] == [Sign.FOLD]


@given(documents(arrays=False), documents(arrays=False))
def test_the_candidate_is_left_whichever_side_serves(candidate: object, legacy: object) -> None:
    def texts(served_by: Side) -> Counter[object]:
        view, _ = viewed(candidate, legacy, (), served_by)
        return Counter(
            (line.sign, bare(line.candidate), bare(line.legacy), line.why)
            for line in view.lines
            if line.sign in {Sign.DIFFERS, Sign.ONLY}
        )

    assert texts(Side.CANDIDATE) == texts(Side.LEGACY)


def bare(parts: Any) -> str | None:
    """Return a side's text without the comma at its end, which depends on the order of members."""
    return None if parts is None else "".join(part.text for part in parts).rstrip(",")


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_marked_texts_say_nothing_else_than_the_texts(head: str, left: str, right: str) -> None:
    parts = compared(head + left, head + right)
    for own, text in zip(parts, (head + left, head + right), strict=True):
        joined = "".join(part.text for part in own)
        assert joined == visible(text) or "equal characters)" in joined or "more characters)" in joined
    assert any(part.changed for one in parts for part in one) == (left != right)
