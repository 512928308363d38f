"""Judge the evidence of a rollout step: one result a gate, each with its reason in words. Pure.

The outcome of a gate is good, bad, or not enough evidence, and then the reason says what is missing. A promotion needs every gate
good. A bad gate that speaks against the candidate rolls back once it was bad several evaluations in a row (`streaks_after`,
`grounds_for_rollback`); a bad gate that speaks against the measurement only keeps the step.

To add a gate: a name in GateName, a function that judges, and a row in GATES.

The intervals are confidence sequences (comparator.stats.confidence): they hold at every moment at once, so evaluating often does not
make a false alarm likely. `gates.alpha` bounds the chance that any interval of a step is ever wrong. It is divided by the number of
intervals that all gates declare, so a new gate makes every interval a little wider and never weakens that bound. For example, one
route and these gates: mismatches and errors use one interval overall and one a route, latency uses two, 2 * (1 + 1) + 2 = 6 in all,
so each gets 0.01 / 6. After 40,000 comparisons with 30 mismatches the mismatch gate then has

    rate_interval(30, 40_000, alpha=0.01 / 6)  ->  0.0264 % to 0.1630 %, estimate 0.0750 %

and `mismatch_rate_max` of 0.1 % lies inside: not enough evidence, although the estimate is below the limit. With 12 mismatches the
interval ends at 0.0941 % (good); with 80 it begins at 0.1098 % (bad).

Errors are compared pair by pair: only requests that one side alone failed count. Durations are compared within one role, because a
served and a mirrored request run under different conditions; across roles, which is all there is at 0 % and 100 %, only a gross
difference closes the gate, and none rolls back.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from comparator.exchanges.difference import Kind
from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import (
    Interval,
    JudgementOutcome,
    difference_interval,
    excluded,
    rate_interval,
)
from comparator.stats.quantile_sketch import ACCURACY, QuantileSketch
from proxy.config.rollout import AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.evidence import Evidence, RouteEvidence, SuspectFinding

EFFECT_KINDS: Final = frozenset(
    {Kind.MISSING_ROW, Kind.EXTRA_ROW, Kind.COLUMN, Kind.LATE, Kind.UNDESCRIBED, Kind.TRUNCATED_TABLE}
)
"""Kinds of findings about committed rows."""


class GateName(StrEnum):
    """The gates: a closed set, as a metric's label needs."""

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
    """The outcome of one gate.

    Attributes:
        reason: the figures and the limit, in words.
        rolls_back: bad in a way that speaks against the candidate.
        route: the only route concerned; None for all routes together.
    """

    name: GateName
    outcome: JudgementOutcome
    reason: str
    rolls_back: bool = False
    route: str | None = None


Judge: TypeAlias = "Callable[[GateInput], GateResult | None]"
Implicates: TypeAlias = Callable[[SuspectFinding, Sequence[str]], bool]


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: how it judges, and the part it has in the decision.

    Attributes:
        judge: judges the evidence; None while the gate is turned off.
        intervals_overall: intervals that `judge` computes over all routes together.
        intervals_per_route: intervals that `judge` computes for each route.
        rolls_back: a bad result may roll back, because it speaks against the candidate.
        specificity: of several gates that roll back, the one with the highest names the cause.
        implicates: select the findings that a bad result is about, given `gates.points_tables`; None for no finding.
    """

    name: GateName
    judge: Judge
    intervals_overall: int = 0
    intervals_per_route: int = 0
    rolls_back: bool = False
    specificity: int = 0
    implicates: Implicates | None = None

    def intervals(self, routes: int) -> int:
        """Return the number of intervals that the gate computes over this many routes."""
        return self.intervals_overall + self.intervals_per_route * routes


@dataclass(frozen=True, slots=True)
class GateInput:
    """Everything that a gate may look at. `interval_alpha` is the chance of error of each single interval."""

    gate: Gate
    evidence: Evidence
    settings: GateSettings
    step: StepSettings
    auto_rollback: AutoRollbackSettings
    interval_alpha: float

    @property
    def alpha(self) -> float:
        """The chance that one interval of this gate is ever wrong; a gate that declares no interval has none."""
        assert self.gate.intervals(1), f"the gate {self.gate.name} computes an interval and declares none"
        return self.interval_alpha

    def result(
        self, outcome: JudgementOutcome, reason: str, *, against_candidate: bool = False, route: str | None = None
    ) -> GateResult:
        """Return a result of this gate; it rolls back only where the gate's row allows it."""
        return GateResult(self.gate.name, outcome, reason, against_candidate and self.gate.rolls_back, route)


