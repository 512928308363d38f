"""The bets against a hypothesis: how often they win by chance, and how fast when it is wrong."""

import math
import random
from collections import Counter

import pytest

from comparator.stats.betting import (
    center_interval,
    increase_interval,
    log_wealth_of_center,
    log_wealth_of_decrease,
    log_wealth_of_increase,
    weighted_median,
)

RUNS = 100
LOOKS = 25
LIMIT = 0.01


def ever(plus: float, minus: float, source: random.Random, *, alpha: float) -> tuple[bool, bool]:
    """Watch pairs that fail on one side alone with these rates; return whether an increase, or a decrease, is ever claimed."""
    counts, above, below, needed = Counter[int](), False, False, math.log(1 / alpha)
    for _ in range(LOOKS):
        for _ in range(100):
            chance = source.random()
            counts[1 if chance < plus else -1 if chance < plus + minus else 0] += 1
        above |= log_wealth_of_increase(LIMIT, counts[1], counts[-1], counts[0]) >= needed
        below |= log_wealth_of_decrease(LIMIT, counts[1], counts[-1], counts[0]) >= needed
    return above, below


def test_increase_at_the_limit_is_rarely_taken_for_more_or_less() -> None:
    source = random.Random(3)
    runs = [ever(0.03, 0.02, source, alpha=0.05) for _ in range(RUNS)]
    assert sum(above for above, _ in runs) <= 0.05 * RUNS
    assert sum(below for _, below in runs) <= 0.05 * RUNS


def test_increase_beyond_the_limit_is_found_and_one_within_it_is_excluded() -> None:
    source = random.Random(4)
    assert all(ever(0.06, 0.01, source, alpha=0.05)[0] for _ in range(20))
    assert sum(ever(0.005, 0.005, source, alpha=0.05)[1] for _ in range(20)) >= 19


def test_paired_bets_need_half_of_what_two_separate_rates_need() -> None:
    """Lone errors of 0.05 % on each side; the audit measured 58,139 pairs with two separate rates, at this alpha."""
    pairs = 33_000
    assert log_wealth_of_decrease(0.001, pairs * 5e-4, pairs * 5e-4, pairs * 0.999) >= math.log(30 / 0.01)


@pytest.mark.parametrize(("plus", "minus", "zero"), [(0, 0, 0), (0, 0, 500), (3, 2, 1_000), (50, 0, 50), (0, 20, 0)])
def test_interval_of_the_increase_contains_its_estimate(plus: int, minus: int, zero: int) -> None:
    interval = increase_interval(plus, minus, zero, alpha=0.01)
    assert -1 <= interval.low <= interval.estimate <= interval.high <= 1


def test_interval_of_the_increase_ends_where_the_bets_win() -> None:
    interval = increase_interval(60, 20, 19_920, alpha=0.01)
    assert log_wealth_of_increase(interval.low, 60, 20, 19_920) == pytest.approx(math.log(100), abs=1e-3)
    assert log_wealth_of_decrease(interval.high, 60, 20, 19_920) == pytest.approx(math.log(100), abs=1e-3)


def wild(source: random.Random) -> float:
    """Return a value around 0; one in five is far away, on either side."""
    return source.gauss(0, 0.02) + (source.choice((-1.0, 1.0)) if source.random() < 0.2 else 0.0)


def test_center_of_wild_values_is_rarely_taken_for_higher() -> None:
    source, wrong = random.Random(5), 0
    for _ in range(RUNS):
        values, claimed = Counter[float](), False
        for _ in range(LOOKS):
            values.update(wild(source) for _ in range(5))
            claimed |= log_wealth_of_center(values, 0.0, 0.1, above=True) >= math.log(20)
        wrong += claimed
    assert wrong <= 0.05 * RUNS


def test_center_of_wild_values_is_found() -> None:
    source = random.Random(6)
    values = Counter(round(0.2 + wild(source), 4) for _ in range(300))
    interval = center_interval(values, 0.1, alpha=0.01, around=0.05)
    assert 0.15 < interval.low < 0.2 < interval.high < 0.25


def test_few_values_bound_no_center() -> None:
    interval = center_interval({0.1: 1}, 0.1, alpha=0.01, around=0.0)
    assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_median_counts_repetitions() -> None:
    assert weighted_median({3.0: 1, 1.0: 1, 2.0: 5}) == 2.0
    assert math.isnan(weighted_median({}))
