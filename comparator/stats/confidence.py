"""Confidence sequences for rates, and the counts and outcomes of judgements. Pure.

Comparisons arrive one after another and are evaluated all the time. An ordinary 95 % interval excludes the true rate at 5 % of the looks, so
with enough looks a false alarm is almost certain. A confidence sequence contains the true rate at *all* looks at once with probability
at least 1 - alpha, at the price of wider intervals. For 950 matches of 1,000 comparisons:

    ordinary 95 % interval (Wilson)       93.5 % - 96.2 %       valid for one look, at a number of comparisons fixed in advance
    confidence sequence (rate_interval)   92.1 % - 97.1 %       valid for any number of looks, whenever one stops

Source: the mixture martingale of Robbins (1970) for a Bernoulli mean with a Beta(1/2, 1/2) mixture (the beta-binomial mixture of Howard,
Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021). Ville's
inequality gives the guarantee without a sample size, for any mixture that is chosen before the data. So a question about a small limit
mixes in Beta(1/2, 1 / (2 limit)), whose mean is the limit (`around`): with no hit a rate of 0.1 % is excluded after 10,400 comparisons
instead of 13,500 (alpha 0.0003), and half of the weight stays on Beta(1/2, 1/2) for rates far away.

Hits of one key (one client's address) are not independent: a client that reloads a page repeats its mismatch. `design_effect` says how
many hits have the weight of one independent hit; hits and trials are divided by it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BISECTIONS: Final = 40


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval and the estimate inside it."""

    low: float
    estimate: float
    high: float


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_mixture(hits: float, misses: float, around: float | None) -> float:
    """Return the logarithm of the probability of the data under the mixture of rates."""
    flat = _log_beta(hits + 0.5, misses + 0.5) - _log_beta(0.5, 0.5)
    if around is None:
        return flat
    b = 0.5 / around
    near = _log_beta(hits + 0.5, misses + b) - _log_beta(0.5, b)
    top = max(flat, near)
    return top + math.log((math.exp(flat - top) + math.exp(near - top)) / 2)


def _wealth_against(rate: float, hits: float, misses: float, mixture: float) -> float:
    if (rate <= 0.0 and hits) or (rate >= 1.0 and misses):
        return math.inf
    return mixture - (hits * math.log(rate) if hits else 0.0) - (misses * math.log1p(-rate) if misses else 0.0)


def log_wealth(rate: float, hits: float, trials: float, *, around: float | None = None) -> float:
    """Return the logarithm of the mixture martingale that bets against `rate`: large if the data contradict this rate.

    It ever reaches log(1 / alpha) with probability at most alpha if `rate` is the true one.
    """
    return _wealth_against(rate, hits, trials - hits, _log_mixture(hits, trials - hits, around))


def rate_interval(hits: float, trials: float, *, alpha: float = 0.05, around: float | None = None) -> Interval:
    """Return the confidence sequence of a rate: an interval that is valid at all times at once.

    Args:
        hits: number of trials with the property; a fraction where hits were divided by a design effect.
        trials: number of trials; 0 gives the whole unit interval.
        alpha: probability that the true rate is ever outside.
        around: a rate near which the interval is to be tight, e.g. the limit that it is compared with; fixed before the data.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits of {trials} trials")
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    estimate, limit = hits / trials, math.log(1 / alpha)
    misses = trials - hits
    mixture = _log_mixture(hits, misses, around)

    def edge(outside: float) -> float:
        """Return the rate between `outside` and the estimate at which the wealth reaches the limit; it falls towards the estimate."""
        inside = estimate
        for _ in range(BISECTIONS):
            middle = (outside + inside) / 2
            if _wealth_against(middle, hits, misses, mixture) >= limit:
                outside = middle
            else:
                inside = middle
        return outside

    return Interval(0.0 if hits == 0 else edge(0.0), estimate, 1.0 if misses == 0 else edge(1.0))


def design_effect(hits_of_keys: Iterable[tuple[int, int]], rate: float) -> float:
    """Return how many hits have the weight of one independent hit; at least 1.

    It is the variance of the hits by key around their expectation, over the variance of independent hits:

        20 keys with 1 hit each                      20 * 1 / 20                    ->  1
        1 key with 20 hits of its 25 requests        (20 - 25 * 0.001)^2 / 20       -> 20
        1 busy key, 20 hits of 20,000 requests       (20 - 20,000 * 0.001)^2 / 20   ->  1 (0 at most)

    Args:
        hits_of_keys: for each key with hits their number, and the number of its trials (0 where it is not known, which is cautious).
        rate: of hits among all trials.
    """
    total, variance = 0, 0.0
    for hits, trials in hits_of_keys:
        total += hits
        variance += 1.0 if hits == 1 else (hits - rate * trials) ** 2
    return max(1.0, variance / total) if total else 1.0


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

    def __sub__(self, other: "VerdictCounts") -> "VerdictCounts":
        return VerdictCounts(
            self.match - other.match,
            self.known - other.known,
            self.mismatch - other.mismatch,
            self.transient - other.transient,
            self.failed - other.failed,
        )

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
