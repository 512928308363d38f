"""Judge the evidence of a rollout step: one result a gate, each with its reason in words. Pure.

The outcome of a gate is good, bad, or not enough evidence, and then the reason says what is missing. A promotion needs every gate
good. A bad gate that speaks against the candidate rolls back once it was bad on evidence that grew in between (`streaks_after`,
`grounds_for_rollback`); a bad gate that speaks against the measurement only keeps the step.

To add a gate: a name in GateName, a function that judges, and a row in GATES.

The rates are judged by tests that hold at every moment at once (comparator.stats), so evaluating often does not make a false alarm
likely. Each test that may roll back has its share of `gates.alpha` (proxy.rollout.alpha_spending); a gate opens at `alpha` itself. Both
look at the same limit from two sides, so more evidence never closes a gate that less evidence had opened for a candidate within it. For
example, limit 0.1 % and 40,000 comparisons that are judged as a whole:

    14 mismatches      0.0102 % to 0.0838 %      below the limit: good
    40 mismatches      0.0503 % to 0.1749 %      the limit lies inside: not enough evidence
    80 mismatches      log wealth 12.0 > 10.6    above the limit, at a share of 0.000026: bad

Requests of one client are not independent: a bad rate needs `keys_min` different keys, and hits and trials are divided by the design
effect of the hits by key. Besides the whole step, the last minutes and hours are judged, so that a change after a good day is not hidden
by it. Errors are compared pair by pair: only requests that one side alone failed count, and they are errors, not mismatches. Latency is
compared on the same requests (proxy.rollout.latency_blocks).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from comparator.exchanges.difference import Kind
from comparator.stats.betting import center_interval, increase_interval, log_wealth_of_center, log_wealth_of_increase
from comparator.stats.confidence import Interval, JudgementOutcome, log_wealth, rate_interval
from proxy.config.rollout import AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.alpha_spending import WINDOWS_AT_ONCE, StepAlpha
from proxy.rollout.evidence import Evidence, Hits, RouteEvidence, SuspectFinding
from proxy.rollout.gate_measure import Measure, MeasureUnit
from proxy.rollout.latency_blocks import LatencyComparison, SlowSpells, spells_of, values_of

EFFECT_KINDS: Final = frozenset({Kind.MISSING_ROW, Kind.EXTRA_ROW, Kind.COLUMN, Kind.LATE, Kind.TRUNCATED_TABLE})
"""Kinds of findings about committed rows."""


WITH_ROWS: Final = "with_rows"
RESPONSE_ONLY: Final = "response_only"
LATENCY_CLIP: Final = math.log(1.1)
"""A block counts as 10 % above or below the limit at most."""
SPELLS_MIN: Final = 3
"""Slow spells of the candidate before they say anything."""


class GateName(StrEnum):
    """The gates: a closed set, as a metric's label needs."""

    TIME = "time"
    COMPARISONS = "comparisons"
    MISMATCHES = "mismatches"
    TRANSIENT = "transient"
    EFFECTS = "effects"
    POINTS = "points"
    LOW_CONFIDENCE = "low_confidence"
    ERRORS = "errors"
    LATENCY = "latency"
    SLOW_SPELLS = "slow_spells"
    MEMORY = "memory"
    COVERAGE = "coverage"
    OVERLAPPED = "overlapped"
    ACCOUNTING = "accounting"


@dataclass(frozen=True, slots=True)
class GateResult:
    """The outcome of one gate.

    Attributes:
        reason: the figures and the limit, in words.
        rolls_back: bad in a way that speaks against the candidate.
        route: the only route concerned; None for all routes together.
        amount: the amount of evidence, which grows as more comes in; a second look at the same evidence confirms nothing.
        measure: the figure that was judged; None where there is none yet.
    """

    name: GateName
    outcome: JudgementOutcome
    reason: str
    rolls_back: bool = False
    route: str | None = None
    amount: float = 0.0
    measure: Measure | None = None