def judge(
    evidence: Evidence, settings: GateSettings, step: StepSettings, auto_rollback: AutoRollbackSettings
) -> tuple[GateResult, ...]:
    """Judge a step by every gate that is turned on, in the order of GATES."""
    alpha = interval_alpha(GATES, len(evidence.routes), settings.alpha)
    results = (gate.judge(GateInput(gate, evidence, settings, step, auto_rollback, alpha)) for gate in GATES)
    return tuple(result for result in results if result)


def interval_alpha(gates: Sequence[Gate], routes: int, alpha: float) -> float:
    """Return the share of `alpha` for each interval, so that the shares of all intervals of all gates sum to `alpha`."""
    return alpha / max(1, sum(gate.intervals(routes) for gate in gates))


def outcome_of(results: Sequence[GateResult]) -> JudgementOutcome:
    """Combine results: bad if any is bad, good if all are good."""
    outcomes = {result.outcome for result in results}
    if JudgementOutcome.BAD in outcomes:
        return JudgementOutcome.BAD
    return JudgementOutcome.GOOD if outcomes == {JudgementOutcome.GOOD} else JudgementOutcome.NOT_ENOUGH


def reasons_of(results: Sequence[GateResult]) -> tuple[str, ...]:
    """List the reasons of all gates that are not good, bad ones first."""
    return tuple(
        f"{result.name}: {result.reason}"
        for outcome in (JudgementOutcome.BAD, JudgementOutcome.NOT_ENOUGH)
        for result in results
        if result.outcome is outcome
    )


Streaks: TypeAlias = Mapping[GateName, int]


def streaks_after(streaks: Streaks, results: Sequence[GateResult]) -> Streaks:
    """Count for how many evaluations in a row each gate has spoken against the candidate."""
    return {result.name: streaks.get(result.name, 0) + 1 for result in results if result.rolls_back}


def grounds_for_rollback(
    streaks: Streaks, results: Sequence[GateResult], auto_rollback: AutoRollbackSettings
) -> GateResult | None:
    """Return the result that rolls back now, the most specific of several; None when no gate has been bad long enough."""
    if not auto_rollback.enabled:
        return None
    grounds = [
        result
        for result in results
        if result.rolls_back and streaks.get(result.name, 0) >= auto_rollback.consecutive_evaluations
    ]
    return min(grounds, key=lambda result: MOST_SPECIFIC_FIRST.index(result.name), default=None)


def implicated_finding(result: GateResult, evidence: Evidence, points_tables: Sequence[str]) -> SuspectFinding | None:
    """Return the first finding of the kind and route that a bad result is about; None when the gate is about none."""
    implicates = _BY_NAME[result.name].implicates
    if implicates is None:
        return None
    return next(
        (
            suspect
            for suspect in evidence.suspects
            if implicates(suspect, points_tables) and result.route in (None, suspect.route)
        ),
        None,
    )


def _is_any(_suspect: SuspectFinding, _points_tables: Sequence[str]) -> bool:
    return True


def _is_effect(suspect: SuspectFinding, _points_tables: Sequence[str]) -> bool:
    return suspect.kind in EFFECT_KINDS


def _is_points(suspect: SuspectFinding, points_tables: Sequence[str]) -> bool:
    return suspect.kind in EFFECT_KINDS and suspect.place.partition(".")[0] in points_tables


def _is_status(suspect: SuspectFinding, _points_tables: Sequence[str]) -> bool:
    return suspect.kind == Kind.STATUS


