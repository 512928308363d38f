"""The list of rules names each by the path that a comparison gives, and says what it allows."""

import datetime as dt

from comparator.rules.known_differences import compile_known
from comparator.settings import CompareSettings, HeaderRules, KnownDifference, KnownPlace, RuleSettings
from comparator.store.rows import RuleTotal
from comparator.tables import JsonColumn, Table, Volatile
from proxy.ui.rule_words import rules_in_words
from proxy.ui.rules import rule_lines

TODAY = dt.date(2026, 1, 2)
KNOWN = KnownDifference(
    name="rounding",
    reason="half up",
    ticket="T-1",
    routes=("score",),
    where=(KnownPlace(path="score"),),
    expires=dt.date(2026, 1, 1),
)
COMPARE = CompareSettings(
    rules=(RuleSettings(path="at", time_within_ms=60_000, owner="scoring"),),
    headers=HeaderRules(ignore=("x-age",)),
    tables={
        "event": Table(
            natural_key=("id",),
            ignore_columns=("trace",),
            volatile={"at": Volatile(within_ms=500)},
            json={"data": JsonColumn(ignore=("a",), within_ms={"t": 2_000})},
        )
    },
    known_differences=(KNOWN,),
)


def test_every_rule_is_listed_once_with_its_place_and_words() -> None:
    listed = {path: (words.path, words.applies_to, words.line) for path, words in rules_in_words(COMPARE).items()}
    defaults = set(rules_in_words(CompareSettings()))
    assert {path: words for path, words in listed.items() if path not in defaults or "x-age" in words[0]} == {
        "compare.rules[0]": ("at", "all routes", "within 60 s (scoring)"),
        "compare.headers.ignore[0]": ("header x-age", "all routes", "ignored"),
        "compare.tables.event.ignore_columns[0]": ("trace", "table event", "ignored"),
        "compare.tables.event.volatile.at": ("at", "table event", "within 500 ms"),
        "compare.tables.event.json.data.ignore[0]": ("data.a", "table event", "ignored"),
        "compare.tables.event.json.data.within_ms.t": ("data.t", "table event", "within 2 s"),
        "compare.known_differences[rounding]": ("rounding", "routes score", "known difference: rounding"),
    }


def test_known_difference_is_listed_by_the_name_that_comparisons_give() -> None:
    assert {one.id for one in compile_known(COMPARE)} <= rules_in_words(COMPARE).keys()


def test_hits_are_known_where_the_store_answers() -> None:
    declared = "compare.known_differences[rounding]"
    by_path = {
        line.declaration: line for line in rule_lines(COMPARE, {declared: RuleTotal(declared, 7, 2, ())}, today=TODAY)
    }
    assert (by_path[declared].hits, by_path["compare.rules[0]"].hits) == (7, 0)
    assert by_path[declared].missed == 2
    assert (by_path[declared].expired, by_path[declared].reason) == (True, "half up [T-1]")
    assert {line.hits for line in rule_lines(COMPARE, None, today=TODAY)} == {None}
