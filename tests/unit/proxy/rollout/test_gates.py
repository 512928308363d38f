"""The three outcomes of each gate, and the rollback on bad evidence."""

import random
from typing import Any

import pytest

from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import JudgementOutcome, VerdictCounts
from comparator.stats.quantile_sketch import QuantileSketch
from proxy.config.rollout import AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.evidence import AccountingTotals, Evidence, RouteEvidence, SuspectFinding
from proxy.rollout.gates import (
    GATES,
    MOST_SPECIFIC_FIRST,
    Gate,
    GateInput,
    GateName,
    GateResult,
    grounds_for_rollback,
    implicated_finding,
    interval_alpha,
    judge,
    outcome_of,
    quantile_band,
    reasons_of,
    streaks_after,
)

AUTO = AutoRollbackSettings(consecutive_evaluations=2, hits_min=3)


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
        "completed": 41_000,
        "compared": 40_000,
        "accounting": AccountingTotals(50_000, 49_990, 10),
    }
    return Evidence(**(values | changes))


def result(name: GateName, evidence: Evidence, **settings: Any) -> GateResult:
    results = judge(evidence, GateSettings(**settings), StepSettings(1.0), AUTO)
    return next(one for one in results if one.name is name)


def test_good_evidence_opens_every_gate() -> None:
    results = judge(good(), GateSettings(), StepSettings(1.0), AUTO)
    assert outcome_of(results) is JudgementOutcome.GOOD
    assert {judged.name for judged in results} == set(GateName)
    assert reasons_of(results) == ()


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
        (GateName.COVERAGE, {"completed": None}),
        (GateName.COVERAGE, {"compared": 10_000}),
        (GateName.ACCOUNTING, {"accounting": None, "unavailable": ("runner: timeout",)}),
    ],
)
def test_missing_evidence_is_not_enough_and_has_a_reason(name: GateName, changes: dict[str, Any]) -> None:
    judged = result(name, good(**changes))
    assert judged.outcome is JudgementOutcome.NOT_ENOUGH
    assert judged.reason
    assert not judged.rolls_back


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
    judged = result(name, good(**changes))
    assert (judged.outcome, judged.rolls_back) == (JudgementOutcome.BAD, True)


def test_unbalanced_accounting_closes_the_gate_without_rolling_back() -> None:
    judged = result(GateName.ACCOUNTING, good(accounting=AccountingTotals(50_000, 40_000, 10)))
    assert (judged.outcome, judged.rolls_back) == (JudgementOutcome.BAD, False)
    assert "+9990" in judged.reason


def test_one_row_difference_closes_the_gate_without_rolling_back() -> None:
    judged = result(GateName.EFFECTS, good(effect_mismatches=1))
    assert (judged.outcome, judged.rolls_back) == (JudgementOutcome.BAD, False)


def test_errors_of_both_sides_do_not_count() -> None:
    """Pairs in which both sides failed are in neither count."""
    evidence = good(routes={"score": RouteEvidence(VerdictCounts(match=40_000), 40_000, 60, 60)})
    assert result(GateName.ERRORS, evidence).outcome is JudgementOutcome.NOT_ENOUGH


def test_bad_rare_route_is_not_hidden_by_busy_ones() -> None:
    routes = {
        "score": RouteEvidence(VerdictCounts(match=1_000_000), pairs=1_000_000),
        "rare": RouteEvidence(VerdictCounts(match=1_960, mismatch=40), pairs=2_000),
    }
    judged = result(GateName.MISMATCHES, good(routes=routes))
    assert (judged.outcome, judged.route) == (JudgementOutcome.BAD, "rare")


def test_served_side_may_be_slower_than_a_mirrored_one() -> None:
    crossed = {(Side.CANDIDATE, Role.SERVED): SLOW, (Side.LEGACY, Role.MIRRORED): FAST}
    assert result(GateName.LATENCY, good(durations=crossed)).outcome is JudgementOutcome.GOOD


def test_gross_latency_across_roles_closes_the_gate_without_rolling_back() -> None:
    crossed = {(Side.CANDIDATE, Role.MIRRORED): durations(30_000, 6_000, 3), (Side.LEGACY, Role.SERVED): FAST}
    judged = result(GateName.LATENCY, good(durations=crossed))
    assert (judged.outcome, judged.rolls_back) == (JudgementOutcome.BAD, False)


def test_step_settings_override_the_section() -> None:
    results = judge(good(seconds=10.0), GateSettings(), StepSettings(1.0, time_min_s=5.0), AUTO)
    assert outcome_of(results) is JudgementOutcome.GOOD