def _time(given: GateInput) -> GateResult:
    required_s = given.settings.time_min_s if given.step.time_min_s is None else given.step.time_min_s
    seconds = given.evidence.seconds
    enough = JudgementOutcome.GOOD if seconds >= required_s else JudgementOutcome.NOT_ENOUGH
    return given.result(enough, f"{seconds:.0f} s at this step, at least {required_s:.0f} s required")


def _comparisons(given: GateInput) -> GateResult:
    settings, step = given.settings, given.step
    required = settings.comparisons_min if step.comparisons_min is None else step.comparisons_min
    compared = given.evidence.overall.counts.compared
    enough = JudgementOutcome.GOOD if compared >= required else JudgementOutcome.NOT_ENOUGH
    return given.result(enough, f"{compared} compared at this step, at least {required} required")


def _mismatches(given: GateInput) -> GateResult:
    limit = given.settings.mismatch_rate_max

    def judge_route(evidence: RouteEvidence, route: str | None) -> GateResult:
        counts = evidence.counts
        interval = rate_interval(counts.mismatch, counts.compared, alpha=given.alpha)
        reason = (
            f"{counts.mismatch} of {counts.compared} {_on(route)}differ ({interval.estimate:.4%}); the true rate is within "
            f"{interval.low:.4%} to {interval.high:.4%}, allowed {limit:.4%}"
        )
        return _rate_result(given, interval, limit, reason, route)

    return _worst_route_or_overall(given.evidence, judge_route)


def _errors(given: GateInput) -> GateResult:
    limit = given.settings.error_rate_increase_max

    def judge_route(evidence: RouteEvidence, route: str | None) -> GateResult:
        pairs, candidate, legacy = evidence.pairs, evidence.candidate_only_errors, evidence.legacy_only_errors
        interval = difference_interval(legacy, pairs, candidate, pairs, alpha=given.alpha)
        reason = (
            f"of {pairs} requests {_on(route)}{candidate} failed on the candidate alone, {legacy} on the legacy alone; "
            f"the increase is within {interval.low:+.4%} to {interval.high:+.4%}, allowed {limit:+.4%}"
        )
        return _rate_result(given, interval, limit, reason, route)

    return _worst_route_or_overall(given.evidence, judge_route)


def _worst_route_or_overall(
    evidence: Evidence, judge_route: Callable[[RouteEvidence, str | None], GateResult]
) -> GateResult:
    """Judge all routes together; one route that is bad by itself is bad, so that a rare route cannot hide behind a busy one."""
    single = [judge_route(one, route) for route, one in evidence.routes.items()] if len(evidence.routes) > 1 else []
    bad = next((result for result in single if result.outcome is JudgementOutcome.BAD), None)
    only = next(iter(evidence.routes)) if len(evidence.routes) == 1 else None
    return bad or judge_route(evidence.overall, only)


def _rate_result(given: GateInput, interval: Interval, limit: float, reason: str, route: str | None) -> GateResult:
    if interval.low > limit:
        return given.result(JudgementOutcome.BAD, reason, against_candidate=True, route=route)
    outcome = JudgementOutcome.GOOD if interval.high <= limit else JudgementOutcome.NOT_ENOUGH
    return given.result(outcome, reason, route=route)


def _on(route: str | None) -> str:
    return f"on {route} " if route else ""


def _effects(given: GateInput) -> GateResult:
    evidence, limit = given.evidence, given.settings.effect_mismatches_max
    reason = (
        f"{evidence.effect_mismatches} comparisons with differing rows, allowed {limit}; "
        f"rows were compared in {evidence.effects_compared}"
    )
    return _count_result(given, evidence.effect_mismatches, limit, reason)


def _points(given: GateInput) -> GateResult:
    count, limit = given.evidence.points_mismatches, given.settings.points_mismatches_max
    return _count_result(given, count, limit, f"{count} comparisons with differing points, allowed {limit}")