Judge: TypeAlias = "Callable[[GateInput], GateResult | None]"
Implicates: TypeAlias = Callable[[SuspectFinding, Sequence[str]], bool]


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: how it judges, and the part it has in the decision.

    Attributes:
        judge: judges the evidence; None while the gate is turned off.
        spends_alpha: `judge` makes tests that may roll back, and gets a share of alpha for them.
        rolls_back: a bad result may roll back, because it speaks against the candidate.
        specificity: of several gates that roll back, the one with the highest names the cause.
        implicates: select the findings that a bad result is about, given `gates.points_tables`; None for no finding.
    """

    name: GateName
    judge: Judge
    spends_alpha: bool = False
    rolls_back: bool = False
    specificity: int = 0
    implicates: Implicates | None = None


@dataclass(frozen=True, slots=True)
class GateInput:
    """Everything that a gate may look at."""

    gate: Gate
    evidence: Evidence
    settings: GateSettings
    step: StepSettings
    auto_rollback: AutoRollbackSettings
    alpha: StepAlpha

    def needed(self, length_s: int | None, routes: int, *, is_route: bool) -> float:
        """Return the log wealth at which one test of this gate is bad."""
        assert self.gate.spends_alpha, f"the gate {self.gate.name} makes tests and has no share of alpha"
        return -math.log(self.alpha.of_test(length_s, routes, is_route=is_route))

    def result(
        self,
        outcome: JudgementOutcome,
        reason: str,
        *,
        against_candidate: bool = False,
        route: str | None = None,
        amount: float = 0.0,
        measure: Measure | None = None,
    ) -> GateResult:
        """Return a result of this gate; it rolls back only where the gate's row allows it."""
        rolls_back = against_candidate and self.gate.rolls_back
        return GateResult(self.gate.name, outcome, reason, rolls_back, route, amount, measure)


def judge(
    evidence: Evidence,
    settings: GateSettings,
    step: StepSettings,
    auto_rollback: AutoRollbackSettings,
    *,
    alpha: StepAlpha | None = None,
) -> tuple[GateResult, ...]:
    """Judge a step by every gate that is turned on, in the order of GATES.

    Args:
        evidence: of the step.
        settings: section `rollout.gates`.
        step: the step.
        auto_rollback: section `rollout.auto_rollback`.
        alpha: the step's share (`step_alpha`); None for that of a rollout with one step.
    """
    alpha = alpha or step_alpha(settings)
    results = (gate.judge(GateInput(gate, evidence, settings, step, auto_rollback, alpha)) for gate in GATES)
    return tuple(result for result in results if result)


def step_alpha(settings: GateSettings, *, epoch: int = 0, steps: int = 1, groups: int = 1) -> StepAlpha:
    """Return the share of `gates.alpha` that one step of one group may spend."""
    gates = sum(gate.spends_alpha for gate in GATES)
    return StepAlpha.of(settings.alpha, epoch=epoch, steps=steps, groups=groups, gates=gates)


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


@dataclass(frozen=True, slots=True)
class Streak:
    """A gate's evaluations in a row that spoke against the candidate, each on more evidence, and the evidence of the last one."""

    length: int
    amount: float


Streaks: TypeAlias = Mapping[GateName, Streak]


def streaks_after(streaks: Streaks, results: Sequence[GateResult]) -> Streaks:
    """Count for how many evaluations in a row, each on new evidence, each gate has spoken against the candidate."""
    after: dict[GateName, Streak] = {}
    for result in results:
        if result.rolls_back:
            before = streaks.get(result.name)
            if before is None:
                after[result.name] = Streak(1, result.amount)
            elif result.amount > before.amount:
                after[result.name] = Streak(before.length + 1, result.amount)
            else:
                after[result.name] = before
    return after