def test_memory_gate_can_be_turned_off() -> None:
    results = judge(good(rss_bytes=None), GateSettings(rss_max_bytes=0), StepSettings(1.0), AUTO)
    assert GateName.MEMORY not in {judged.name for judged in results}


def test_reasons_name_bad_gates_before_missing_evidence() -> None:
    results = judge(good(seconds=1.0, effect_mismatches=9), GateSettings(), StepSettings(1.0), AUTO)
    assert [reason.partition(":")[0] for reason in reasons_of(results)] == ["effects", "time"]


def test_rollback_needs_consecutive_bad_evaluations_of_one_gate() -> None:
    bad, fine = (
        judge(good(effect_mismatches=3), GateSettings(), StepSettings(1.0), AUTO),
        judge(good(), GateSettings(), StepSettings(1.0), AUTO),
    )
    once = streaks_after({}, bad)
    assert grounds_for_rollback(once, bad, AUTO) is None
    assert grounds_for_rollback(streaks_after(streaks_after(once, fine), bad), bad, AUTO) is None
    ground = grounds_for_rollback(streaks_after(once, bad), bad, AUTO)
    assert ground
    assert ground.name is GateName.EFFECTS


def test_automatic_rollback_can_be_turned_off() -> None:
    bad = judge(good(effect_mismatches=3), GateSettings(), StepSettings(1.0), AUTO)
    assert grounds_for_rollback({GateName.EFFECTS: 9}, bad, AutoRollbackSettings(enabled=False)) is None


def test_rollback_names_the_finding_of_its_kind_and_route() -> None:
    response = SuspectFinding("aaa", "score", "score", "changed", "number → number", 50)
    row = SuspectFinding("bbb", "score", "registry_score.score", "column", "number → number", 20)
    points = SuspectFinding("ccc", "score", "registry_humanpoints", "missing_row", "missing_row", 4)
    evidence = good(suspects=(response, row, points))
    tables = GateSettings().points_tables
    named = [
        implicated_finding(GateResult(name, JudgementOutcome.BAD, "", route="score"), evidence, tables)
        for name in (GateName.MISMATCHES, GateName.EFFECTS, GateName.POINTS, GateName.LATENCY)
    ]
    assert named == [response, row, points, None]


def test_quantile_band_contains_the_true_quantile() -> None:
    sketch = QuantileSketch()
    for value in range(1, 20_001):
        sketch.add(float(value))
    band = quantile_band(sketch, 0.95, alpha=0.01)
    assert 18_600 < band.low < 19_000 < band.high < 19_500


def test_quantile_band_of_few_values_is_unbounded() -> None:
    sketch = QuantileSketch()
    sketch.add(5.0)
    band = quantile_band(sketch, 0.95, alpha=0.01)
    assert band.high == float("inf")


def test_every_gate_name_has_one_row() -> None:
    assert sorted(gate.name for gate in GATES) == sorted(GateName)


def test_gates_that_roll_back_differ_in_specificity() -> None:
    specificities = [gate.specificity for gate in GATES if gate.rolls_back]
    assert len(set(specificities)) == len(specificities)
    assert MOST_SPECIFIC_FIRST == (
        GateName.POINTS,
        GateName.EFFECTS,
        GateName.ERRORS,
        GateName.MISMATCHES,
        GateName.LATENCY,
        GateName.MEMORY,
    )


def test_alpha_of_one_route_is_divided_by_six() -> None:
    assert interval_alpha(GATES, 1, 0.01) == pytest.approx(0.01 / 6)


def test_undeclared_interval_is_a_defect() -> None:
    gate = Gate(GateName.TIME, lambda given: given.result(JudgementOutcome.GOOD, f"{given.alpha}"))
    with pytest.raises(AssertionError, match="declares none"):
        gate.judge(GateInput(gate, good(), GateSettings(), StepSettings(1.0), AUTO, 0.01))


def test_result_rolls_back_only_where_the_row_allows_it() -> None:
    gate = Gate(GateName.TIME, lambda given: given.result(JudgementOutcome.BAD, "late", against_candidate=True))
    judged = gate.judge(GateInput(gate, good(), GateSettings(), StepSettings(1.0), AUTO, 0.01))
    assert judged
    assert not judged.rolls_back


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_gate_computes_no_more_intervals_than_it_declares(gate: Gate) -> None:
    reads: list[float] = []

    class CountingInput(GateInput):
        @property
        def alpha(self) -> float:
            reads.append(self.interval_alpha)
            return self.interval_alpha

    one = RouteEvidence(VerdictCounts(match=40_000), pairs=40_000)
    gate.judge(
        CountingInput(gate, good(routes={"score": one, "history": one}), GateSettings(), StepSettings(1.0), AUTO, 0.01)
    )
    assert len(reads) == gate.intervals(2)
