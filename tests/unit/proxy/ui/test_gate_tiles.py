"""The tiles of gates, from the document that a proxy sends."""

import datetime as dt
from dataclasses import replace

import pytest

from comparator.stats.confidence import VerdictCounts
from proxy.config.rollout import AutoRollbackSettings, GateSettings, RolloutSettings, StepSettings
from proxy.rollout.assessment import Assessment
from proxy.rollout.evidence import Evidence, Hits, RouteEvidence, WindowEvidence
from proxy.rollout.gates import judge
from proxy.rollout.group_state import GroupState
from proxy.ui.gate_tiles import GateTile, blocked_by, outcomes_of, tiles_of

SETTINGS = RolloutSettings(
    gates=GateSettings(comparisons_min=1_000, time_min_s=60),
    auto_rollback=AutoRollbackSettings(consecutive_evaluations=4),
)
HITS = Hits(count=42, keys=10)
ROUTE = RouteEvidence(
    VerdictCounts(match=298, mismatch=42), judged=340, mismatches=HITS, effects_compared=340, effects=HITS, pairs=340
)
EVIDENCE = Evidence(seconds=43.0, step=WindowEvidence({"v2_score": ROUTE}))


def tiles(evidence: Evidence = EVIDENCE, **more: object) -> dict[str, GateTile]:
    """Return the tiles of what the gates say about some evidence, as they go over the wire."""
    results = judge(evidence, SETTINGS.gates, StepSettings(25.0), SETTINGS.auto_rollback)
    now = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
    snapshot = Assessment("all", GroupState(), now, evidence, results).snapshot()
    return {tile.name: tile for tile in tiles_of({**snapshot, **more}, SETTINGS)}


def test_failing_gate_shows_rate_denominator_interval_and_limit() -> None:
    tile = tiles(streaks={"mismatches": 3})["mismatches"]
    assert (tile.tone, tile.word, tile.value, tile.of) == ("bad", "fail", "12.35 %", "42 of 340")
    assert tile.note.startswith("6.3 % to 20.9 %; ")
    assert tile.note.endswith("allowed at most 0.10 %; failed 3 times in a row, rollback at 4")
    assert tile.bar is not None
    assert tile.bar.dot is not None
    assert tile.bar.threshold is not None
    assert tile.bar.threshold < tile.bar.x < tile.bar.dot < tile.bar.x + tile.bar.width <= 100


def test_minimum_says_when_it_will_be_enough() -> None:
    held = tiles()
    assert (held["comparisons"].value, held["comparisons"].of) == ("340", "of 1,000")
    assert held["comparisons"].note == "enough in 1 min 23 s at 7.9/s"
    assert held["time"].note == "enough in 17 s"


def test_minimum_without_traffic_says_so() -> None:
    assert tiles(Evidence(seconds=43.0))["comparisons"].note == "nothing comes in"


def test_gate_without_a_figure_shows_its_reason() -> None:
    tile = tiles()["latency"]
    assert (tile.value, tile.bar) == ("no data", None)
    assert tile.note == tile.reason


def test_failing_gates_come_first_then_those_that_wait() -> None:
    order = [tile.word for tile in tiles().values()]
    assert order == sorted(order, key=["fail", "not enough", "pass"].index)
    assert outcomes_of(list(tiles().values()))[0] == ("bad", f"{order.count('fail')} fail")


def test_promotion_names_the_gates_that_block_it() -> None:
    held = list(tiles().values())
    assert blocked_by(held).startswith("mismatches and effects fail; ")
    assert "time" in blocked_by(held).partition(";")[2]
    assert blocked_by([replace(tile, outcome="good") for tile in held]) == ""


def test_history_is_drawn_by_outcome() -> None:
    tile = tiles(history={"time": ["not_enough_evidence", "good", "bad"]})["time"]
    assert [one.word for one in tile.history] == ["not enough", "pass", "fail"]
    assert tile.history[1].y > tile.history[0].y > tile.history[2].y


def measured(
    value: float, high: float, *, limit: float = 0.005, unit: str = "share", outcome: str = "not_enough_evidence"
) -> str:
    """Return the note of a gate that judges an estimate after a minute."""
    measure = {"unit": unit, "value": value, "low": 0.0, "high": high, "limit": limit}
    gate = {"gate": "errors", "outcome": outcome, "reason": "", "measure": measure}
    (tile,) = tiles_of({"gates": [gate], "figures": {"seconds": 60.0}}, SETTINGS)
    return tile.note.rpartition("; ")[2]


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (measured(0.002, 0.009), "enough in about 4 min"),
        (measured(0.0, 0.02), "enough in about 3 min"),
        (measured(0.006, 0.02), "above what is allowed so far"),
        (measured(0.001, 0.002), "allowed at most 0.50 %"),
        (measured(0.002, 0.009, outcome="good"), "allowed at most 0.50 %"),
        (measured(1.0, 1.44, limit=1.2, unit="ratio"), "enough in about 3 min"),
    ],
)
def test_estimate_says_when_its_interval_will_be_narrow_enough(note: str, expected: str) -> None:
    assert note == expected


def test_coverage_names_one_route_and_counts_the_others() -> None:
    routes = {"v2_score": ROUTE, **{f"route_{number}": RouteEvidence(VerdictCounts()) for number in range(3)}}
    tile = tiles(replace(EVIDENCE, step=WindowEvidence(routes)))["coverage"]
    assert (tile.value, tile.of) == ("1", "of 4")
    assert tile.note.startswith("route_0 was not called at this step")
    assert tile.note.endswith(", and 2 more routes")
    assert "route_2" in tile.reason


def test_interval_without_an_upper_end_says_so_and_estimates_no_time() -> None:
    gate = {
        "gate": "latency",
        "outcome": "not_enough_evidence",
        "reason": "",
        "measure": {"unit": "ratio", "value": 0.19, "limit": 1.05, "low": 0.01, "high": float("inf")},
    }
    (tile,) = tiles_of({"gates": [gate], "figures": {"seconds": 60.0}}, SETTINGS)
    assert (tile.value, tile.note, tile.bar) == ("0.19\u00d7", "0.01\u00d7 or more; allowed at most 1.05\u00d7", None)
