"""Whether a step may be left, and whether it must be: gates over what was measured, each with its reason in words. Pure.

A gate is good, bad, or has not enough evidence, and then says what is missing. A promotion needs all of them good. A bad one that
speaks against the candidate rolls back once it was found bad several times in a row (`streaks_after`, `grounds_for_rollback`); one
that speaks against the measurement only keeps the step.

Intervals are valid at all times at once (comparator.stats.confidence), so looking often does not make a false alarm likely. Errors are
compared pair by pair: only requests that one side alone failed tell anything. Durations are compared within one role, because a
served and a mirrored request run under different conditions; across roles, which is all there is at 0 % and 100 %, only a gross
difference closes the gate, and none rolls back.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import (
    Interval,
    JudgementOutcome,
    difference_interval,
    excluded,
    judge_coverage,
    rate_interval,
)
from comparator.stats.quantile_sketch import ACCURACY, QuantileSketch
from proxy.config.rollout import AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.evidence import Evidence, RouteEvidence, SuspectFinding


class GateName(StrEnum):
    """The gates: a closed set, fit for a metric's label."""

    TIME = "time"
    COMPARISONS = "comparisons"
    MISMATCHES = "mismatches"
    EFFECTS = "effects"
    POINTS = "points"
    ERRORS = "errors"
    LATENCY = "latency"
    MEMORY = "memory"
    COVERAGE = "coverage"
    ACCOUNTING = "accounting"


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's answer. `rolls_back`: bad in a way that speaks against the candidate. `route`: the one it is about, if one."""

    name: GateName
    outcome: JudgementOutcome
    reason: str
    rolls_back: bool = False
    route: str = ""


def judge(measured: Evidence, gates: GateSettings, step: StepSettings, auto: AutoRollbackSettings) -> tuple[GateResult, ...]:
    """All gates of a step, in the order of GateName."""
    # Intervals: mismatches and errors each overall and by route, and two quantiles.
    alpha = gates.alpha / (2 * (len(measured.routes) + 1) + 2)
    found = (
        _time(measured, gates.time_min_s if step.time_min_s is None else step.time_min_s),
        _comparisons(measured, gates.comparisons_min if step.comparisons_min is None else step.comparisons_min),
        _by_route(measured, lambda one, where: _mismatches(one, gates.mismatch_rate_max, alpha, where)),
        _effects(measured, gates, auto),
        _points(measured, gates, auto),
        _by_route(measured, lambda one, where: _errors(one, gates.error_rate_increase_max, alpha, where)),
        _latency(measured, gates, alpha),
        _memory(measured, gates.rss_max_bytes) if gates.rss_max_bytes else None,
        _coverage(measured, gates),
        _accounting(measured, gates.accounting_slack),
    )
    return tuple(gate for gate in found if gate)


def outcome_of(gates: Sequence[GateResult]) -> JudgementOutcome:
    """Bad if any gate is bad, good if all are good."""
    outcomes = {gate.outcome for gate in gates}
    if JudgementOutcome.BAD in outcomes:
        return JudgementOutcome.BAD
    return JudgementOutcome.GOOD if outcomes == {JudgementOutcome.GOOD} else JudgementOutcome.NOT_ENOUGH


def reasons_of(gates: Sequence[GateResult]) -> tuple[str, ...]:
    """What keeps the step: the reasons of all gates that are not good, bad ones first."""
    return tuple(
        f"{gate.name}: {gate.reason}"
        for wanted in (JudgementOutcome.BAD, JudgementOutcome.NOT_ENOUGH)
        for gate in gates
        if gate.outcome is wanted
    )


Streaks = Mapping[GateName, int]


def streaks_after(streaks: Streaks, gates: Sequence[GateResult]) -> Streaks:
    """For how many evaluations in a row each gate has spoken against the candidate."""
    return {gate.name: streaks.get(gate.name, 0) + 1 for gate in gates if gate.rolls_back}


