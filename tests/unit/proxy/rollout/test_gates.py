"""Each gate's three outcomes, and when bad evidence rolls back."""

import random
from typing import Any

import pytest

from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import JudgementOutcome, VerdictCounts
from comparator.stats.quantile_sketch import QuantileSketch
from proxy.config.rollout import AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.evidence import AccountingTotals, Evidence, RouteEvidence, SuspectFinding
from proxy.rollout.gates import (
    GateResult,
    GateName,
    grounds_for_rollback,
    implicated_finding,
    judge,
    outcome_of,
    quantile_band,
    reasons_of,
    streaks_after,
)

AUTO = AutoRollbackSettings(consecutive=2, hits_min=3)


def durations(median_us: float, count: int, seed: int) -> QuantileSketch:
    source = random.Random(seed)
    sketch = QuantileSketch()
    for _ in range(count):
        sketch.add(median_us * source.lognormvariate(0, 0.4))
    return sketch


FAST, SLOW = durations(8_000, 6_000, 1), durations(10_000, 6_000, 2)


def good(**changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "seconds": 4_000.0,
        "routes": {"score": RouteEvidence(VerdictCounts(match=40_000), pairs=40_000)},
        "effects_compared": 40_000,
        "durations": {(Side.CANDIDATE, Role.SERVED): FAST, (Side.LEGACY, Role.SERVED): SLOW},
        "rss_bytes": 200 * 1024**2,
        "ended": 41_000,
        "compared": 40_000,
        "totals": AccountingTotals(50_000, 49_990, 10),
    }
    return Evidence(**(values | changes))


def gate(name: GateName, measured: Evidence, **settings: Any) -> GateResult:
    found = judge(measured, GateSettings(**settings), StepSettings(1.0), AUTO)
    return next(one for one in found if one.name is name)


def test_good_evidence_opens_every_gate() -> None:
    found = judge(good(), GateSettings(), StepSettings(1.0), AUTO)
    assert outcome_of(found) is JudgementOutcome.GOOD
    assert {one.name for one in found} == set(GateName)
    assert reasons_of(found) == ()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (GateName.TIME, {"seconds": 10.0}),
        (GateName.COMPARISONS, {"routes": {"score": RouteEvidence(VerdictCounts(match=50), pairs=50)}}),
        (
            GateName.MISMATCHES,
            {"routes": {"score": RouteEvidence(VerdictCounts(match=39_970, mismatch=30), pairs=40_000)}},
        ),
        (GateName.ERRORS, {"routes": {"score": RouteEvidence(VerdictCounts(match=500), pairs=500)}}),
        (GateName.LATENCY, {"durations": {}}),
        (GateName.LATENCY, {"durations": {(Side.CANDIDATE, Role.SERVED): SLOW, (Side.LEGACY, Role.SERVED): SLOW}}),
        (GateName.MEMORY, {"rss_bytes": None}),
        (
            GateName.COVERAGE,
            {"routes": {"score": RouteEvidence(VerdictCounts(match=9), pairs=9), "other": RouteEvidence()}},
        ),
        (GateName.COVERAGE, {"ended": None}),
        (GateName.COVERAGE, {"compared": 10_000}),
        (GateName.ACCOUNTING, {"totals": None, "unread": ("runner: timeout",)}),
    ],
)
def test_missing_evidence_waits_and_says_what_is_missing(name: GateName, changes: dict[str, Any]) -> None:
    found = gate(name, good(**changes))
    assert found.outcome is JudgementOutcome.NOT_ENOUGH
    assert found.reason
    assert not found.rolls_back


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (
            GateName.MISMATCHES,
            {"routes": {"score": RouteEvidence(VerdictCounts(match=39_840, mismatch=160), pairs=40_000)}},
        ),
        (GateName.EFFECTS, {"effect_mismatches": 3}),
        (GateName.POINTS, {"points_mismatches": 3}),
        (GateName.ERRORS, {"routes": {"score": RouteEvidence(VerdictCounts(match=40_000), 40_000, 160, 0)}}),
        (GateName.LATENCY, {"durations": {(Side.CANDIDATE, Role.SERVED): SLOW, (Side.LEGACY, Role.SERVED): FAST}}),
        (GateName.MEMORY, {"rss_bytes": 600 * 1024**2}),
    ],
)
def test_evidence_against_the_candidate_rolls_back(name: GateName, changes: dict[str, Any]) -> None:
    found = gate(name, good(**changes))
    assert (found.outcome, found.rolls_back) == (JudgementOutcome.BAD, True)


def test_counts_that_do_not_add_up_keep_the_step_and_roll_nothing_back() -> None:
    found = gate(GateName.ACCOUNTING, good(totals=AccountingTotals(50_000, 40_000, 10)))
    assert (found.outcome, found.rolls_back) == (JudgementOutcome.BAD, False)
    assert "+9990" in found.reason