def grounds_for_rollback(
    streaks: Streaks, results: Sequence[GateResult], auto_rollback: AutoRollbackSettings
) -> GateResult | None:
    """Return the result that rolls back now, the most specific of several; None when no gate has been bad long enough."""
    if not auto_rollback.enabled:
        return None
    grounds = [
        result
        for result in results
        if result.rolls_back
        and result.name in streaks
        and streaks[result.name].length >= auto_rollback.consecutive_evaluations
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
    return given.result(
        enough,
        f"{seconds:.0f} s at this step, at least {required_s:.0f} s required",
        measure=Measure(MeasureUnit.SECONDS, seconds, required_s, at_least=True),
    )


def _comparisons(given: GateInput) -> GateResult:
    required = _comparisons_required(given)
    compared = given.evidence.overall.counts.compared
    enough = JudgementOutcome.GOOD if compared >= required else JudgementOutcome.NOT_ENOUGH
    return given.result(
        enough,
        f"{compared} compared at this step, at least {required} required",
        measure=Measure(MeasureUnit.COUNT, compared, required, at_least=True),
    )


def _comparisons_required(given: GateInput) -> int:
    settings, step = given.settings, given.step
    return settings.comparisons_min if step.comparisons_min is None else step.comparisons_min


# Rates.


@dataclass(frozen=True, slots=True)
class RateQuestion:
    """A rate and its limit: the trials of some evidence, and those that hit."""

    hits: Callable[[RouteEvidence], Hits]
    trials: Callable[[RouteEvidence], int]
    limit: float
    noun: str
    parts: Callable[[RouteEvidence], Mapping[str, tuple[int, int]]] = lambda _: {}
    """Hits and trials by what they rest on: WITH_ROWS and RESPONSE_ONLY; none for a rate of one kind."""

    def text(self, evidence: RouteEvidence, where: str, *, alpha: float) -> str:
        """Return the figures in words."""
        hits, trials = self.hits(evidence), self.trials(evidence)
        interval = rate_of(hits, trials, alpha=alpha, around=self.limit)
        return (
            f"{hits.count} of {trials} {where}{self.noun} ({interval.estimate:.4%}; {hits.keys} keys, design effect "
            f"{hits.design_effect:.1f}){_parts_in_words(self.parts(evidence), evidence)}; the true rate is within {interval.low:.4%} to {interval.high:.4%}, allowed {self.limit:.4%}"
        )

    def measure(self, evidence: RouteEvidence, *, alpha: float) -> Measure:
        """Return the figures."""
        hits, trials = self.hits(evidence), self.trials(evidence)
        interval = rate_of(hits, trials, alpha=alpha, around=self.limit)
        return Measure(
            MeasureUnit.SHARE,
            hits.count / trials if trials else 0.0,
            self.limit,
            low=interval.low,
            high=interval.high,
            hits=hits.count,
            trials=trials,
            parts=self.parts(evidence),
        )


def _by_basis(evidence: RouteEvidence) -> Mapping[str, tuple[int, int]]:
    """Return mismatches and judged comparisons by what they rest on: an equal response says nothing of the rows."""
    alone, with_rows = evidence.response_only_mismatches.count, evidence.effects_compared + evidence.partial
    return {
        WITH_ROWS: (evidence.mismatches.count - alone, with_rows),
        RESPONSE_ONLY: (alone, evidence.judged - with_rows),
    }


def _parts_in_words(parts: Mapping[str, tuple[int, int]], evidence: RouteEvidence) -> str:
    if not parts:
        return ""
    (rows_hits, rows), (alone_hits, alone) = parts[WITH_ROWS], parts[RESPONSE_ONLY]
    partial = f" ({evidence.partial} without those of some tables)" if evidence.partial else ""
    return f": {rows_hits} of {rows} compared with their rows{partial}, {alone_hits} of {alone} by the responses alone"


def rate_of(hits: Hits, trials: int, *, alpha: float, around: float) -> Interval:
    """Return the confidence sequence of a rate whose hits come in groups of one key."""
    effect = hits.design_effect
    return rate_interval(hits.count / effect, max(hits.count, trials) / effect, alpha=alpha, around=around)


Test: TypeAlias = Callable[[RouteEvidence, float], bool]
"""Return True when evidence contradicts the limit with this log wealth."""


def _first_bad(given: GateInput, is_bad: Test) -> tuple[int | None, str | None, RouteEvidence] | None:
    """Return window, route and evidence of the first test that is bad: the whole step first, single routes before all together."""
    for length_s, _, window in given.evidence.windows():
        routes = len(window.routes)
        if routes > 1:
            needed = given.needed(length_s, routes, is_route=True)
            for route, evidence in window.routes.items():
                if is_bad(evidence, needed):
                    return length_s, route, evidence
        if is_bad(window.overall, given.needed(length_s, routes, is_route=False)):
            return length_s, next(iter(window.routes)) if routes == 1 else None, window.overall
    return None


def _exceeds(question: RateQuestion, keys_min: int) -> Test:
    """Test for a rate above the limit: a busy key alone, or too few hits, is no evidence."""

    def is_bad(evidence: RouteEvidence, needed: float) -> bool:
        hits, trials = question.hits(evidence), question.trials(evidence)
        if hits.keys < keys_min or hits.count <= question.limit * trials:
            return False
        effect = hits.design_effect
        wealth = log_wealth(question.limit, hits.count / effect, trials / effect, around=question.limit)
        return wealth >= needed

    return is_bad


def _bad_rate(given: GateInput, question: RateQuestion) -> GateResult | None:
    bad = _first_bad(given, _exceeds(question, given.auto_rollback.keys_min))
    if bad is None:
        return None
    length_s, route, evidence = bad
    reason = question.text(evidence, _where(route), alpha=given.alpha.opening) + _when(length_s)
    amount = float(question.trials(given.evidence.overall))
    measure = question.measure(evidence, alpha=given.alpha.opening)
    return given.result(
        JudgementOutcome.BAD, reason, against_candidate=True, route=route, amount=amount, measure=measure
    )


def _where(route: str | None) -> str:
    return f"on {route} " if route else ""


def _when(length_s: int | None) -> str:
    if length_s is None:
        return ""
    age_s = WINDOWS_AT_ONCE * length_s
    return f" (within the last {f'{age_s / 60:.0f} minutes' if age_s < 7_200 else f'{age_s / 3_600:.0f} hours'})"


def _mismatches(given: GateInput) -> GateResult:
    limit = given.settings.mismatch_rate_max
    question = RateQuestion(lambda one: one.mismatches, lambda one: one.judged, limit, "differ", _by_basis)
    return _response_rate(given, question)


def _response_rate(given: GateInput, question: RateQuestion) -> GateResult:
    """Judge a rate that responses alone make, too; where no rows are captured, it closes the gate and by default does not roll back.

    Without capture nothing keeps the shadow equal to live: a candidate that reads other rows differs, however good it is.
    """
    bad = _bad_rate(given, question)
    if bad is None:
        return _good_rate(given, question)
    if given.evidence.captures_rows or given.auto_rollback.without_rows:
        return bad
    return replace(bad, reason=f"{bad.reason}{_NO_ROLLBACK}", rolls_back=False)


_NO_ROLLBACK: Final = "; no rows are captured, so this rolls back only with rollout.auto_rollback.without_rows"


def _good_rate(given: GateInput, question: RateQuestion) -> GateResult:
    overall = given.evidence.overall
    trials = question.trials(overall)
    interval = rate_of(question.hits(overall), trials, alpha=given.alpha.opening, around=question.limit)
    outcome = JudgementOutcome.GOOD if interval.high <= question.limit else JudgementOutcome.NOT_ENOUGH
    measure = question.measure(overall, alpha=given.alpha.opening)
    reason = question.text(overall, "", alpha=given.alpha.opening)
    return given.result(outcome, reason, amount=float(trials), measure=measure)


def _transient(given: GateInput) -> GateResult:
    """Judge the differences that were gone in the second run, which are random faults of the side that ran twice."""
    overall, alpha = given.evidence.overall, given.alpha.opening
    if not overall.candidate_mirrored:
        return given.result(JudgementOutcome.GOOD, "the candidate mirrored nothing at this step")
    # The legacy may be as random; the part of the limit that it certainly reaches itself is not the candidate's.
    legacy = rate_of(
        overall.legacy_transient, overall.legacy_mirrored, alpha=alpha, around=given.settings.transient_rate_max
    )
    question = RateQuestion(
        lambda one: one.candidate_transient,
        lambda one: one.candidate_mirrored,
        given.settings.transient_rate_max + legacy.low,
        "of the candidate's mirrored runs differ and do not reproduce",
    )
    return _response_rate(given, question)


def _effects(given: GateInput) -> GateResult | None:
    limit = given.settings.effect_rate_max
    return _row_rate(given, RateQuestion(lambda one: one.effects, _with_rows, limit, "differ in rows"))


def _points(given: GateInput) -> GateResult | None:
    limit = given.settings.points_rate_max
    return _row_rate(given, RateQuestion(lambda one: one.points, _with_rows, limit, "differ in points"))


def _with_rows(evidence: RouteEvidence) -> int:
    return evidence.effects_compared


def _row_rate(given: GateInput, question: RateQuestion) -> GateResult | None:
    """Judge a rate of comparisons with rows; None where there can be none, because no row is captured or no route has a key."""
    if given.evidence.rows_routes is not None and not given.evidence.rows_routes & given.evidence.routes.keys():
        return None
    bad = _bad_rate(given, question)
    if bad is not None:
        return bad
    compared, required = given.evidence.overall.effects_compared, _comparisons_required(given)
    if compared < required:
        judged = given.evidence.overall.judged
        reason = f"rows were compared in {compared} of {judged} comparisons, at least {required} required"
        measure = Measure(MeasureUnit.COUNT, compared, required, at_least=True)
        return given.result(JudgementOutcome.NOT_ENOUGH, reason, amount=float(compared), measure=measure)
    return _unsuspicious_rate(given, question)


def _unsuspicious_rate(given: GateInput, question: RateQuestion) -> GateResult:
    """Open the gate unless several keys differ at more than the limit.

    The limits on rows are so small that proof of them takes 600,000 comparisons. Rows that differ are mismatches, too, so an upper
    bound on their rate is the mismatch gate's.
    """
    overall = given.evidence.overall
    hits, trials = question.hits(overall), question.trials(overall)
    suspicious = hits.keys >= given.auto_rollback.keys_min and hits.count > question.limit * trials
    outcome = JudgementOutcome.NOT_ENOUGH if suspicious else JudgementOutcome.GOOD
    measure = question.measure(overall, alpha=given.alpha.opening)
    reason = question.text(overall, "", alpha=given.alpha.opening)
    return given.result(outcome, reason, amount=float(trials), measure=measure)


def _low_confidence(given: GateInput) -> GateResult:
    """Judge differences in tables that are known to differ at times; they close the gate and never roll back."""
    overall, limit = given.evidence.overall, given.settings.mismatch_rate_max
    question = RateQuestion(
        lambda one: one.low_confidence, lambda one: one.judged, limit, "differ only in tables of low confidence"
    )
    interval = rate_of(overall.low_confidence, overall.judged, alpha=given.alpha.opening, around=limit)
    outcome = JudgementOutcome.BAD if interval.low > limit else JudgementOutcome.GOOD
    measure = question.measure(overall, alpha=given.alpha.opening)
    return given.result(outcome, question.text(overall, "", alpha=given.alpha.opening), measure=measure)


def _errors(given: GateInput) -> GateResult:
    limit, keys_min, opening = given.settings.error_rate_increase_max, given.auto_rollback.keys_min, given.alpha.opening

    def is_bad(evidence: RouteEvidence, needed: float) -> bool:
        if evidence.candidate_only_errors.keys < keys_min:
            return False
        return log_wealth_of_increase(limit, *_lone_errors(evidence)) >= needed

    def text(evidence: RouteEvidence, where: str) -> str:
        interval = increase_interval(*_lone_errors(evidence), alpha=opening)
        return (
            f"of {evidence.pairs} requests {where}{evidence.candidate_only_errors.count} failed on the candidate alone, "
            f"{evidence.legacy_only_errors.count} on the legacy alone; "
            f"the increase is within {interval.low:+.4%} to {interval.high:+.4%}, allowed {limit:+.4%}"
        )

    def measure(evidence: RouteEvidence) -> Measure:
        interval = increase_interval(*_lone_errors(evidence), alpha=opening)
        hits = evidence.candidate_only_errors.count
        return Measure(
            MeasureUnit.SHARE,
            interval.estimate,
            limit,
            low=interval.low,
            high=interval.high,
            hits=hits,
            trials=evidence.pairs,
        )

    overall = given.evidence.overall
    bad = _first_bad(given, is_bad)
    if bad is not None:
        length_s, route, evidence = bad
        reason = text(evidence, _where(route)) + _when(length_s)
        return given.result(
            JudgementOutcome.BAD,
            reason,
            against_candidate=True,
            route=route,
            amount=float(overall.pairs),
            measure=measure(evidence),
        )
    figures = measure(overall)
    outcome = JudgementOutcome.GOOD if (figures.high or 0.0) <= limit else JudgementOutcome.NOT_ENOUGH
    return given.result(outcome, text(overall, ""), amount=float(overall.pairs), measure=figures)


def _lone_errors(evidence: RouteEvidence) -> tuple[float, float, float]:
    """Return the pairs that failed on the candidate alone, on the legacy alone, and the others, divided by the design effect."""
    candidate, legacy = evidence.candidate_only_errors, evidence.legacy_only_errors
    effect = max(candidate.design_effect, legacy.design_effect)
    others = max(0, evidence.pairs - candidate.count - legacy.count)
    return candidate.count / effect, legacy.count / effect, others / effect


# Latency.


def _latency(given: GateInput) -> GateResult:
    settings, opening = given.settings, given.alpha.opening
    comparison = LatencyComparison.at(given.step.percent)
    same = comparison.same_roles
    limit = math.log(settings.latency_ratio_max if same else settings.latency_across_roles_max)
    blocks = given.evidence.blocks
    values = values_of(blocks)
    for length_s, begin_s, _ in given.evidence.windows():
        fresh = values if length_s is None else values_of(blocks, since_s=begin_s)
        if not fresh:
            continue
        if log_wealth_of_center(fresh, limit, LATENCY_CLIP, above=True) >= given.needed(length_s, 1, is_route=False):
            interval = center_interval(fresh, LATENCY_CLIP, alpha=opening, around=limit)
            return given.result(
                JudgementOutcome.BAD,
                _latency_text(given, interval, comparison) + _when(length_s),
                against_candidate=same,
                amount=float(len(blocks)),
                measure=_latency_measure(interval, limit),
            )
    if not values:
        reason = f"not one block of {settings.latency_durations_min} durations of each side ({comparison})"
        return given.result(JudgementOutcome.NOT_ENOUGH, reason)
    good = log_wealth_of_center(values, limit, LATENCY_CLIP, above=False) >= -math.log(opening)
    interval = center_interval(values, LATENCY_CLIP, alpha=opening, around=limit)
    return given.result(
        JudgementOutcome.GOOD if good else JudgementOutcome.NOT_ENOUGH,
        _latency_text(given, interval, comparison),
        amount=float(len(blocks)),
        measure=_latency_measure(interval, limit),
    )


def _latency_measure(interval: Interval, limit: float) -> Measure:
    """Return the ratio of the quantiles; interval and limit are logarithms."""
    low, estimate, high = (math.exp(end) for end in (interval.low, interval.estimate, interval.high))
    return Measure(MeasureUnit.RATIO, estimate, math.exp(limit), low=low, high=high)


def _slow_spells(given: GateInput) -> GateResult:
    """Judge the time in which the candidate alone is slow: less than half of it does not move the center that `latency` judges.

    Each side has slow spells of its own, so those of the legacy alone are set off against them, as lone errors are.
    """
    settings, blocks = given.settings, given.evidence.blocks
    comparison = LatencyComparison.at(given.step.percent)
    same, limit = comparison.same_roles, settings.latency_spells_share_max
    if not blocks:
        return given.result(JudgementOutcome.NOT_ENOUGH, f"not one block of latency ({comparison})")
    spells = spells_of(blocks, math.log(settings.latency_ratio_max if same else settings.latency_across_roles_max))
    (slow, number), (legacy_slow, legacy_number), effect = spells.candidate, spells.legacy, spells.design_effect
    reason = (
        f"in {slow} of {spells.judged} blocks the candidate alone was slow ({number} spells), in {legacy_slow} the legacy alone "
        f"({legacy_number} spells); allowed increase {limit:.0%} of the time"
    )
    amount, measure = float(len(blocks)), _spells_measure(spells, limit)
    if number < SPELLS_MIN or spells.excess <= limit * spells.judged:
        return given.result(JudgementOutcome.GOOD, reason, amount=amount, measure=measure)
    rest = spells.judged - slow - legacy_slow
    wealth = log_wealth_of_increase(limit, slow / effect, legacy_slow / effect, rest / effect)
    if wealth >= given.needed(None, 1, is_route=False):
        return given.result(JudgementOutcome.BAD, reason, against_candidate=same, amount=amount, measure=measure)
    return given.result(JudgementOutcome.NOT_ENOUGH, reason, amount=amount, measure=measure)


def _spells_measure(spells: SlowSpells, limit: float) -> Measure:
    """Return the share of the blocks in which the candidate alone was slow, less that of the legacy alone."""
    share = spells.excess / spells.judged if spells.judged else 0.0
    return Measure(MeasureUnit.SHARE, share, limit, hits=spells.candidate[0], trials=spells.judged)


def _latency_text(given: GateInput, interval: Interval, comparison: LatencyComparison) -> str:
    settings = given.settings
    limit = settings.latency_ratio_max if comparison.same_roles else settings.latency_across_roles_max
    low, estimate, high = (math.exp(end) for end in (interval.low, interval.estimate, interval.high))
    return (
        f"p{settings.latency_quantile * 100:g}: candidate over legacy {estimate:.3f}, within {low:.3f} to {high:.3f} by "
        f"{len(given.evidence.blocks)} blocks ({comparison}), allowed {limit:g}"
    )


# The measurement.


def _memory(given: GateInput) -> GateResult | None:
    limit, rss_bytes, evidence = given.settings.rss_max_bytes, given.evidence.rss_bytes, given.evidence
    if not limit or not evidence.measures_memory:
        return None
    if rss_bytes is None:
        return given.result(
            JudgementOutcome.NOT_ENOUGH, _with_unavailable(evidence, "the memory of the candidate was not measured")
        )
    reason = f"{rss_bytes / 1024**2:.0f} MiB resident, allowed {limit / 1024**2:.0f} MiB"
    measure = Measure(MeasureUnit.BYTES, rss_bytes, limit)
    if rss_bytes > limit:
        return given.result(
            JudgementOutcome.BAD, reason, against_candidate=True, amount=evidence.seconds, measure=measure
        )
    return given.result(JudgementOutcome.GOOD, reason, measure=measure)


def _coverage(given: GateInput) -> GateResult:
    evidence, settings = given.evidence, given.settings
    problems = [problem for route, one in evidence.routes.items() if (problem := _coverage_problem(given, route, one))]
    routes = len(evidence.routes)
    measure = Measure(MeasureUnit.COUNT, routes - len(problems), routes, at_least=True)
    if evidence.dropped is None:
        problems.append(_with_unavailable(evidence, "the drops of the proxies were not read (rollout.sources.proxies)"))
    overall = evidence.overall
    # Those whose route is not known are in the sum alone.
    compared, lost = overall.counts.compared, overall.lost + max(overall.dropped, evidence.dropped or 0)
    share = compared / (compared + lost) if compared + lost else 0.0
    if not problems and share < settings.compared_share_min:
        problems.append(f"only {share:.1%} of {compared + lost} exchanges were compared")
    if problems:
        return given.result(JudgementOutcome.NOT_ENOUGH, "; ".join(problems[:10]), measure=measure)
    excluded = f"; {overall.excluded} left out by policy or rate limit" if overall.excluded else ""
    reason = (
        f"{share:.1%} of {compared + lost} exchanges at this step were compared, {settings.compared_share_min:.0%} required on each "
        f"of {routes} routes; {evidence.dropped} dropped by proxies{excluded}"
    )
    return given.result(JudgementOutcome.GOOD, reason, measure=measure)


def _coverage_problem(given: GateInput, route: str, evidence: RouteEvidence) -> str | None:
    """Return the reason for which a route is not covered; a route without calls is no blindness, and one in `quiet` is fine."""
    settings, compared = given.settings, evidence.counts.compared
    quiet = route in given.evidence.quiet_routes
    if not evidence.called:
        return None if quiet else f"{route} was not called at this step (declare it `quiet: true` if that is normal)"
    seen = compared + evidence.unseen
    share = compared / seen if seen else None
    if share is not None and share < settings.compared_share_min:
        drops = f" ({evidence.dropped} dropped by proxies)" if evidence.dropped else ""
        return f"on {route} {share:.1%} of {seen} were compared, {settings.compared_share_min:.0%} required{drops}"
    if compared < settings.route_comparisons_min and not quiet:
        return f"{route} was compared {compared} times, {settings.route_comparisons_min} required"
    rows_routes = given.evidence.rows_routes
    if (rows_routes is None or route in rows_routes) and not quiet:
        with_rows = evidence.effects_compared
        if with_rows < settings.route_comparisons_min:
            return f"{route} was compared with its rows {with_rows} times, {settings.route_comparisons_min} required"
    return None


def _overlapped(given: GateInput) -> GateResult:
    """Judge the exchanges that nothing can be said about, because another request of the same client ran at the same time."""
    evidence, settings = given.evidence, given.settings
    limit, required = settings.overlapped_share_max, settings.route_comparisons_min

    def share(one: RouteEvidence) -> float:
        seen = one.counts.compared + one.overlapped
        return one.overlapped / seen if seen else 0.0

    over = [
        f"{route} {share(one):.1%}"
        for route, one in evidence.routes.items()
        if share(one) > limit and one.counts.compared + one.overlapped >= required
    ]
    overall = evidence.overall
    figures = f"{overall.overlapped} of {overall.counts.compared + overall.overlapped} exchanges overlapped another of their key"
    measure = Measure(
        MeasureUnit.SHARE,
        share(overall),
        limit,
        hits=overall.overlapped,
        trials=overall.counts.compared + overall.overlapped,
    )
    if over or share(overall) > limit:
        reason = (
            f"{figures}, allowed {limit:.1%}{': ' if over else ''}{', '.join(over[:10])}; faults that show only under concurrency "
            "are not seen in them (ARCHITECTURE.md, Requests that overlap, says how to lower the share)"
        )
        return given.result(JudgementOutcome.NOT_ENOUGH, reason, measure=measure)
    return given.result(JudgementOutcome.GOOD, f"{figures}, allowed {limit:.1%}", measure=measure)


def _accounting(given: GateInput) -> GateResult:
    accounting, slack = given.evidence.accounting, given.settings.accounting_slack
    if accounting is None:
        reason = _with_unavailable(given.evidence, "the counts of proxies and runners were not read")
        return given.result(JudgementOutcome.NOT_ENOUGH, reason)
    reason = (
        f"{accounting.served} served = {accounting.accounted} accounted for + {accounting.in_flight} in flight"
        f"{f', but {accounting.gap:+d}' if accounting.gap else ''}; allowed gap {slack}"
    )
    outcome = JudgementOutcome.GOOD if abs(accounting.gap) <= slack else JudgementOutcome.BAD
    return given.result(outcome, reason, measure=Measure(MeasureUnit.COUNT, abs(accounting.gap), slack))


def _with_unavailable(evidence: Evidence, reason: str) -> str:
    return f"{reason} ({'; '.join(evidence.unavailable)})" if evidence.unavailable else reason


GATES: Final = (
    Gate(GateName.TIME, _time),
    Gate(GateName.COMPARISONS, _comparisons),
    # A row that differs is a mismatch, too, so the gates on rows are more specific than this one.
    Gate(GateName.MISMATCHES, _mismatches, spends_alpha=True, rolls_back=True, specificity=3, implicates=_is_any),
    Gate(GateName.TRANSIENT, _transient, spends_alpha=True, rolls_back=True, specificity=2),
    Gate(GateName.EFFECTS, _effects, spends_alpha=True, rolls_back=True, specificity=7, implicates=_is_effect),
    Gate(GateName.POINTS, _points, spends_alpha=True, rolls_back=True, specificity=8, implicates=_is_points),
    Gate(GateName.LOW_CONFIDENCE, _low_confidence),
    Gate(GateName.ERRORS, _errors, spends_alpha=True, rolls_back=True, specificity=6, implicates=_is_status),
    Gate(GateName.LATENCY, _latency, spends_alpha=True, rolls_back=True, specificity=5),
    Gate(GateName.SLOW_SPELLS, _slow_spells, spends_alpha=True, rolls_back=True, specificity=4),
    Gate(GateName.MEMORY, _memory, rolls_back=True, specificity=1),
    Gate(GateName.COVERAGE, _coverage),
    Gate(GateName.OVERLAPPED, _overlapped),
    Gate(GateName.ACCOUNTING, _accounting),
)
"""Every gate there is, in the order in which results are listed."""

_BY_NAME: Final[Mapping[GateName, Gate]] = {gate.name: gate for gate in GATES}

MOST_SPECIFIC_FIRST: Final = tuple(
    gate.name for gate in sorted(GATES, key=lambda gate: -gate.specificity) if gate.rolls_back
)
"""The gates that can roll back, the most specific first."""