def grounds_for_rollback(streaks: Streaks, gates: Sequence[GateResult], auto: AutoRollbackSettings) -> GateResult | None:
    """The gate that rolls back now, None when none does; of several the one that says most about the cause."""
    if not auto.enabled:
        return None
    grounds = [gate for gate in gates if gate.rolls_back and streaks.get(gate.name, 0) >= auto.consecutive]
    return min(grounds, key=lambda gate: MOST_SPECIFIC_FIRST.index(gate.name), default=None)


MOST_SPECIFIC_FIRST: Final = (
    GateName.POINTS,
    GateName.EFFECTS,
    GateName.ERRORS,
    GateName.MISMATCHES,
    GateName.LATENCY,
    GateName.MEMORY,
)
"""The gates that can roll back, the most specific first: differing rows are mismatches too."""


def implicated_finding(gate: GateResult, measured: Evidence, points_tables: Sequence[str]) -> SuspectFinding | None:
    """The finding that a gate's failure is about: the most frequent one of its kind and route."""
    fits: Mapping[GateName, Callable[[SuspectFinding], bool]] = {
        GateName.MISMATCHES: lambda _: True,
        GateName.EFFECTS: lambda s: s.kind in EFFECT_KINDS,
        GateName.POINTS: lambda s: is_points(s, points_tables),
        GateName.ERRORS: lambda s: s.kind == "status",
    }
    fitting = fits.get(gate.name)
    if fitting is None:
        return None
    return next((s for s in measured.suspects if fitting(s) and gate.route in ("", s.route)), None)


EFFECT_KINDS: Final = frozenset({"missing_row", "extra_row", "column", "late", "undescribed", "truncated_table"})


def is_points(suspect: SuspectFinding, points_tables: Sequence[str]) -> bool:
    """Whether a finding is about rows of human points."""
    return suspect.kind in EFFECT_KINDS and suspect.place.partition(".")[0] in points_tables


def _time(measured: Evidence, wanted_s: float) -> GateResult:
    words = f"{measured.seconds:.0f} s at this step, wanted at least {wanted_s:.0f} s"
    return GateResult(
        GateName.TIME, JudgementOutcome.GOOD if measured.seconds >= wanted_s else JudgementOutcome.NOT_ENOUGH, words
    )


def _comparisons(measured: Evidence, wanted: int) -> GateResult:
    compared = measured.overall.counts.compared
    words = f"{compared} compared at this step, wanted at least {wanted}"
    return GateResult(
        GateName.COMPARISONS, JudgementOutcome.GOOD if compared >= wanted else JudgementOutcome.NOT_ENOUGH, words
    )


def _by_route(measured: Evidence, gate: Callable[[RouteEvidence, str], GateResult]) -> GateResult:
    """The gate over all routes; a route that is surely bad by itself makes it bad, so that a rare route cannot hide."""
    alone = [gate(one, route) for route, one in measured.routes.items()] if len(measured.routes) > 1 else []
    bad = next((found for found in alone if found.outcome is JudgementOutcome.BAD), None)
    only = next(iter(measured.routes), "") if len(measured.routes) == 1 else ""
    return bad or gate(measured.overall, only)


def _mismatches(one: RouteEvidence, rate_max: float, alpha: float, route: str) -> GateResult:
    counts = one.counts
    interval = rate_interval(counts.mismatch, counts.compared, alpha=alpha)
    words = (
        f"{counts.mismatch} of {counts.compared} {_on(route)}differ ({interval.estimate:.4%}); the true rate is within "
        f"{interval.low:.4%} to {interval.high:.4%}, allowed {rate_max:.4%}"
    )
    return _rate_gate(GateName.MISMATCHES, interval, rate_max, words, route)


def _errors(one: RouteEvidence, increase_max: float, alpha: float, route: str) -> GateResult:
    interval = difference_interval(one.legacy_only_errors, one.pairs, one.candidate_only_errors, one.pairs, alpha=alpha)
    words = (
        f"of {one.pairs} requests {_on(route)}{one.candidate_only_errors} failed on the candidate alone, "
        f"{one.legacy_only_errors} on the legacy alone; the increase is within {interval.low:+.4%} to {interval.high:+.4%}, "
        f"allowed {increase_max:+.4%}"
    )
    return _rate_gate(GateName.ERRORS, interval, increase_max, words, route)