def test_one_row_difference_closes_the_gate_without_rolling_back() -> None:
    found = gate(GateName.EFFECTS, good(effect_mismatches=1))
    assert (found.outcome, found.rolls_back) == (JudgementOutcome.BAD, False)


def test_errors_that_both_sides_have_do_not_count() -> None:
    """Pairs in which both failed are in neither count of lone failures."""
    measured = good(routes={"score": RouteEvidence(VerdictCounts(match=40_000), 40_000, 60, 60)})
    assert gate(GateName.ERRORS, measured).outcome is JudgementOutcome.NOT_ENOUGH


def test_a_rare_route_that_is_wrong_is_not_hidden_by_the_others() -> None:
    routes = {
        "score": RouteEvidence(VerdictCounts(match=1_000_000), pairs=1_000_000),
        "rare": RouteEvidence(VerdictCounts(match=1_960, mismatch=40), pairs=2_000),
    }
    found = gate(GateName.MISMATCHES, good(routes=routes))
    assert (found.outcome, found.route) == (JudgementOutcome.BAD, "rare")


def test_a_served_side_is_not_blamed_for_being_slower_than_a_mirrored_one() -> None:
    crossed = {(Side.CANDIDATE, Role.SERVED): SLOW, (Side.LEGACY, Role.MIRRORED): FAST}
    assert gate(GateName.LATENCY, good(durations=crossed)).outcome is JudgementOutcome.GOOD


def test_a_gross_difference_across_roles_closes_the_gate_without_rolling_back() -> None:
    crossed = {(Side.CANDIDATE, Role.MIRRORED): durations(30_000, 6_000, 3), (Side.LEGACY, Role.SERVED): FAST}
    found = gate(GateName.LATENCY, good(durations=crossed))
    assert (found.outcome, found.rolls_back) == (JudgementOutcome.BAD, False)


def test_a_step_may_ask_for_less_than_the_section() -> None:
    found = judge(good(seconds=10.0), GateSettings(), StepSettings(1.0, time_min_s=5.0), AUTO)
    assert outcome_of(found) is JudgementOutcome.GOOD


def test_the_memory_gate_can_be_turned_off() -> None:
    found = judge(good(rss_bytes=None), GateSettings(rss_max_bytes=0), StepSettings(1.0), AUTO)
    assert GateName.MEMORY not in {one.name for one in found}


def test_reasons_name_bad_gates_before_missing_evidence() -> None:
    found = judge(good(seconds=1.0, effect_mismatches=9), GateSettings(), StepSettings(1.0), AUTO)
    assert [reason.partition(":")[0] for reason in reasons_of(found)] == ["effects", "time"]


def test_a_rollback_needs_the_same_gate_bad_several_times_in_a_row() -> None:
    bad, fine = (
        judge(good(effect_mismatches=3), GateSettings(), StepSettings(1.0), AUTO),
        judge(good(), GateSettings(), StepSettings(1.0), AUTO),
    )
    once = streaks_after({}, bad)
    assert grounds_for_rollback(once, bad, AUTO) is None
    assert grounds_for_rollback(streaks_after(streaks_after(once, fine), bad), bad, AUTO) is None
    found = grounds_for_rollback(streaks_after(once, bad), bad, AUTO)
    assert found
    assert found.name is GateName.EFFECTS


def test_automatic_rollback_can_be_turned_off() -> None:
    bad = judge(good(effect_mismatches=3), GateSettings(), StepSettings(1.0), AUTO)
    assert grounds_for_rollback({GateName.EFFECTS: 9}, bad, AutoRollbackSettings(enabled=False)) is None


def test_the_rollback_names_the_finding_of_its_kind_and_route() -> None:
    response = SuspectFinding("aaa", "score", "score", "changed", "number → number", 50)
    row = SuspectFinding("bbb", "score", "registry_score.score", "column", "number → number", 20)
    points = SuspectFinding("ccc", "score", "registry_humanpoints", "missing_row", "missing_row", 4)
    measured = good(suspects=(response, row, points))
    tables = GateSettings().points_tables
    named = [
        implicated_finding(GateResult(name, JudgementOutcome.BAD, "", route="score"), measured, tables)
        for name in (GateName.MISMATCHES, GateName.EFFECTS, GateName.POINTS, GateName.LATENCY)
    ]
    assert named == [response, row, points, None]


def test_the_band_of_a_quantile_holds_the_true_one() -> None:
    sketch = QuantileSketch()
    for value in range(1, 20_001):
        sketch.add(float(value))
    band = quantile_band(sketch, 0.95, alpha=0.01)
    assert 18_600 < band.low < 19_000 < band.high < 19_500


def test_the_band_of_too_few_values_is_open() -> None:
    sketch = QuantileSketch()
    sketch.add(5.0)
    band = quantile_band(sketch, 0.95, alpha=0.01)
    assert band.high == float("inf")
