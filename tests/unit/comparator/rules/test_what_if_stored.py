"""comparator.rules.what_if_stored: rules tried on what the store holds, without the responses."""

import pytest

from comparator.rules.what_if_stored import Stored, StoredTrial, render_stored_trial, try_on_stored
from comparator.settings import CompareSettings, HeaderRules, Rule
from comparator.stored_comparison import Detail, DifferenceText, TouchText
from comparator.tables import Table
from comparator.verdict import Comparator
from tests.support.comparisons import NOW

TIME = Rule(path="last_score_timestamp", time_within_ms=60_000)
TOUCHED = Detail(touches=(TouchText("compare.rules[0]", "last_score_timestamp"),))


def changed(place: str, served: str, mirrored: str, *, key: str = "") -> Detail:
    return Detail(differences=(DifferenceText("changed", place, served, mirrored, key),))


def tried(detail: Detail, *rules: Rule, **settings: object) -> StoredTrial:
    old = Comparator(CompareSettings(rules=(TIME,)))
    new = Comparator(CompareSettings(rules=rules, **settings))  # type: ignore[arg-type]
    return try_on_stored(old, new, ["a"], [Stored("a", "r", detail)], [], now=NOW)


def outcome(found: StoredTrial) -> tuple[int, int, int, int]:
    return len(found.trial.hidden), len(found.trial.revealed), found.not_judged, found.trial.verdicts_changed


@pytest.mark.parametrize(
    ("detail", "rule", "expected"),
    [
        (changed("score", '"1.0"', '"1.1"'), Rule(path="score", absolute="0.2"), (1, 0, 0, 1)),
        (changed("score", '"1.0"', '"1.1"'), Rule(path="score", absolute="0.01"), (0, 0, 0, 0)),
        (changed("stamps.Ens.score", "1", "2"), Rule(path="stamps", ignore=True), (1, 0, 0, 1)),
        (changed("items[0].score", "1", "2"), Rule(path="items", unordered=True), (0, 0, 0, 0)),
        (changed("a", "1", '"xx… (9 more characters)'), Rule(path="a", same="number"), (0, 0, 1, 0)),
        (changed("a", "1", '"xx… (9 more characters)'), Rule(path="a", ignore=True), (1, 0, 0, 1)),
        (changed("t.a", "1", "2", key='["x"]'), Rule(path="**", ignore=True), (0, 0, 0, 0)),
        (Detail(differences=(DifferenceText("status", "(status)", "200", "500"),)), TIME, (0, 0, 0, 0)),
    ],
)
def test_a_difference_is_judged_again_by_its_values(
    detail: Detail, rule: Rule, expected: tuple[int, int, int, int]
) -> None:
    assert outcome(tried(detail, TIME, rule)) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((TIME,), (0, 0, 0, 0)),
        ((Rule(path="last_score_timestamp", ignore=True),), (0, 0, 0, 0)),
        ((Rule(path="last_score_timestamp", time_within_ms=1),), (0, 0, 1, 0)),
        ((), (0, 1, 0, 1)),
    ],
)
def test_a_place_that_a_rule_hid_is_revealed_without_one(
    rules: tuple[Rule, ...], expected: tuple[int, int, int, int]
) -> None:
    assert outcome(tried(TOUCHED, *rules)) == expected


def test_changed_rules_of_rows_cannot_be_judged() -> None:
    rows = changed("t.a", "1", "2", key='["x"]')
    assert tried(rows, TIME, tables={"t": Table(natural_key=("id",))}).not_judged == 1


def test_what_is_missing_and_what_no_rule_concerns_is_counted() -> None:
    both = Comparator(CompareSettings()), Comparator(CompareSettings(headers=HeaderRules()))
    found = try_on_stored(*both, ["a", "b"], [Stored("a", "r", Detail())], [], now=NOW)
    assert (found.exchanges, found.missing, found.plain, found.trial.compared) == (2, 1, 1, 1)
    assert "2 exchanges in the journal: 1 without a stored comparison, 1 matched" in render_stored_trial(found)