def _rate_gate(name: GateName, interval: Interval, limit: float, words: str, route: str) -> GateResult:
    if interval.low > limit:
        return GateResult(name, JudgementOutcome.BAD, words, rolls_back=True, route=route)
    return GateResult(
        name, JudgementOutcome.GOOD if interval.high <= limit else JudgementOutcome.NOT_ENOUGH, words, route=route
    )


def _on(route: str) -> str:
    return f"on {route} " if route else ""


def _effects(measured: Evidence, gates: GateSettings, auto: AutoRollbackSettings) -> GateResult:
    words = (
        f"{measured.effect_mismatches} comparisons with differing rows, allowed {gates.effect_mismatches_max}; "
        f"rows were compared in {measured.effects_compared}"
    )
    return _counted(GateName.EFFECTS, measured.effect_mismatches, gates.effect_mismatches_max, words, auto)


def _points(measured: Evidence, gates: GateSettings, auto: AutoRollbackSettings) -> GateResult:
    words = f"{measured.points_mismatches} comparisons with differing points, allowed {gates.points_mismatches_max}"
    return _counted(GateName.POINTS, measured.points_mismatches, gates.points_mismatches_max, words, auto)


def _counted(name: GateName, found: int, allowed: int, words: str, auto: AutoRollbackSettings) -> GateResult:
    if found <= allowed:
        return GateResult(name, JudgementOutcome.GOOD, words)
    return GateResult(name, JudgementOutcome.BAD, words, rolls_back=found >= allowed + auto.hits_min)


def _latency(measured: Evidence, gates: GateSettings, alpha: float) -> GateResult:
    def sketches(candidate: Role, legacy: Role) -> tuple[QuantileSketch, QuantileSketch]:
        found = measured.durations
        return found.get((Side.CANDIDATE, candidate), QuantileSketch()), found.get(
            (Side.LEGACY, legacy), QuantileSketch()
        )

    serving = sketches(Role.SERVED, Role.SERVED)
    mirroring = sketches(Role.MIRRORED, Role.MIRRORED)
    same_role = next((both for both in (serving, mirroring) if _enough(both, gates.latency_pairs_min)), None)
    if same_role:
        return _latency_gate(same_role, gates, alpha, fair=True)
    crossed = max(sketches(Role.SERVED, Role.MIRRORED), sketches(Role.MIRRORED, Role.SERVED), key=_fewest)
    if _enough(crossed, gates.latency_pairs_min):
        return _latency_gate(crossed, gates, alpha, fair=False)
    words = f"{_fewest(crossed)} durations of both sides, wanted at least {gates.latency_pairs_min}"
    return GateResult(GateName.LATENCY, JudgementOutcome.NOT_ENOUGH, words)


def _fewest(both: tuple[QuantileSketch, QuantileSketch]) -> int:
    return min(both[0].count, both[1].count)


def _enough(both: tuple[QuantileSketch, QuantileSketch], wanted: int) -> bool:
    return _fewest(both) >= max(1, wanted)


def _latency_gate(
    both: tuple[QuantileSketch, QuantileSketch], gates: GateSettings, alpha: float, *, fair: bool
) -> GateResult:
    share = gates.latency_quantile
    candidate, legacy = (quantile_band(sketch, share, alpha=alpha) for sketch in both)
    low, high = candidate.low / legacy.high, candidate.high / legacy.low if legacy.low else math.inf
    words = (
        f"p{share * 100:g}: candidate {candidate.estimate / 1000:.1f} ms, legacy {legacy.estimate / 1000:.1f} ms; the ratio is "
        f"within {low:.3f} to {high:.3f}, allowed {gates.latency_ratio_max if fair else gates.latency_across_roles_max:g}"
    )
    limit, tolerance = gates.latency_ratio_max, gates.latency_tolerance
    if not fair:
        limit, tolerance = gates.latency_across_roles_max, 0.0
        words += " (one side served, the other mirrored)"
    if low > limit:
        return GateResult(GateName.LATENCY, JudgementOutcome.BAD, words, rolls_back=fair)
    good = high <= limit + tolerance
    return GateResult(GateName.LATENCY, JudgementOutcome.GOOD if good else JudgementOutcome.NOT_ENOUGH, words)


