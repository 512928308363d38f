"""Confidence sequences for rates, and judgements with three outcomes. Pure.

Comparisons arrive one after another and are evaluated all the time. An ordinary 95 % interval excludes the true rate at 5 % of the looks, so
with enough looks a false alarm is almost certain. A confidence sequence contains the true rate at *all* looks at once with probability
at least 1 - alpha, at the price of wider intervals. For 950 matches of 1,000 comparisons:

    ordinary 95 % interval (Wilson)       93.5 % - 96.2 %       valid for one look, at a number of comparisons fixed in advance
    confidence sequence (rate_interval)   92.1 % - 97.1 %       valid for any number of looks, whenever one stops

Source: the mixture martingale of Robbins (1970) for a Bernoulli mean with a Beta(1/2, 1/2) mixture (the beta-binomial mixture of Howard,
Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021). Ville's
inequality gives the guarantee without a sample size.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BISECTIONS: Final = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval and the estimate inside it."""

    low: float
    estimate: float
    high: float


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_wealth(hits: int, misses: int, rate: float) -> float:
    """Return the logarithm of the mixture martingale that bets against `rate`: large if the data contradict this rate."""
    mixture = _log_beta(hits + 0.5, misses + 0.5) - _log_beta(0.5, 0.5)
    if (rate <= 0.0 and hits) or (rate >= 1.0 and misses):
        return math.inf
    likelihood = (hits * math.log(rate) if hits else 0.0) + (misses * math.log1p(-rate) if misses else 0.0)
    return mixture - likelihood


def rate_interval(hits: int, trials: int, *, alpha: float = 0.05) -> Interval:
    """Return the confidence sequence of a rate: an interval that is valid at all times at once.

    Args:
        hits: number of trials with the property.
        trials: number of trials; 0 gives the whole unit interval.
        alpha: probability that the true rate is ever outside.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits of {trials} trials")
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    estimate, limit = hits / trials, math.log(1 / alpha)
    misses = trials - hits
    low = 0.0 if hits == 0 else _edge(hits, misses, 0.0, estimate, limit)
    high = 1.0 if misses == 0 else _edge(hits, misses, 1.0, estimate, limit)
    return Interval(low, estimate, high)


def _edge(hits: int, misses: int, outside: float, inside: float, limit: float) -> float:
    """Return the rate between both ends at which the wealth reaches the limit, by bisection; wealth falls towards the estimate."""
    for _ in range(BISECTIONS):
        middle = (outside + inside) / 2
        if _log_wealth(hits, misses, middle) >= limit:
            outside = middle
        else:
            inside = middle
    return outside


def excluded(rate: float, hits: int, trials: int, *, alpha: float = 0.05) -> bool:
    """Return whether a rate is outside of `rate_interval`, without computing the interval's bounds."""
    return _log_wealth(hits, trials - hits, rate) >= math.log(1 / alpha)


def difference_interval(hits_a: int, trials_a: int, hits_b: int, trials_b: int, *, alpha: float = 0.05) -> Interval:
    """Return the confidence sequence of rate b minus rate a: the difference of both rates' sequences at half of alpha."""
    a = rate_interval(hits_a, trials_a, alpha=alpha / 2)
    b = rate_interval(hits_b, trials_b, alpha=alpha / 2)
    return Interval(b.low - a.high, b.estimate - a.estimate, b.high - a.low)


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Numbers of comparisons by verdict."""

    match: int = 0
    known: int = 0
    mismatch: int = 0
    transient: int = 0
    failed: int = 0

    @property
    def compared(self) -> int:
        """The denominator of the match rate: all comparisons except for failed ones."""
        return self.match + self.known + self.mismatch + self.transient

    @property
    def good(self) -> int:
        """The numerator of the match rate; transient and known differences do not count against a rollout."""
        return self.compared - self.mismatch

    def __add__(self, other: "VerdictCounts") -> "VerdictCounts":
        return VerdictCounts(
            self.match + other.match,
            self.known + other.known,
            self.mismatch + other.mismatch,
            self.transient + other.transient,
            self.failed + other.failed,
        )


class JudgementOutcome(StrEnum):
    """The outcome of judging evidence."""

    GOOD = "good"
    BAD = "bad"
    NOT_ENOUGH = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class Judgement:
    """An outcome with its reason in words."""

    outcome: JudgementOutcome
    reason: str


def judge_match_rate(
    counts: VerdictCounts, *, required: float, alpha: float = 0.05, compared_min: int = 100
) -> Judgement:
    """Judge whether the true match rate is at least `required`: certainly (good), certainly not (bad), or unknown yet."""
    interval = rate_interval(counts.good, counts.compared, alpha=alpha)
    reason = (
        f"{counts.good} of {counts.compared} compared matched ({interval.estimate:.4%}), "
        f"the true rate lies in {interval.low:.4%}-{interval.high:.4%} (always-valid {1 - alpha:.0%} interval); "
        f"required at least {required:.4%}"
    )
    if interval.high < required:
        return Judgement(JudgementOutcome.BAD, reason)
    if counts.compared < compared_min:
        return Judgement(
            JudgementOutcome.NOT_ENOUGH, f"only {counts.compared} of at least {compared_min} compared; {reason}"
        )
    if interval.low >= required:
        return Judgement(JudgementOutcome.GOOD, reason)
    return Judgement(JudgementOutcome.NOT_ENOUGH, reason)


def judge_error_rates(
    *, legacy_errors: int, candidate_errors: int, compared: int, allowed: float, alpha: float = 0.05
) -> Judgement:
    """Judge whether the candidate's error rate exceeds the legacy's by at most `allowed` (a difference of rates)."""
    interval = difference_interval(legacy_errors, compared, candidate_errors, compared, alpha=alpha)
    reason = (
        f"errors: candidate {candidate_errors}, legacy {legacy_errors} of {compared}; the difference of rates lies in "
        f"{interval.low:+.4%} to {interval.high:+.4%}, allowed {allowed:+.4%}"
    )
    if interval.low > allowed:
        return Judgement(JudgementOutcome.BAD, reason)
    if interval.high <= allowed:
        return Judgement(JudgementOutcome.GOOD, reason)
    return Judgement(JudgementOutcome.NOT_ENOUGH, reason)


def judge_coverage(seen: Mapping[str, int], required: Sequence[str], *, each_min: int = 1) -> Judgement:
    """Judge whether every required branch (`route: pass`, `route: dedup`, ...) was exercised often enough; never bad."""
    lacking = [name for name in required if seen.get(name, 0) < each_min]
    if not lacking:
        return Judgement(
            JudgementOutcome.GOOD, f"all {len(required)} declared branches were seen at least {each_min} times"
        )
    return Judgement(
        JudgementOutcome.NOT_ENOUGH,
        f"{len(required) - len(lacking)} of {len(required)} declared branches were seen at least {each_min} times; "
        f"not: {', '.join(lacking[:10])}",
    )


def combine(judgements: Sequence[Judgement]) -> Judgement:
    """Combine judgements: bad if any is bad, good if all are good; the reasons are those of the deciding judgements."""
    for outcome in (JudgementOutcome.BAD, JudgementOutcome.NOT_ENOUGH):
        deciding = [j.reason for j in judgements if j.outcome is outcome]
        if deciding:
            return Judgement(outcome, "; ".join(deciding))
    if not judgements:
        return Judgement(JudgementOutcome.NOT_ENOUGH, "nothing was judged")
    return Judgement(JudgementOutcome.GOOD, "; ".join(j.reason for j in judgements))