def _count_result(given: GateInput, count: int, limit: int, reason: str) -> GateResult:
    if count <= limit:
        return given.result(JudgementOutcome.GOOD, reason)
    return given.result(JudgementOutcome.BAD, reason, against_candidate=count >= limit + given.auto_rollback.hits_min)


SketchPair: TypeAlias = tuple[QuantileSketch, QuantileSketch]
"""Durations of the candidate and of the legacy, in microseconds."""


def _latency(given: GateInput) -> GateResult:
    required = given.settings.latency_pairs_min

    def durations(candidate: Role, legacy: Role) -> SketchPair:
        sketches = given.evidence.durations
        return (
            sketches.get((Side.CANDIDATE, candidate), QuantileSketch()),
            sketches.get((Side.LEGACY, legacy), QuantileSketch()),
        )

    for role in (Role.SERVED, Role.MIRRORED):
        pair = durations(role, role)
        if _fewer(pair) >= max(1, required):
            return _latency_result(given, pair, same_role=True)
    crossed = max(durations(Role.SERVED, Role.MIRRORED), durations(Role.MIRRORED, Role.SERVED), key=_fewer)
    if _fewer(crossed) >= max(1, required):
        return _latency_result(given, crossed, same_role=False)
    reason = f"{_fewer(crossed)} durations of both sides, at least {required} required"
    return given.result(JudgementOutcome.NOT_ENOUGH, reason)


def _fewer(pair: SketchPair) -> int:
    return min(pair[0].count, pair[1].count)


def _latency_result(given: GateInput, pair: SketchPair, *, same_role: bool) -> GateResult:
    settings, share = given.settings, given.settings.latency_quantile
    candidate, legacy = (quantile_band(sketch, share, alpha=given.alpha) for sketch in pair)
    low, high = candidate.low / legacy.high, candidate.high / legacy.low if legacy.low else math.inf
    limit, tolerance = settings.latency_ratio_max, settings.latency_tolerance
    if not same_role:
        limit, tolerance = settings.latency_across_roles_max, 0.0
    reason = (
        f"p{share * 100:g}: candidate {candidate.estimate / 1000:.1f} ms, legacy {legacy.estimate / 1000:.1f} ms; the ratio is "
        f"within {low:.3f} to {high:.3f}, allowed {limit:g}"
        f"{'' if same_role else ' (one side served, the other mirrored)'}"
    )
    if low > limit:
        return given.result(JudgementOutcome.BAD, reason, against_candidate=same_role)
    outcome = JudgementOutcome.GOOD if high <= limit + tolerance else JudgementOutcome.NOT_ENOUGH
    return given.result(outcome, reason)


def quantile_band(sketch: QuantileSketch, share: float, *, alpha: float) -> Interval:
    """Return an interval for a quantile that holds at every moment at once, in the unit of the sketch.

    The number of n values below the true quantile is a sum of Bernoulli(share) trials, so the counts whose confidence sequence
    (comparator.stats.confidence.rate_interval) contains `share` bound its rank. For example, of 20,000 values and share 0.95 those
    are the ranks 18,861 to 19,133 (alpha 0.01): the values there are the ends. That is much tighter at the ends of a distribution
    than a sub-Gaussian bound. Both ends are widened by the inaccuracy of the sketch.
    """
    count = sketch.count
    middle = math.floor(share * count)
    first = bisect_left(range(middle), True, key=lambda hits: not excluded(share, hits, count, alpha=alpha))
    last = bisect_left(range(middle + 1, count + 1), True, key=lambda hits: excluded(share, hits, count, alpha=alpha))
    low = 0.0 if first == 0 else sketch.at_rank(first - 1)
    high = math.inf if middle + 1 + last > count else sketch.at_rank(middle + 1 + last)
    return Interval(low * (1 - ACCURACY), sketch.quantile(share), high * (1 + ACCURACY))


