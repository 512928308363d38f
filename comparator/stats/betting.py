"""Bet against a hypothesis about a mean: test martingales for paired differences and for a center of symmetry. Pure.

A gambler starts with 1 and bets a share of the wealth on each value. If the hypothesis is true, no bet has a positive expectation, and
the wealth ever reaches 1 / alpha with probability at most alpha (Ville). A mixture of several shares (BETS) needs no tuning, and its
wealth follows from counts alone, whatever the order of the values. For example, of 20,000 requests 60 failed on the candidate alone and
20 on the legacy alone. Against "the increase is at most 0.1 %" a bet of 30 % of the wealth grows by

    60 log(1 + 0.3 * 0.999) + 20 log(1 - 0.3 * 1.001) + 19,920 log(1 - 0.3 * 0.001)  =  2.6

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86(1), 2024.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from comparator.stats.confidence import Interval

BETS: Final = tuple(0.98 * 0.6**power for power in range(12))
"""Shares of the wealth, from nearly all to a few thousandths, with equal weights."""
_BISECTIONS: Final = 30


def log_wealth_of_increase(limit: float, plus: float, minus: float, zero: float) -> float:
    """Return the log wealth of bets that the mean of values +1, -1 and 0 is above `limit` (from -1 to 1, exclusive).

    Args:
        limit: the hypothesis is that the mean is at most this.
        plus: number of values +1.
        minus: number of values -1.
        zero: number of values 0.
    """
    # A bet of share b pays b (value - limit) / (1 + limit): the worst value, -1, costs exactly the share.
    scale = 1 + limit
    return _log_mean_exp(
        [
            _times(plus, math.log1p(bet * (1 - limit) / scale))
            + _times(minus, math.log1p(-bet))
            + _times(zero, math.log1p(-bet * limit / scale))
            for bet in BETS
        ]
    )


def log_wealth_of_decrease(limit: float, plus: float, minus: float, zero: float) -> float:
    """Return the log wealth of bets that the mean of values +1, -1 and 0 is below `limit`; see `log_wealth_of_increase`."""
    return log_wealth_of_increase(-limit, minus, plus, zero)


def increase_interval(plus: float, minus: float, zero: float, *, alpha: float) -> Interval:
    """Return a confidence sequence for the mean of values +1, -1 and 0: `alpha` on each end."""
    total = plus + minus + zero
    if total == 0:
        return Interval(-1.0, 0.0, 1.0)
    estimate, needed = (plus - minus) / total, math.log(1 / alpha)
    low = _edge(-1.0, estimate, lambda limit: log_wealth_of_increase(limit, plus, minus, zero) >= needed)
    high = _edge(1.0, estimate, lambda limit: log_wealth_of_decrease(limit, plus, minus, zero) >= needed)
    return Interval(low, estimate, high)


def log_wealth_of_center(values: Mapping[float, int], center: float, clip: float, *, above: bool) -> float:
    """Return the log wealth of bets that values are symmetric around a point above (or below) `center`.

    A value counts by at most `clip`, so a few wild ones (a slow minute) decide nothing, as in Huber's estimator of location.

    Args:
        values: how often each value occurred.
        center: the hypothesis is that the center is at most (at least) this.
        clip: the largest distance from the center that counts.
        above: bet on a center above; else below.
    """
    sign = 1.0 if above else -1.0
    counts: dict[float, int] = {}
    for value, count in values.items():
        distance = max(-1.0, min(1.0, sign * (value - center) / clip))
        counts[distance] = counts.get(distance, 0) + count
    return _log_mean_exp(
        [sum(count * math.log1p(bet * distance) for distance, count in counts.items()) for bet in BETS]
    )


def center_interval(values: Mapping[float, int], clip: float, *, alpha: float, around: float) -> Interval:
    """Return a confidence sequence for the center of symmetry: `alpha` on each end, infinite where the values do not bound it.

    Args:
        values: how often each value occurred.
        clip: see `log_wealth_of_center`.
        alpha: probability that the center is ever beyond one end.
        around: a value near which the ends are sought, within 10 clips.
    """
    estimate, needed = weighted_median(values), math.log(1 / alpha)
    reach = 10 * clip

    def excluded(center: float, *, above: bool) -> bool:
        return log_wealth_of_center(values, center, clip, above=above) >= needed

    lowest, highest = min(around, estimate) - reach, max(around, estimate) + reach
    low = _edge(lowest, estimate, lambda center: excluded(center, above=True)) if values else lowest
    high = _edge(highest, estimate, lambda center: excluded(center, above=False)) if values else highest
    return Interval(-math.inf if low == lowest else low, estimate, math.inf if high == highest else high)


def weighted_median(values: Mapping[float, int]) -> float:
    """Return the median of values by how often each occurred; nan without values."""
    rank = (sum(values.values()) - 1) // 2
    for value in sorted(values):
        if rank < values[value]:
            return value
        rank -= values[value]
    return math.nan


def _edge(outside: float, inside: float, is_excluded: Callable[[float], bool]) -> float:
    """Return the outermost value that is not excluded, by bisection; `outside` itself when nothing is."""
    if inside == outside or not is_excluded(outside + (inside - outside) * 1e-9):
        return outside
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if is_excluded(middle):
            outside = middle
        else:
            inside = middle
    return inside


def _times(count: float, growth: float) -> float:
    return count * growth if count else 0.0


def _log_mean_exp(terms: list[float]) -> float:
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms) / len(terms))
