"""Times that both sides made while they worked on a request are comparable, however long it took; others keep their tolerance."""

import datetime as dt
from dataclasses import replace
from typing import Any, Final

import pytest

from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import Effects, Observation
from comparator.exchanges.row_changes import Transaction
from comparator.exchanges.table_schema import TableSchema
from comparator.findings.cases import case_of, dump, load, open_case
from comparator.findings.redaction import Redactor, keyed_digest
from comparator.findings.rule_trial import compare_case
from comparator.rules.run_times import Run, RunTimes, response_times, row_times
from comparator.settings import CompareSettings, RuleSettings
from comparator.tables import JsonColumn, Table, Volatile
from comparator.verdict import Comparator
from tests.support.comparisons import NOW, effects, exchange, insert, mirrored, response, served

LAG_S: Final = 20.0
"""The mirrored side begins so much later; the tolerance is a second."""
SCHEMA: Final = TableSchema(
    ("owner",), {"owner": "text", "at": "timestamptz", "ms": "bigint", "text_s": "text", "doc": "jsonb"}
)
SETTINGS: Final = CompareSettings(
    rules=(RuleSettings(path="at", time_within_ms=1000), RuleSettings(path="ms", time_within_ms=1000, epoch="ms")),
    tables={
        "seen": Table(
            natural_key=("owner",),
            volatile={
                "at": Volatile(within_ms=1000),
                "ms": Volatile(within_ms=1000, epoch="ms"),
                "text_s": Volatile(within_ms=1000, epoch="s"),
            },
            json={"doc": JsonColumn(within_ms={"at": 1000})},
        )
    },
)
COMPARATOR: Final = Comparator(SETTINGS)
DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0


def at(after_s: float) -> dt.datetime:
    """Return a time so many seconds after the proxy received the request."""
    return NOW + dt.timedelta(seconds=after_s)


def iso(after_s: float) -> str:
    return at(after_s).isoformat()


def epoch(after_s: float, per_second: int) -> int:
    return round(at(after_s).timestamp() * per_second)


def in_row(after_s: float) -> dict[str, Any]:
    """Return every kind of column that holds a time."""
    return {
        "at": iso(after_s).replace("T", " "),
        "ms": epoch(after_s, 1000),
        "text_s": f"{at(after_s).timestamp():f}",
        "doc": {"at": iso(after_s)},
    }


def in_body(after_s: float) -> dict[str, Any]:
    return {"at": iso(after_s), "ms": epoch(after_s, 1000)}


def run_of(
    observed: Observation, took_s: float, began_s: float, row: dict[str, Any] | None, committed_s: float
) -> Observation:
    """Return an observation that began and ended then, and committed a row if one is given."""
    found = effects()
    if row is not None:
        committed_us = epoch(committed_s, 1_000_000)
        change = insert("seen", owner="k", **row)
        found = Effects(found.outcome, (Transaction(1, 1, 1, committed_us, (change,)),), {"seen": SCHEMA})
    began_ns = epoch(began_s, 1_000_000) * 1000
    return replace(observed, started_ns=began_ns, duration_ns=round(took_s * 1e9), effects=found)


def pair(
    left_s: float, right_s: float, *, took_s: tuple[float, float], late_s: tuple[float, float] = (0, 0), rows: bool
) -> tuple[Observation, Observation]:
    """Return both observations of a request: the served one began at 0 and wrote `left_s`, the mirrored one began at LAG_S."""
    content = (in_row(left_s), in_row(right_s)) if rows else (None, None)
    bodies = ({}, {}) if rows else (in_body(left_s), in_body(right_s))
    return (
        run_of(served(response(bodies[0])), took_s[0], 0, content[0], took_s[0] + late_s[0]),
        run_of(mirrored(response(bodies[1])), took_s[1], LAG_S, content[1], LAG_S + took_s[1] + late_s[1]),
    )


def verdict(*observed: Observation) -> Verdict:
    return COMPARATOR.compare("r", *observed, now=NOW).verdict