def _memory(given: GateInput) -> GateResult | None:
    limit, rss_bytes = given.settings.rss_max_bytes, given.evidence.rss_bytes
    if not limit:
        return None
    if rss_bytes is None:
        reason = "the memory of the candidate was not measured: set rollout.sources.candidates to its metrics page"
        return given.result(JudgementOutcome.NOT_ENOUGH, reason)
    reason = f"{rss_bytes / 1024**2:.0f} MiB resident, allowed {limit / 1024**2:.0f} MiB"
    if rss_bytes > limit:
        return given.result(JudgementOutcome.BAD, reason, against_candidate=True)
    return given.result(JudgementOutcome.GOOD, reason)


def _coverage(given: GateInput) -> GateResult:
    evidence, settings = given.evidence, given.settings
    required, share_min = settings.route_comparisons_min, settings.compared_share_min
    lacking = [route for route, one in evidence.routes.items() if one.counts.compared < required]
    if lacking:
        covered = f"{len(evidence.routes) - len(lacking)} of {len(evidence.routes)}"
        reason = f"{covered} routes were compared at least {required} times; not: {', '.join(lacking[:10])}"
        return given.result(JudgementOutcome.NOT_ENOUGH, reason)
    reason = f"all {len(evidence.routes)} routes were compared at least {required} times"
    if evidence.completed is None:
        reason = _with_unavailable(evidence, "the counts of the runners were not read (rollout.sources.runners)")
        return given.result(JudgementOutcome.NOT_ENOUGH, reason)
    share = evidence.compared / evidence.completed if evidence.completed else 0.0
    reason += f"; {share:.1%} of {evidence.completed} exchanges with an outcome were compared, {share_min:.0%} required"
    return given.result(JudgementOutcome.GOOD if share >= share_min else JudgementOutcome.NOT_ENOUGH, reason)


def _accounting(given: GateInput) -> GateResult:
    accounting, slack = given.evidence.accounting, given.settings.accounting_slack
    if accounting is None:
        reason = _with_unavailable(given.evidence, "the counts of proxies and runners were not read")
        return given.result(JudgementOutcome.NOT_ENOUGH, reason)
    reason = (
        f"{accounting.served} served = {accounting.accounted} accounted for + {accounting.in_flight} in flight"
        f"{f', but {accounting.gap:+d}' if accounting.gap else ''}; allowed gap {slack}"
    )
    return given.result(JudgementOutcome.GOOD if abs(accounting.gap) <= slack else JudgementOutcome.BAD, reason)


def _with_unavailable(evidence: Evidence, reason: str) -> str:
    return f"{reason} ({'; '.join(evidence.unavailable)})" if evidence.unavailable else reason


GATES: Final = (
    Gate(GateName.TIME, _time),
    Gate(GateName.COMPARISONS, _comparisons),
    # A row that differs is a mismatch, too, so the gates on rows are more specific than this one.
    Gate(
        GateName.MISMATCHES,
        _mismatches,
        intervals_overall=1,
        intervals_per_route=1,
        rolls_back=True,
        specificity=3,
        implicates=_is_any,
    ),
    Gate(GateName.EFFECTS, _effects, rolls_back=True, specificity=5, implicates=_is_effect),
    Gate(GateName.POINTS, _points, rolls_back=True, specificity=6, implicates=_is_points),
    Gate(
        GateName.ERRORS,
        _errors,
        intervals_overall=1,
        intervals_per_route=1,
        rolls_back=True,
        specificity=4,
        implicates=_is_status,
    ),
    # One quantile of each side.
    Gate(GateName.LATENCY, _latency, intervals_overall=2, rolls_back=True, specificity=2),
    Gate(GateName.MEMORY, _memory, rolls_back=True, specificity=1),
    Gate(GateName.COVERAGE, _coverage),
    Gate(GateName.ACCOUNTING, _accounting),
)
"""Every gate there is, in the order in which results are listed."""

_BY_NAME: Final[Mapping[GateName, Gate]] = {gate.name: gate for gate in GATES}

MOST_SPECIFIC_FIRST: Final = tuple(
    gate.name for gate in sorted(GATES, key=lambda gate: -gate.specificity) if gate.rolls_back
)
"""The gates that can roll back, the most specific first."""
