"""comparator.store.stored_rule_trial: rules tried on what the store holds, without the responses."""

import pytest

from comparator.settings import CompareSettings, HeaderRules, KnownDifference, KnownPlace, RuleSettings
from comparator.store.comparison_detail import ComparisonDetail, DifferenceText, RuleHitText
from comparator.store.stored_rule_trial import StoredRow, StoredTrial, render_stored_trial, try_on_stored
from comparator.tables import Table
from comparator.verdict import Comparator
from tests.support.comparisons import NOW

TIME = RuleSettings(path="last_score_timestamp", time_within_ms=60_000)
TOUCHED = ComparisonDetail(rule_hits=(RuleHitText("compare.rules[0]", "last_score_timestamp"),))


def changed(place: str, served: str, mirrored: str, *, key: str = "") -> ComparisonDetail:
    return ComparisonDetail(differences=(DifferenceText("changed", place, served, mirrored, key),))


def tried(detail: ComparisonDetail, *rules: RuleSettings, **settings: object) -> StoredTrial:
    old = Comparator(CompareSettings(rules=(TIME,)))
    new = Comparator(CompareSettings(rules=rules, **settings))  # type: ignore[arg-type]
    return try_on_stored(old, new, ["a"], [StoredRow("a", "r", detail)], [], now=NOW)


def outcome(found: StoredTrial) -> tuple[int, int, int, int]:
    return len(found.trial.hidden), len(found.trial.revealed), found.not_judged, found.trial.verdicts_changed


@pytest.mark.parametrize(
    ("detail", "rule", "expected"),
    [
        (changed("score", '"1.0"', '"1.1"'), RuleSettings(path="score", absolute="0.2"), (1, 0, 0, 1)),
        (changed("score", '"1.0"', '"1.1"'), RuleSettings(path="score", absolute="0.01"), (0, 0, 0, 0)),
        (changed("stamps.Ens.score", "1", "2"), RuleSettings(path="stamps", ignore=True), (1, 0, 0, 1)),
        (changed("items[0].score", "1", "2"), RuleSettings(path="items", unordered=True), (0, 0, 0, 0)),
        (changed("a", "1", '"xx… (9 more characters)'), RuleSettings(path="a", same="number"), (0, 0, 1, 0)),
        (changed("a", "1", '"xx… (9 more characters)'), RuleSettings(path="a", ignore=True), (1, 0, 0, 1)),
        (changed("t.a", "1", "2", key='["x"]'), RuleSettings(path="**", ignore=True), (0, 0, 0, 0)),
        (ComparisonDetail(differences=(DifferenceText("status", "(status)", "200", "500"),)), TIME, (0, 0, 0, 0)),
    ],
)
def test_difference_is_judged_again_by_its_values(
    detail: ComparisonDetail, rule: RuleSettings, expected: tuple[int, int, int, int]
) -> None:
    assert outcome(tried(detail, TIME, rule)) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((TIME,), (0, 0, 0, 0)),
        ((RuleSettings(path="last_score_timestamp", ignore=True),), (0, 0, 0, 0)),
        ((RuleSettings(path="last_score_timestamp", time_within_ms=1),), (0, 0, 1, 0)),
        ((), (0, 1, 0, 1)),
    ],
)
def test_rule_hit_is_revealed_without_the_rule(
    rules: tuple[RuleSettings, ...], expected: tuple[int, int, int, int]
) -> None:
    assert outcome(tried(TOUCHED, *rules)) == expected


def test_header_equal_by_its_grammar_is_counted_and_no_rule_reveals_it() -> None:
    detail = ComparisonDetail(rule_hits=(RuleHitText("grammar: media type", "content-type"),))
    found = tried(detail)
    assert outcome(found) == (0, 0, 0, 0)
    assert found.trial.by_grammar == 1
    assert "equal by the grammar of a header, whatever the rules: 1" in render_stored_trial(found)


def test_changed_rules_of_rows_cannot_be_judged() -> None:
    rows = changed("t.a", "1", "2", key='["x"]')
    assert tried(rows, TIME, tables={"t": Table(natural_key=("id",))}).not_judged == 1


def test_missing_and_plain_exchanges_are_counted() -> None:
    both = Comparator(CompareSettings()), Comparator(CompareSettings(headers=HeaderRules()))
    found = try_on_stored(*both, ["a", "b"], [StoredRow("a", "r", ComparisonDetail())], [], now=NOW)
    assert (found.exchanges, found.missing, found.plain, found.trial.compared) == (2, 1, 1, 1)
    assert "2 exchanges in the journal: 1 without a stored comparison, 1 matched" in render_stored_trial(found)


KNOWN = KnownDifference(name="rounding", reason="half up", where=(KnownPlace(path="score"),))
OTHER = KnownDifference(name="rounding", reason="half up", where=(KnownPlace(path="points"),))
DECLARED = ComparisonDetail(
    known=(DifferenceText("changed", "score", "1", "2", rule="compare.known_differences[rounding]"),)
)


@pytest.mark.parametrize(
    ("detail", "old", "new", "expected"),
    [
        (DECLARED, (KNOWN,), (), (0, 1, 0, 1)),
        (DECLARED, (KNOWN,), (KNOWN,), (0, 0, 0, 0)),
        (DECLARED, (KNOWN,), (OTHER,), (0, 0, 1, 0)),
        (changed("score", "1", "2"), (), (KNOWN,), (0, 0, 1, 0)),
        (changed("score", "1", "2"), (KNOWN,), (), (0, 0, 0, 0)),
    ],
)
def test_declared_differences_are_revealed_without_their_declaration_and_never_guessed(
    detail: ComparisonDetail,
    old: tuple[KnownDifference, ...],
    new: tuple[KnownDifference, ...],
    expected: tuple[int, int, int, int],
) -> None:
    before, after = (Comparator(CompareSettings(known_differences=declared)) for declared in (old, new))
    assert outcome(try_on_stored(before, after, ["a"], [StoredRow("a", "r", detail)], [], now=NOW)) == expected
