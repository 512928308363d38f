"""The three outcomes of each gate, and the rollback on bad evidence."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from comparator.stats.confidence import JudgementOutcome, VerdictCounts
from proxy.config.rollout import AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.evidence import (
    AccountingTotals,
    Evidence,
    Hits,
    RecentWindow,
    RouteEvidence,
    SuspectFinding,
    WindowEvidence,
)
from proxy.rollout.gates import (
    GATES,
    MOST_SPECIFIC_FIRST,
    Gate,
    GateInput,
    GateName,
    GateResult,
    Streak,
    grounds_for_rollback,
    implicated_finding,
    judge,
    outcome_of,
    reasons_of,
    step_alpha,
    streaks_after,
)
from proxy.rollout.latency_blocks import LatencyBlock

AUTO = AutoRollbackSettings(consecutive_evaluations=2, keys_min=3)
GOOD, BAD, NOT_ENOUGH = JudgementOutcome.GOOD, JudgementOutcome.BAD, JudgementOutcome.NOT_ENOUGH


def route(compared: int = 40_000, **changes: Any) -> RouteEvidence:
    values: dict[str, Any] = {
        "counts": VerdictCounts(match=compared),
        "judged": compared,
        "effects_compared": compared,
        "pairs": compared,
        "candidate_mirrored": compared,
    }
    return RouteEvidence(**(values | changes))


def hits(count: int, *, keys: int | None = None, design_effect: float = 1.0) -> Hits:
    return Hits(count, count if keys is None else keys, design_effect)


def blocks(ratio: float, count: int = 60, *, spread: float = 0.03, seed: int = 1) -> tuple[LatencyBlock, ...]:
    source = random.Random(seed)
    return tuple(
        LatencyBlock(120.0 * number, 120.0 * (number + 1), math.log(ratio) + source.gauss(0, spread))
        for number in range(count)
    )


def good(one: RouteEvidence | None = None, **changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "seconds": 4_000.0,
        "step": WindowEvidence({"score": one or route()}),
        "blocks": blocks(0.9),
        "measures_memory": True,
        "rss_bytes": 200 * 1024**2,
        "dropped": 0,
        "accounting": AccountingTotals(50_000, 49_990, 10),
    }
    return Evidence(**(values | changes))


def result(name: GateName, evidence: Evidence, *, percent: float = 1.0, **settings: Any) -> GateResult:
    results = judge(evidence, GateSettings(**settings), StepSettings(percent), AUTO)
    return next(one for one in results if one.name is name)


def outcome(name: GateName, evidence: Evidence, **options: Any) -> tuple[JudgementOutcome, bool]:
    judged = result(name, evidence, **options)
    return judged.outcome, judged.rolls_back


def test_good_evidence_opens_every_gate() -> None:
    results = judge(good(), GateSettings(), StepSettings(1.0), AUTO)
    assert outcome_of(results) is GOOD
    assert {judged.name for judged in results} == set(GateName)
    assert reasons_of(results) == ()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (GateName.TIME, {"seconds": 10.0}),
        (GateName.COMPARISONS, {"one": route(50)}),
        (GateName.MISMATCHES, {"one": route(mismatches=hits(30))}),
        (GateName.TRANSIENT, {"one": route(2_000)}),
        (GateName.EFFECTS, {"one": route(effects=hits(3), mismatches=hits(3))}),
        (GateName.ERRORS, {"one": route(500)}),
        (GateName.LATENCY, {"blocks": ()}),
        (GateName.LATENCY, {"blocks": blocks(1.04)}),
        (GateName.SLOW_SPELLS, {"blocks": ()}),
        (GateName.MEMORY, {"rss_bytes": None}),
        (GateName.COVERAGE, {"dropped": None, "unavailable": ("proxy: timeout",)}),
        (GateName.COVERAGE, {"dropped": 20_000}),
        (GateName.COVERAGE, {"one": route(lost=20_000)}),
        (GateName.COVERAGE, {"one": route(dropped=20_000)}),
        (GateName.OVERLAPPED, {"one": route(overlapped=4_000)}),
        (GateName.ACCOUNTING, {"accounting": None, "unavailable": ("runner: timeout",)}),
    ],
)
def test_missing_evidence_is_not_enough_and_has_a_reason(name: GateName, changes: dict[str, Any]) -> None:
    judged = result(name, good(**changes))
    assert judged.outcome is NOT_ENOUGH
    assert judged.reason
    assert not judged.rolls_back


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (GateName.MISMATCHES, {"one": route(mismatches=hits(160))}),
        (GateName.TRANSIENT, {"one": route(candidate_transient=hits(200))}),
        (GateName.EFFECTS, {"one": route(effects=hits(10))}),
        (GateName.POINTS, {"one": route(points=hits(10))}),
        (GateName.ERRORS, {"one": route(candidate_only_errors=hits(160))}),
        (GateName.LATENCY, {"blocks": blocks(1.25)}),
        (GateName.MEMORY, {"rss_bytes": 600 * 1024**2}),
    ],
)
def test_evidence_against_the_candidate_rolls_back(name: GateName, changes: dict[str, Any]) -> None:
    assert outcome(name, good(**changes)) == (BAD, True)


@pytest.mark.parametrize(
    ("name", "one"),
    [
        (GateName.MISMATCHES, route(mismatches=hits(160), response_only_mismatches=hits(160), effects_compared=0)),
        (GateName.TRANSIENT, route(candidate_transient=hits(200), effects_compared=0)),
    ],
)
def test_differing_responses_roll_back_without_captured_rows_only_where_that_is_wanted(
    name: GateName, one: RouteEvidence
) -> None:
    blind = good(one, captures_rows=False, rows_routes=frozenset())
    judged = result(name, blind)
    assert (judged.outcome, judged.rolls_back) == (BAD, False)
    assert "rollout.auto_rollback.without_rows" in judged.reason
    assert grounds_for_rollback(streaks_after(streaks_after({}, [judged]), [judged]), [judged], AUTO) is None
    wanted = AutoRollbackSettings(without_rows=True)
    again = next(one for one in judge(blind, GateSettings(), StepSettings(1.0), wanted) if one.name is name)
    assert (again.outcome, again.rolls_back) == outcome(name, good(one)) == (BAD, True)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (GateName.ERRORS, {"one": route(candidate_only_errors=hits(160), effects_compared=0)}),
        (GateName.LATENCY, {"blocks": blocks(1.25)}),
        (GateName.MEMORY, {"rss_bytes": 600 * 1024**2}),
    ],
)
def test_failing_and_slow_candidates_are_rolled_back_without_captured_rows(
    name: GateName, changes: dict[str, Any]
) -> None:
    assert outcome(name, good(captures_rows=False, rows_routes=frozenset(), **changes)) == (BAD, True)


def test_unbalanced_accounting_closes_the_gate_without_rolling_back() -> None:
    judged = result(GateName.ACCOUNTING, good(accounting=AccountingTotals(50_000, 40_000, 10)))
    assert (judged.outcome, judged.rolls_back) == (BAD, False)
    assert "+9990" in judged.reason


# Requests of one client are not independent.


def test_two_of_eight_by_one_client_on_a_rare_route_are_no_ground() -> None:
    """One user reloads a page that differs, while twelve other routes have matched 10,000 times each."""
    routes = {f"r{number}": route(10_000) for number in range(12)} | {
        "ceramic_stake": route(8, mismatches=hits(2, keys=1, design_effect=2.0))
    }
    assert outcome(GateName.MISMATCHES, good(step=WindowEvidence(routes))) == (GOOD, False)


def test_many_hits_of_two_clients_are_no_ground() -> None:
    assert outcome(GateName.MISMATCHES, good(route(mismatches=hits(400, keys=2)))) == (NOT_ENOUGH, False)


def test_groups_of_hits_weigh_by_their_design_effect() -> None:
    alone, grouped = hits(80), hits(80, keys=4, design_effect=20.0)
    assert outcome(GateName.MISMATCHES, good(route(mismatches=alone))) == (BAD, True)
    assert outcome(GateName.MISMATCHES, good(route(mismatches=grouped))) == (NOT_ENOUGH, False)


def test_bad_rare_route_is_not_hidden_by_busy_ones() -> None:
    routes = {"score": route(1_000_000), "rare": route(2_000, mismatches=hits(40))}
    judged = result(GateName.MISMATCHES, good(step=WindowEvidence(routes)))
    assert (judged.outcome, judged.route) == (BAD, "rare")


def test_client_on_two_routes_is_one_client() -> None:
    routes = {name: route(40, mismatches=hits(10, keys=2)) for name in ("score", "history")}
    overall = {"mismatches": Hits(20, 2, 10.0)}
    assert outcome(GateName.MISMATCHES, good(step=WindowEvidence(routes, overall))) == (NOT_ENOUGH, False)


# Failures of one side alone are its errors.


def test_failures_of_the_legacy_are_errors_of_the_legacy() -> None:
    """0.2 % of the served requests failed on the legacy alone: its errors, and no mismatch."""
    evidence = good(route(counts=VerdictCounts(match=39_920, mismatch=80), judged=39_920, legacy_only_errors=hits(80)))
    assert outcome(GateName.MISMATCHES, evidence) == (GOOD, False)
    assert outcome(GateName.ERRORS, evidence) == (GOOD, False)


def test_equal_errors_of_both_sides_alone_open_the_gate() -> None:
    evidence = good(route(candidate_only_errors=hits(20), legacy_only_errors=hits(20)))
    assert outcome(GateName.ERRORS, evidence) == (GOOD, False)


def test_random_faults_of_the_candidate_are_bad_unless_the_legacy_has_them_too() -> None:
    alone = route(10_000, candidate_transient=hits(100))
    both = replace(alone, legacy_mirrored=10_000, legacy_transient=hits(100))
    assert outcome(GateName.TRANSIENT, good(alone)) == (BAD, True)
    assert outcome(GateName.TRANSIENT, good(both)) == (NOT_ENOUGH, False)


# Rows.


def test_three_differing_rows_in_half_a_million_are_no_ground() -> None:
    evidence = good(route(500_000, effects=hits(3), points=hits(3)))
    assert outcome(GateName.EFFECTS, evidence) == (GOOD, False)
    assert outcome(GateName.POINTS, evidence) == (GOOD, False)


def test_two_differing_rows_do_not_close_the_gate() -> None:
    assert outcome(GateName.EFFECTS, good(route(20_000, effects=hits(2)))) == (GOOD, False)


def test_tables_of_low_confidence_close_the_gate_and_never_roll_back() -> None:
    results = judge(good(route(low_confidence=hits(4_000))), GateSettings(), StepSettings(1.0), AUTO)
    assert {judged.name for judged in results if judged.outcome is BAD} == {GateName.LOW_CONFIDENCE}
    assert not any(judged.rolls_back for judged in results)


# Latency.


@pytest.mark.parametrize(("ratio", "expected"), [(0.85, GOOD), (0.95, GOOD), (1.0, GOOD), (1.2, BAD)])
def test_latency_gate_is_good_for_an_equal_candidate_and_stays_so(ratio: float, expected: JudgementOutcome) -> None:
    outcomes = [
        result(GateName.LATENCY, good(blocks=blocks(ratio, count))).outcome for count in (60, 200, 1_000, 5_000)
    ]
    assert outcomes == [expected] * 4


def test_slow_spells_of_either_side_decide_nothing() -> None:
    calm = blocks(1.0, 400, spread=0.05)
    spells = tuple(
        replace(block, log_ratio=block.log_ratio + {0: math.log(2), 1: -math.log(2)}.get(number % 12, 0.0))
        for number, block in enumerate(calm)
    )
    assert outcome(GateName.LATENCY, good(blocks=spells)) == (GOOD, False)


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_gross_latency_across_roles_closes_the_gate_without_rolling_back(percent: float) -> None:
    assert outcome(GateName.LATENCY, good(blocks=blocks(1.3)), percent=percent) == (GOOD, False)
    assert outcome(GateName.LATENCY, good(blocks=blocks(3.0)), percent=percent) == (BAD, False)


# Gates on rows need comparisons with rows.


@pytest.mark.parametrize("name", [GateName.EFFECTS, GateName.POINTS])
def test_gate_on_rows_is_not_opened_by_responses_alone(name: GateName) -> None:
    judged = result(name, good(route(effects_compared=9_999)))
    assert judged.outcome is NOT_ENOUGH
    assert "rows were compared in 9999 of 40000 comparisons, at least 10000 required" in judged.reason
    assert outcome(name, good(route(effects_compared=10_000))) == (GOOD, False)


def test_gates_on_rows_are_off_where_no_rows_can_be_compared() -> None:
    evidence = good(route(effects_compared=0), rows_routes=frozenset({"other"}))
    names = {judged.name for judged in judge(evidence, GateSettings(), StepSettings(1.0), AUTO)}
    assert not names & {GateName.EFFECTS, GateName.POINTS}
    assert outcome(GateName.COVERAGE, evidence) == (GOOD, False)


def test_differing_rows_are_bad_before_there_are_enough_comparisons() -> None:
    assert outcome(GateName.EFFECTS, good(route(effects_compared=5_000, effects=hits(10)))) == (BAD, True)


def test_route_whose_rows_are_never_compared_is_not_covered() -> None:
    step = WindowEvidence({"score": route(), "write": route(500, effects_compared=0)})
    assert "write was compared with its rows 0 times, 20 required" in result(GateName.COVERAGE, good(step=step)).reason
    keyless = good(step=step, rows_routes=frozenset({"score"}))
    assert outcome(GateName.COVERAGE, keyless) == (GOOD, False)


# Slow spells.


def with_spells(candidate: Sequence[int], legacy: Sequence[int] = (), *, length: int = 1) -> tuple[LatencyBlock, ...]:
    """Return blocks of two sides that are as fast, but in spells that begin at these blocks."""
    slow = {at + more: 3.0 for at in candidate for more in range(length)}
    slow |= {at + more: 1 / 3 for at in legacy for more in range(length)}
    calm = blocks(0.95, 300)
    return tuple(replace(block, log_ratio=math.log(slow.get(number, 0.95))) for number, block in enumerate(calm))


@pytest.mark.parametrize(
    ("candidate", "legacy", "length", "expected"),
    [
        (range(0, 300, 5), (), 1, (BAD, True)),
        (range(0, 300, 5), range(2, 300, 5), 1, (GOOD, False)),
        (range(0, 300, 15), (), 1, (NOT_ENOUGH, False)),
        (range(0, 300, 100), (), 1, (GOOD, False)),
        # (one long spell is an event, not a property of the candidate)
        ((20,), (), 60, (GOOD, False)),
        # (three of a third of the time each are hardly more)
        ((20, 100, 200), (), 30, (NOT_ENOUGH, False)),
    ],
)
def test_slow_spells_of_the_candidate_alone(
    candidate: Sequence[int], legacy: Sequence[int], length: int, expected: tuple[JudgementOutcome, bool]
) -> None:
    judged = good(blocks=with_spells(candidate, legacy, length=length))
    assert outcome(GateName.SLOW_SPELLS, judged) == expected
    assert outcome(GateName.LATENCY, judged)[0] is not BAD


def test_slow_spells_across_roles_close_the_gate_without_rolling_back() -> None:
    judged = good(blocks=with_spells(range(1, 300, 3)))
    assert outcome(GateName.SLOW_SPELLS, judged, percent=0.0, latency_across_roles_max=1.5) == (BAD, False)


def test_candidate_that_is_mostly_faster_is_not_excused_for_its_slow_spells() -> None:
    spells = tuple(
        replace(block, log_ratio=math.log(2.0 if number % 5 == 0 else 0.5))
        for number, block in enumerate(blocks(1.0, 300))
    )
    assert outcome(GateName.SLOW_SPELLS, good(blocks=spells)) == (BAD, True)


# Fresh evidence.


def test_change_after_a_good_day_is_found_in_the_last_minutes() -> None:
    day = route(8_640_000, mismatches=hits(864 + 300))
    fresh = (RecentWindow(300, 86_000.0, WindowEvidence({"score": route(60_000, mismatches=hits(300))})),)
    assert outcome(GateName.MISMATCHES, good(day)) == (GOOD, False)
    judged = result(GateName.MISMATCHES, good(day, recent=fresh))
    assert (judged.outcome, judged.rolls_back) == (BAD, True)
    assert "within the last 20 minutes" in judged.reason


def test_latency_of_the_last_hours_is_judged_by_itself() -> None:
    day = (*blocks(0.9, 900), *(replace(block, begin_s=108_000.0 + block.begin_s) for block in blocks(1.3, 80)))
    fresh = (RecentWindow(4_800, 108_000.0, WindowEvidence({"score": route()})),)
    assert outcome(GateName.LATENCY, good(blocks=day)) == (GOOD, False)
    assert outcome(GateName.LATENCY, good(blocks=day, recent=fresh)) == (BAD, True)


# Coverage.


def test_route_that_nobody_calls_is_told_apart_from_blindness() -> None:
    step = WindowEvidence({"score": route(), "rare": RouteEvidence()})
    judged = result(GateName.COVERAGE, good(step=step))
    assert judged.outcome is NOT_ENOUGH
    assert "rare was not called" in judged.reason
    assert outcome(GateName.COVERAGE, good(step=step, quiet_routes=frozenset({"rare"}))) == (GOOD, False)


def test_route_of_which_little_is_compared_is_not_covered_by_the_others() -> None:
    step = WindowEvidence({"score": route(), "rare": route(20, lost=14_980)})
    judged = result(GateName.COVERAGE, good(step=step))
    assert judged.outcome is NOT_ENOUGH
    assert "on rare 0.1% of 15000" in judged.reason


def test_route_whose_exchanges_the_proxies_drop_is_not_covered_by_the_others() -> None:
    step = WindowEvidence({"score": route(), "rare": route(30, dropped=70)})
    judged = result(GateName.COVERAGE, good(step=step, dropped=70))
    assert judged.outcome is NOT_ENOUGH
    assert "on rare 30.0% of 100 were compared, 80% required (70 dropped by proxies)" in judged.reason


def test_route_that_was_called_and_only_dropped_is_not_taken_for_a_quiet_one() -> None:
    step = WindowEvidence({"score": route(), "rare": RouteEvidence(dropped=5)})
    evidence = good(step=step, dropped=5, quiet_routes=frozenset({"rare"}))
    assert "on rare 0.0% of 5" in result(GateName.COVERAGE, evidence).reason


def test_rate_limits_are_no_blindness_and_are_named() -> None:
    judged = result(GateName.COVERAGE, good(route(excluded=360_000)))
    assert judged.outcome is GOOD
    assert "360000 left out" in judged.reason


def test_overlapped_exchanges_of_one_route_close_their_gate() -> None:
    step = WindowEvidence({"score": route(), "rare": route(100, overlapped=100)})
    judged = result(GateName.OVERLAPPED, good(step=step))
    assert judged.outcome is NOT_ENOUGH
    assert "rare 50.0%" in judged.reason


def test_memory_gate_is_off_without_a_page_to_read_and_by_its_limit() -> None:
    off = GateSettings(rss_max_bytes=0)
    for evidence, settings in ((good(measures_memory=False), GateSettings()), (good(rss_bytes=None), off)):
        results = judge(evidence, settings, StepSettings(1.0), AUTO)
        assert GateName.MEMORY not in {judged.name for judged in results}


def test_gates_of_a_fresh_installation_can_all_become_good() -> None:
    """Nothing of `rollout.sources` is set."""
    evidence = good(measures_memory=False, rss_bytes=None)
    assert outcome_of(judge(evidence, GateSettings(), StepSettings(1.0), AutoRollbackSettings())) is GOOD


# Decisions.


def test_step_settings_override_the_section() -> None:
    results = judge(good(seconds=10.0), GateSettings(), StepSettings(1.0, time_min_s=5.0), AUTO)
    assert outcome_of(results) is GOOD


def test_reasons_name_bad_gates_before_missing_evidence() -> None:
    results = judge(good(route(effects=hits(10)), seconds=1.0), GateSettings(), StepSettings(1.0), AUTO)
    assert [reason.partition(":")[0] for reason in reasons_of(results)] == ["effects", "time"]


def bad_at(compared: int) -> tuple[GateResult, ...]:
    return judge(good(route(compared, effects=hits(10))), GateSettings(), StepSettings(1.0), AUTO)


def test_rollback_needs_evaluations_in_a_row_that_are_bad() -> None:
    fine = judge(good(), GateSettings(), StepSettings(1.0), AUTO)
    once = streaks_after({}, bad_at(40_000))
    assert grounds_for_rollback(once, bad_at(40_000), AUTO) is None
    assert grounds_for_rollback(streaks_after(streaks_after(once, fine), bad_at(41_000)), bad_at(41_000), AUTO) is None
    ground = grounds_for_rollback(streaks_after(once, bad_at(41_000)), bad_at(41_000), AUTO)
    assert ground
    assert ground.name is GateName.EFFECTS


def test_second_look_at_the_same_evidence_confirms_nothing() -> None:
    once = streaks_after({}, bad_at(40_000))
    again = streaks_after(once, bad_at(40_000))
    assert again == once == {GateName.EFFECTS: Streak(1, 40_000.0)}
    assert grounds_for_rollback(again, bad_at(40_000), AUTO) is None


def test_automatic_rollback_can_be_turned_off() -> None:
    streaks = {GateName.EFFECTS: Streak(9, 1.0)}
    assert grounds_for_rollback(streaks, bad_at(40_000), AutoRollbackSettings(enabled=False)) is None


def test_rollback_names_the_finding_of_its_kind_and_route() -> None:
    response = SuspectFinding("aaa", "score", "score", "changed", "number → number", 50)
    row = SuspectFinding("bbb", "score", "registry_score.score", "column", "number → number", 20)
    points = SuspectFinding("ccc", "score", "registry_humanpoints", "missing_row", "missing_row", 4)
    evidence = good(suspects=(response, row, points))
    tables = GateSettings().points_tables
    named = [
        implicated_finding(GateResult(name, BAD, "", route="score"), evidence, tables)
        for name in (GateName.MISMATCHES, GateName.EFFECTS, GateName.POINTS, GateName.LATENCY)
    ]
    assert named == [response, row, points, None]


def test_every_gate_name_has_one_row() -> None:
    assert sorted(gate.name for gate in GATES) == sorted(GateName)


def test_gates_that_roll_back_differ_in_specificity() -> None:
    specificities = [gate.specificity for gate in GATES if gate.rolls_back]
    assert len(set(specificities)) == len(specificities)
    assert MOST_SPECIFIC_FIRST == (
        GateName.POINTS,
        GateName.EFFECTS,
        GateName.ERRORS,
        GateName.LATENCY,
        GateName.SLOW_SPELLS,
        GateName.MISMATCHES,
        GateName.TRANSIENT,
        GateName.MEMORY,
    )


def test_gate_that_spends_no_alpha_makes_no_tests() -> None:
    gate = Gate(GateName.TIME, lambda given: given.result(GOOD, f"{given.needed(None, 1, is_route=False)}"))
    with pytest.raises(AssertionError, match="no share of alpha"):
        gate.judge(GateInput(gate, good(), GateSettings(), StepSettings(1.0), AUTO, step_alpha(GateSettings())))


def test_result_rolls_back_only_where_the_row_allows_it() -> None:
    gate = Gate(GateName.TIME, lambda given: given.result(BAD, "late", against_candidate=True))
    judged = gate.judge(GateInput(gate, good(), GateSettings(), StepSettings(1.0), AUTO, step_alpha(GateSettings())))
    assert judged
    assert not judged.rolls_back


def test_mismatch_gate_says_what_it_rests_on() -> None:
    evidence = route(1_000, effects_compared=680, partial=20, mismatches=hits(12), response_only_mismatches=hits(4))
    judged = result(GateName.MISMATCHES, good(evidence))
    assert (
        "12 of 1000 on score differ (1.2000%; 12 keys, design effect 1.0): 8 of 700 compared with their rows (20 without those of some tables),"
        " 4 of 300 by the responses alone; "
    ) in judged.reason
    assert judged.measure is not None
    assert judged.measure.parts == {"with_rows": (8, 700), "response_only": (4, 300)}
    assert judged.measure.document()["parts"] == judged.measure.parts


def test_gates_on_rows_rest_on_one_kind_of_comparisons() -> None:
    judged = result(GateName.EFFECTS, good(route(20_000, effects_compared=12_000, partial=20)))
    assert judged.measure is not None
    assert (judged.measure.trials, judged.measure.parts) == (12_000, {})