QUICK: Final = 0.01
SLOW: Final = 10.0
AGREEING: Final = {
    "both quick, current": ((QUICK, QUICK), 0, LAG_S),
    "served slowly, written at the receipt": ((SLOW, QUICK), 0, LAG_S),
    "served slowly, written at the commit": ((SLOW, QUICK), SLOW, LAG_S),
    "served slowly, written between": ((SLOW, QUICK), 6.5, LAG_S),
    "mirrored slowly, written at the commit": ((QUICK, SLOW), 0, LAG_S + SLOW),
    "both slow, at opposite ends": ((SLOW, SLOW), 0, LAG_S + SLOW),
    "both slow, at the other ends": ((SLOW, SLOW), SLOW, LAG_S),
    "clocks apart by the tolerance": ((SLOW, QUICK), SLOW + 0.9, LAG_S),
    "in a day, served slowly": ((SLOW, QUICK), DAY_S + SLOW, DAY_S + LAG_S),
    "an hour ago, mirrored slowly": ((QUICK, SLOW), -HOUR_S, LAG_S + SLOW - HOUR_S),
    "not derived from the clock": ((SLOW, QUICK), -DAY_S, -DAY_S + 0.5),
    "in five seconds, quick": ((QUICK, QUICK), 5, LAG_S + 5),
    "in five seconds, served slowly": ((SLOW, QUICK), 4 + 5, LAG_S + 5),
}
WRONG: Final = {
    "quick, a time of two seconds ago": ((QUICK, QUICK), 0, LAG_S - 2),
    "quick, two seconds ahead": ((QUICK, QUICK), 0, LAG_S + 2),
    "served slowly, mirrored an old time": ((SLOW, QUICK), SLOW, LAG_S - 5),
    "served slowly and early, mirrored an old time": ((SLOW, QUICK), 0, LAG_S - 5),
    "mirrored slowly, served an old time": ((QUICK, SLOW), -5, LAG_S + 2),
    "served slowly, mirrored ahead by more": ((SLOW, QUICK), 0, LAG_S + 2),
    "mirrored slowly, ahead by more than that": ((QUICK, SLOW), 0, LAG_S + SLOW + 2),
    "a day instead of an hour": ((SLOW, SLOW), HOUR_S, DAY_S),
    "a day wrong": ((SLOW, SLOW), 0, DAY_S + LAG_S),
    "another time zone": ((SLOW, SLOW), SLOW, LAG_S + HOUR_S),
    "an expiry wrong by more than the run": ((SLOW, QUICK), DAY_S, DAY_S + LAG_S + 5),
}


@pytest.mark.parametrize("rows", [True, False], ids=["row", "body"])
@pytest.mark.parametrize(("took_s", "left_s", "right_s"), AGREEING.values(), ids=AGREEING)
def test_times_of_the_runs_agree(took_s: tuple[float, float], left_s: float, right_s: float, *, rows: bool) -> None:
    assert verdict(*pair(left_s, right_s, took_s=took_s, rows=rows)) is Verdict.MATCH


@pytest.mark.parametrize("rows", [True, False], ids=["row", "body"])
@pytest.mark.parametrize(("took_s", "left_s", "right_s"), WRONG.values(), ids=WRONG)
def test_wrong_times_differ_however_long_a_run_took(
    took_s: tuple[float, float], left_s: float, right_s: float, *, rows: bool
) -> None:
    compared = COMPARATOR.compare("r", *pair(left_s, right_s, took_s=took_s, rows=rows), now=NOW)
    places = {"seen.at", "seen.ms", "seen.text_s", "seen.doc.at"} if rows else {"at", "ms"}
    assert {difference.place for difference in compared.differences} == places


def test_commit_behind_the_response_ends_the_run_of_rows_only() -> None:
    times = {"left_s": 8.0, "right_s": LAG_S, "took_s": (QUICK, QUICK), "late_s": (8.0, 0.0)}
    assert verdict(*pair(**times, rows=True)) is Verdict.MATCH
    assert verdict(*pair(**times, rows=False)) is Verdict.MISMATCH


def test_without_the_beginning_of_a_run_only_the_tolerance_counts() -> None:
    left, right = pair(SLOW, LAG_S, took_s=(SLOW, QUICK), rows=True)
    assert response_times(left, replace(right, started_ns=0)) is None
    assert row_times(replace(left, started_ns=0), right) is None
    assert verdict(left, replace(right, started_ns=0)) is Verdict.MISMATCH


def test_number_and_text_are_never_the_same_time() -> None:
    left, right = pair(0, LAG_S, took_s=(SLOW, QUICK), rows=False)
    mixed = replace(right, outcome=response({"at": iso(LAG_S), "ms": str(epoch(LAG_S, 1000))}))
    assert verdict(left, mixed) is Verdict.MISMATCH


def test_stored_case_keeps_when_both_sides_began() -> None:
    left, right = pair(SLOW, LAG_S, took_s=(SLOW, QUICK), rows=True)
    one = replace(exchange(at=at(0)), started_ns=left.started_ns)
    opened = open_case(load(dump(case_of(one, left, right, Redactor((), keyed_digest(b"salt"))))))
    assert (opened.served.started_ns, opened.mirrored.started_ns) == (left.started_ns, right.started_ns)
    assert compare_case(COMPARATOR, opened, now=NOW).verdict is Verdict.MATCH


def test_distance_beyond_what_the_runs_explain() -> None:
    runs = RunTimes(Run(0, 10), Run(100, 101))
    assert [runs.apart_us(0, later) for later in (85, 90, 95, 101, 104)] == [5, 0, 0, 0, 3]