def quantile_band(sketch: QuantileSketch, share: float, *, alpha: float) -> Interval:
    """Interval for a quantile, valid at all times at once, much tighter at the ends than a sub-Gaussian one.

    How many of n values are below the true quantile is a sum of Bernoulli(share) trials; the counts whose confidence sequence
    (comparator.stats.confidence.rate_interval) holds `share` bound its rank. Widened by the sketch's inaccuracy.
    """
    count = sketch.count
    middle = math.floor(share * count)
    first = bisect_left(range(middle), True, key=lambda hits: not excluded(share, hits, count, alpha=alpha))
    last = bisect_left(range(middle + 1, count + 1), True, key=lambda hits: excluded(share, hits, count, alpha=alpha))
    low = 0.0 if first == 0 else sketch.at_rank(first - 1)
    high = math.inf if middle + 1 + last > count else sketch.at_rank(middle + 1 + last)
    return Interval(low * (1 - ACCURACY), sketch.quantile(share), high * (1 + ACCURACY))


def _memory(measured: Evidence, allowed: int) -> GateResult:
    if measured.rss_bytes is None:
        words = "no memory of the candidate was read: name its metrics page in rollout.sources.candidates"
        return GateResult(GateName.MEMORY, JudgementOutcome.NOT_ENOUGH, words)
    words = f"{measured.rss_bytes / 1024**2:.0f} MiB resident, allowed {allowed / 1024**2:.0f} MiB"
    bad = measured.rss_bytes > allowed
    return GateResult(GateName.MEMORY, JudgementOutcome.BAD if bad else JudgementOutcome.GOOD, words, rolls_back=bad)


def _coverage(measured: Evidence, gates: GateSettings) -> GateResult:
    seen = {route: one.counts.compared for route, one in measured.routes.items()}
    judged = judge_coverage(seen, tuple(seen), each_min=gates.route_comparisons_min)
    words = judged.reason.replace("declared branches", "routes")
    if judged.outcome is not JudgementOutcome.GOOD:
        return GateResult(GateName.COVERAGE, judged.outcome, words)
    if measured.completed is None:
        return GateResult(
            GateName.COVERAGE,
            JudgementOutcome.NOT_ENOUGH,
            "no runner told how much it compared (rollout.sources.runners)",
        )
    share = measured.compared / measured.completed if measured.completed else 0.0
    words += f"; {share:.1%} of {measured.completed} ended exchanges were compared, wanted {gates.compared_share_min:.0%}"
    enough = share >= gates.compared_share_min
    return GateResult(GateName.COVERAGE, JudgementOutcome.GOOD if enough else JudgementOutcome.NOT_ENOUGH, words)


def _accounting(measured: Evidence, slack: int) -> GateResult:
    totals = measured.accounting
    if totals is None:
        return GateResult(
            GateName.ACCOUNTING,
            JudgementOutcome.NOT_ENOUGH,
            _unread(measured, "the counts of proxies and runners were not read"),
        )
    words = (
        f"{totals.served} served = {totals.accounted} accounted for + {totals.in_flight} in flight"
        f"{f', but {totals.gap:+d}' if totals.gap else ''}; allowed gap {slack}"
    )
    return GateResult(GateName.ACCOUNTING, JudgementOutcome.GOOD if abs(totals.gap) <= slack else JudgementOutcome.BAD, words)


def _unread(measured: Evidence, words: str) -> str:
    return f"{words} ({'; '.join(measured.unavailable)})" if measured.unavailable else words
