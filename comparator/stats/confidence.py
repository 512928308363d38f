"""Says how sure one can be: intervals that hold however often one looks, and a decision in three outcomes.

Pure. Comparisons arrive one after another and are looked at all the time, so ordinary intervals would cry wolf. The interval
for a rate is a confidence sequence: with probability at least 1 - alpha it contains the true rate at *every* moment at once.
It is the mixture martingale of Robbins (1970) for a Bernoulli mean with a Beta(1/2, 1/2) mixture, as a "time-uniform
Chernoff bound" in Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences",
Annals of Statistics 49(2), 2021 (beta-binomial mixture); Ville's inequality gives the guarantee without a sample size.
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
    """Logarithm of the mixture martingale that bets against `rate`: large when the data speak against it."""
    mixture = _log_beta(hits + 0.5, misses + 0.5) - _log_beta(0.5, 0.5)
    if (rate <= 0.0 and hits) or (rate >= 1.0 and misses):
        return math.inf
    likelihood = (hits * math.log(rate) if hits else 0.0) + (misses * math.log1p(-rate) if misses else 0.0)
    return mixture - likelihood


def rate_interval(hits: int, trials: int, *, alpha: float = 0.05) -> Interval:
    """Interval for a rate, valid at all times at once with probability at least 1 - alpha.

    Args:
        hits: how many of the trials had the property.
        trials: how many there were; 0 gives the whole unit interval.
        alpha: the chance that the true rate is outside at any time, ever.
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
    """The rate between both ends at which the wealth reaches the limit; wealth falls towards the estimate."""
    for _ in range(BISECTIONS):
        middle = (outside + inside) / 2
        if _log_wealth(hits, misses, middle) >= limit:
            outside = middle
        else:
            inside = middle
    return outside


def excluded(rate: float, hits: int, trials: int, *, alpha: float = 0.05) -> bool:
    """Whether a rate is outside of `rate_interval`, without finding the interval's edges."""
    return _log_wealth(hits, trials - hits, rate) >= math.log(1 / alpha)


def difference_interval(hits_a: int, trials_a: int, hits_b: int, trials_b: int, *, alpha: float = 0.05) -> Interval:
    """Interval for rate b minus rate a, always valid: both rates' sequences at half of alpha, subtracted."""
    a = rate_interval(hits_a, trials_a, alpha=alpha / 2)
    b = rate_interval(hits_b, trials_b, alpha=alpha / 2)
    return Interval(b.low - a.high, b.estimate - a.estimate, b.high - a.low)


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Comparisons by verdict."""

    match: int = 0
    known: int = 0
    mismatch: int = 0
    transient: int = 0
    failed: int = 0

    @property
    def compared(self) -> int:
        """The denominator of the match rate: all that was compared; failed ones were not."""
        return self.match + self.known + self.mismatch + self.transient

    @property
    def good(self) -> int:
        """The numerator: transient and known differences do not count against a rollout."""
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
    """What the evidence says."""

    GOOD = "good"
    BAD = "bad"
    NOT_ENOUGH = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class Judgement:
    """An outcome, with the reason in words."""

    outcome: JudgementOutcome
    reason: str


def judge_match_rate(
    counts: VerdictCounts, *, required: float, alpha: float = 0.05, compared_min: int = 100
) -> Judgement:
    """Whether the true match rate is at least `wanted`: surely (good), surely not (bad), or not known yet."""
    interval = rate_interval(counts.good, counts.compared, alpha=alpha)
    words = (
        f"{counts.good} of {counts.compared} compared matched ({interval.estimate:.4%}), "
        f"the true rate lies in {interval.low:.4%}-{interval.high:.4%} (always-valid {1 - alpha:.0%} interval); "
        f"wanted at least {required:.4%}"
    )
    if interval.high < required:
        return Judgement(JudgementOutcome.BAD, words)
    if counts.compared < compared_min:
        return Judgement(
            JudgementOutcome.NOT_ENOUGH, f"only {counts.compared} of at least {compared_min} compared; {words}"
        )
    if interval.low >= required:
        return Judgement(JudgementOutcome.GOOD, words)
    return Judgement(JudgementOutcome.NOT_ENOUGH, words)


def judge_error_rates(
    *, legacy_errors: int, candidate_errors: int, compared: int, allowed: float, alpha: float = 0.05
) -> Judgement:
    """Whether the candidate answers with errors at most `allowed` (a rate) more often than the legacy."""
    interval = difference_interval(legacy_errors, compared, candidate_errors, compared, alpha=alpha)
    words = (
        f"errors: candidate {candidate_errors}, legacy {legacy_errors} of {compared}; the difference of rates lies in "
        f"{interval.low:+.4%} to {interval.high:+.4%}, allowed {allowed:+.4%}"
    )
    if interval.low > allowed:
        return Judgement(JudgementOutcome.BAD, words)
    if interval.high <= allowed:
        return Judgement(JudgementOutcome.GOOD, words)
    return Judgement(JudgementOutcome.NOT_ENOUGH, words)


def judge_coverage(seen: Mapping[str, int], required: Sequence[str], *, each_min: int = 1) -> Judgement:
    """Whether every declared branch (`route: pass`, `route: dedup` ...) was seen often enough. Never bad."""
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
    """One judgement of several: bad if any is bad, good if all are good; the reasons that decide come first."""
    for outcome in (JudgementOutcome.BAD, JudgementOutcome.NOT_ENOUGH):
        deciding = [j.reason for j in judgements if j.outcome is outcome]
        if deciding:
            return Judgement(outcome, "; ".join(deciding))
    if not judgements:
        return Judgement(JudgementOutcome.NOT_ENOUGH, "nothing was judged")
    return Judgement(JudgementOutcome.GOOD, "; ".join(j.reason for j in judgements))
