"""Collect evidence about one route from its comparisons, and judge whether it suffices for a decision. Pure.

`ComparisonEvidence` takes one comparison at a time and can be merged across processes. `judge` decides good, bad or not enough evidence, with
the reason in words; it may be called at any time and any number of times (see `comparator.stats.confidence`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from comparator.exchanges.model import Observation, Response, Side
from comparator.stats.confidence import (
    Interval,
    Judgement,
    JudgementOutcome,
    VerdictCounts,
    combine,
    judge_coverage,
    judge_error_rates,
    judge_match_rate,
)
from comparator.stats.quantile_sketch import ACCURACY, QuantileSketch
from comparator.verdict import Comparison, Verdict


@dataclass(frozen=True, slots=True)
class EvidenceRequirements:
    """The requirements for good evidence.

    Attributes:
        match_rate: least match rate, between 0 and 1.
        compared_min: least number of comparisons.
        error_increase: greatest increase of the error rate from the legacy to the candidate, as a difference of rates.
        latency_quantile: the quantile of latency ratios that is judged, between 0 and 1.
        latency_increase: greatest relative increase of the latency at this quantile; 0.1 is 10 %.
        branches: branches that must have been exercised, `branch_min` times each.
        branch_min: least number of times for each branch.
        alpha: probability of a wrong good or bad, for all criteria together and any number of looks.
    """

    match_rate: float = 0.999
    compared_min: int = 1_000
    error_increase: float = 0.001
    latency_quantile: float = 0.5
    latency_increase: float = 0.25
    branches: tuple[str, ...] = ()
    branch_min: int = 1
    alpha: float = 0.05


@dataclass(slots=True)
class ComparisonEvidence:
    """Counts and sketches of one route.

    Attributes:
        verdicts: number of comparisons by verdict.
        branches: number of exchanges by branch.
        answered: number of exchanges with responses of both sides.
        candidate_errors: number of candidate responses with a status of 500 or above, among `answered`.
        legacy_errors: number of legacy responses with a status of 500 or above, among `answered`.
        candidate_us: durations of the candidate in microseconds.
        legacy_us: durations of the legacy in microseconds.
        ratio: ratios of the durations, candidate / legacy, of each exchange.
    """

    verdicts: Counter[str] = field(default_factory=Counter[str])
    branches: Counter[str] = field(default_factory=Counter[str])
    answered: int = 0
    candidate_errors: int = 0
    legacy_errors: int = 0
    candidate_us: QuantileSketch = field(default_factory=QuantileSketch)
    legacy_us: QuantileSketch = field(default_factory=QuantileSketch)
    ratio: QuantileSketch = field(default_factory=QuantileSketch)

    def add(self, comparison: Comparison, served: Observation, mirrored: Observation) -> None:
        """Add one comparison with its observations."""
        self.verdicts[comparison.verdict] += 1
        a, b = served.outcome, mirrored.outcome
        if not isinstance(a, Response) or not isinstance(b, Response):
            return
        candidate, legacy = (served, mirrored) if served.side is Side.CANDIDATE else (mirrored, served)
        responses = (a, b) if served.side is Side.CANDIDATE else (b, a)
        self.answered += 1
        self.candidate_errors += responses[0].status >= 500
        self.legacy_errors += responses[1].status >= 500
        self.candidate_us.add(candidate.duration_ns / 1000)
        self.legacy_us.add(legacy.duration_ns / 1000)
        self.ratio.add(candidate.duration_ns / max(1, legacy.duration_ns))

    def add_branch(self, branch: str) -> None:
        """Count an exchange of a branch, e.g. `v2_score: dedup`."""
        self.branches[branch] += 1

    def merge(self, other: "ComparisonEvidence") -> None:
        """Add the evidence of another process."""
        self.verdicts.update(other.verdicts)
        self.branches.update(other.branches)
        self.answered += other.answered
        self.candidate_errors += other.candidate_errors
        self.legacy_errors += other.legacy_errors
        self.candidate_us.merge(other.candidate_us)
        self.legacy_us.merge(other.legacy_us)
        self.ratio.merge(other.ratio)

    @property
    def counts(self) -> VerdictCounts:
        """Numbers of comparisons by verdict."""
        return VerdictCounts(
            match=self.verdicts[Verdict.MATCH],
            known=self.verdicts[Verdict.KNOWN],
            mismatch=self.verdicts[Verdict.MISMATCH],
            transient=self.verdicts[Verdict.TRANSIENT],
            failed=self.verdicts[Verdict.FAILED],
        )


def quantile_interval(sketch: QuantileSketch, share: float, *, alpha: float = 0.05) -> Interval:
    """Return a confidence sequence for a quantile: an interval that is valid at all times at once.

    The number of values below the true quantile is a sum of Bernoulli(share) trials, whose mean stays within `half_width(n)` of `share` at all
    times (see there), so the quantile lies between the values at these ranks. The interval is widened by the sketch's own inaccuracy.

    Example: 10,000 values, the median, alpha 0.05: half_width is 0.0167, so the median lies between the values at ranks 4,832 and 5,167.
    """
    count = sketch.count
    if count == 0:
        return Interval(-math.inf, math.nan, math.inf)
    width = half_width(count, alpha=alpha)
    low_rank, high_rank = math.floor((share - width) * count) - 1, math.ceil((share + width) * count)
    low = -math.inf if low_rank < 0 else sketch.at_rank(low_rank)
    high = math.inf if high_rank >= count else sketch.at_rank(high_rank)
    return Interval(low - ACCURACY * abs(low), sketch.quantile(share), high + ACCURACY * abs(high))


def half_width(count: int, *, alpha: float) -> float:
    """Return the distance that the mean of `count` trials in [0, 1] keeps from its expectation at all times, with probability 1 - alpha.

    Robbins' normal-mixture bound for sub-Gaussian sums (variance proxy 1/4), tuned for 500 trials.
    Source: Howard et al. 2021, equation (14): sqrt((n/4 + rho) log((n/4 + rho) / (rho alpha^2))) / n.
    """
    rho = 500 / 4 / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    variance = count / 4 + rho
    return math.sqrt(variance * math.log(variance / (rho * alpha**2))) / count


def judge_latency(ratio: QuantileSketch, *, share: float, allowed: float, alpha: float) -> Judgement:
    """Judge whether the candidate takes at most `allowed` (relative) longer than the legacy, at the quantile `share` of paired ratios."""
    interval = quantile_interval(ratio, share, alpha=alpha)
    reason = (
        f"latency candidate/legacy, paired, quantile {share:g}: {interval.estimate:.3f} "
        f"({interval.low:.3f}-{interval.high:.3f}) over {ratio.count} pairs, allowed {1 + allowed:.3f}"
    )
    if interval.low > 1 + allowed:
        return Judgement(JudgementOutcome.BAD, reason)
    return Judgement(JudgementOutcome.GOOD if interval.high <= 1 + allowed else JudgementOutcome.NOT_ENOUGH, reason)


@dataclass(frozen=True, slots=True)
class EvidenceJudgement:
    """The judgements of one route: one for each criterion, and the overall one that follows from them."""

    overall: Judgement
    match_rate: Judgement
    error_rate: Judgement
    latency: Judgement
    coverage: Judgement


def judge(evidence: ComparisonEvidence, requirements: EvidenceRequirements) -> EvidenceJudgement:
    """Judge the evidence. The three intervals share `alpha` evenly, so that all of them hold together."""
    alpha = requirements.alpha / 3
    match_rate = judge_match_rate(
        evidence.counts, required=requirements.match_rate, alpha=alpha, compared_min=requirements.compared_min
    )
    error_rate = judge_error_rates(
        legacy_errors=evidence.legacy_errors,
        candidate_errors=evidence.candidate_errors,
        compared=evidence.answered,
        allowed=requirements.error_increase,
        alpha=alpha,
    )
    latency = judge_latency(
        evidence.ratio, share=requirements.latency_quantile, allowed=requirements.latency_increase, alpha=alpha
    )
    coverage = judge_coverage(evidence.branches, requirements.branches, each_min=requirements.branch_min)
    judgements: Sequence[Judgement] = (match_rate, error_rate, latency, coverage)
    return EvidenceJudgement(combine(judgements), match_rate, error_rate, latency, coverage)
