"""What is known about one route so far, and whether it is enough to decide on.

Pure. `Evidence` is fed one comparison at a time and merges across processes; `judge` says good, bad or not enough evidence,
with the reason in words, at any time and as often as wanted.
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
    """What must hold for good evidence.

    `match_rate` and `error_increase` are rates; `latency_increase` is the allowed relative increase of `latency_quantile`
    (0.1 = 10 %). `branches` are the names that must have been seen `branch_min` times each (`see`).
    `alpha` is the chance of a wrong good or bad, shared evenly among the criteria, however often one looks.
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
    """Counts and sketches of one route. Durations are in microseconds; `ratio` holds candidate / legacy, pair by pair."""

    verdicts: Counter[str] = field(default_factory=Counter[str])
    branches: Counter[str] = field(default_factory=Counter[str])
    answered: int = 0
    candidate_errors: int = 0
    legacy_errors: int = 0
    candidate_us: QuantileSketch = field(default_factory=QuantileSketch)
    legacy_us: QuantileSketch = field(default_factory=QuantileSketch)
    ratio: QuantileSketch = field(default_factory=QuantileSketch)

    def add(self, comparison: Comparison, served: Observation, mirrored: Observation) -> None:
        """Take in one comparison."""
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
        """Note that a declared branch was exercised, e.g. `v2_score: dedup`."""
        self.branches[branch] += 1

    def merge(self, other: "ComparisonEvidence") -> None:
        """Take over what another process has seen."""
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
        """Comparisons by verdict."""
        found = {verdict: self.verdicts[verdict] for verdict in Verdict}
        return VerdictCounts(
            found[Verdict.MATCH],
            found[Verdict.KNOWN],
            found[Verdict.MISMATCH],
            found[Verdict.TRANSIENT],
            found[Verdict.FAILED],
        )


def quantile_interval(sketch: QuantileSketch, share: float, *, alpha: float = 0.05) -> Interval:
    """Interval for a quantile, valid at all times at once.

    The number of values below the true quantile is a sum of Bernoulli(share) trials, whose mean stays within
    `half_width(n)` of `share` at all times (see there); the ranks at these bounds hold the quantile between them. Widened by the
    sketch's own inaccuracy.
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
    """How far the mean of `count` trials in [0, 1] may ever be from its expectation, with probability 1 - alpha.

    Robbins' normal-mixture bound for sub-Gaussian sums (variance proxy 1/4), tuned for 500 trials; Howard et al. 2021,
    equation (14): sqrt((n/4 + rho) log((n/4 + rho) / (rho alpha^2))) / n.
    """
    rho = 500 / 4 / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    variance = count / 4 + rho
    return math.sqrt(variance * math.log(variance / (rho * alpha**2))) / count


def judge_latency(ratio: QuantileSketch, *, share: float, allowed: float, alpha: float) -> Judgement:
    """Whether the candidate takes at most `allowed` (relative) longer than the legacy, at this quantile of paired ratios."""
    interval = quantile_interval(ratio, share, alpha=alpha)
    words = (
        f"latency candidate/legacy, paired, quantile {share:g}: {interval.estimate:.3f} "
        f"({interval.low:.3f}-{interval.high:.3f}) over {ratio.count} pairs, allowed {1 + allowed:.3f}"
    )
    if interval.low > 1 + allowed:
        return Judgement(JudgementOutcome.BAD, words)
    return Judgement(JudgementOutcome.GOOD if interval.high <= 1 + allowed else JudgementOutcome.NOT_ENOUGH, words)


@dataclass(frozen=True, slots=True)
class EvidenceJudgement:
    """All judgements about one route, and the one that follows from them."""

    overall: Judgement
    match_rate: Judgement
    error_rate: Judgement
    latency: Judgement
    coverage: Judgement


def judge(evidence: ComparisonEvidence, wanted: EvidenceRequirements) -> EvidenceJudgement:
    """Decide on the evidence. Each criterion gets an even share of `alpha`, so all of them hold together."""
    alpha = wanted.alpha / 3
    match_rate = judge_match_rate(
        evidence.counts, required=wanted.match_rate, alpha=alpha, compared_min=wanted.compared_min
    )
    error_rate = judge_error_rates(
        legacy_errors=evidence.legacy_errors,
        candidate_errors=evidence.candidate_errors,
        compared=evidence.answered,
        allowed=wanted.error_increase,
        alpha=alpha,
    )
    latency = judge_latency(evidence.ratio, share=wanted.latency_quantile, allowed=wanted.latency_increase, alpha=alpha)
    coverage = judge_coverage(evidence.branches, wanted.branches, each_min=wanted.branch_min)
    judgements: Sequence[Judgement] = (match_rate, error_rate, latency, coverage)
    return EvidenceJudgement(combine(judgements), match_rate, error_rate, latency, coverage)
