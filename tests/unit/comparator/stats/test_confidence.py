"""What the intervals and decisions claim, shown by simulation with a fixed seed."""

import math
import random

import pytest

from comparator.stats.confidence import VerdictCounts, design_effect, log_wealth, rate_interval
from comparator.stats.quantile_sketch import ACCURACY, QuantileSketch, dump, load

RUNS = 200
LOOKS = [10 * 1.3**i for i in range(24)]
"""Looks at growing sample sizes, up to about 4,000: an interval that is only valid once would fail at some of them."""


def ever_outside(rate: float, source: random.Random, *, alpha: float) -> bool:
    """Whether the true rate is ever outside the interval while one run is watched."""
    hits = trials = 0
    for look in LOOKS:
        while trials < look:
            hits += source.random() < rate
            trials += 1
        interval = rate_interval(hits, trials, alpha=alpha)
        if not interval.low <= rate <= interval.high:
            return True
    return False


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.5, 0.99, 0.9995])
def test_repeated_looks_miss_the_true_rate_in_at_most_5_percent_of_runs(rate: float) -> None:
    source = random.Random(5)
    missed = sum(ever_outside(rate, source, alpha=0.05) for _ in range(RUNS))
    assert missed / RUNS <= 0.05


def test_ordinary_interval_misses_far_more_often() -> None:
    """The simulation can fail: the usual normal interval, watched the same way, does."""

    def ever_outside_normal(source: random.Random) -> bool:
        hits = trials = 0
        for look in LOOKS:
            while trials < look:
                hits += source.random() < 0.5
                trials += 1
            if abs(hits / trials - 0.5) > 1.96 * math.sqrt(0.25 / trials):
                return True
        return False

    source = random.Random(5)
    assert sum(ever_outside_normal(source) for _ in range(RUNS)) / RUNS > 0.15


def judged_runs(rate: float, limit: float, *, trials_max: int, seed: int = 3) -> list[str]:
    """The outcome of each run, watched every 250 trials until its interval leaves the limit."""
    source = random.Random(seed)
    outcomes: list[str] = []
    for _ in range(RUNS):
        hits = trials = 0
        outcome = "undecided"
        while trials < trials_max and outcome == "undecided":
            hits, trials = hits + sum(source.random() < rate for _ in range(250)), trials + 250
            interval = rate_interval(hits, trials, around=limit)
            outcome = "above" if interval.low > limit else "below" if interval.high <= limit else "undecided"
        outcomes.append(outcome)
    return outcomes


def test_rate_at_the_limit_is_placed_above_or_below_in_at_most_5_percent_of_runs() -> None:
    outcomes = judged_runs(0.01, 0.01, trials_max=5_000)
    assert outcomes.count("above") + outcomes.count("below") <= 0.05 * RUNS


def test_twice_the_limit_is_detected_within_10_000_trials() -> None:
    assert judged_runs(0.02, 0.01, trials_max=10_000).count("above") / RUNS >= 0.99


def test_tenth_of_the_limit_is_below_within_15_000_trials() -> None:
    assert judged_runs(0.0001, 0.001, trials_max=15_000).count("below") / RUNS >= 0.95


def test_interval_around_the_limit_needs_fewer_trials_and_still_sees_far_rates() -> None:
    needed = math.log(1 / 0.0003)
    assert log_wealth(0.001, 0, 10_400, around=0.001) >= needed > log_wealth(0.001, 0, 10_400)
    assert log_wealth(1e-5, 3, 100, around=1e-5) > 15


@pytest.mark.parametrize("around", [None, 0.001])
@pytest.mark.parametrize(("hits", "trials"), [(0, 900), (4, 900), (40.5, 900.25), (900, 900)])
def test_interval_ends_where_the_wealth_reaches_the_limit(hits: float, trials: float, around: float | None) -> None:
    interval = rate_interval(hits, trials, alpha=0.01, around=around)
    for end in {interval.low, interval.high} - {0.0, 1.0}:
        assert log_wealth(end, hits, trials, around=around) == pytest.approx(math.log(100), abs=1e-3)


@pytest.mark.parametrize(
    ("hits_of_keys", "rate", "expected"),
    [
        ([], 0.0, 1.0),
        ([(1, 50)] * 20, 0.001, 1.0),
        ([(20, 25)], 0.001, 20.0),
        ([(20, 20_000)], 0.001, 1.0),
        ([(5, 0), (5, 0), (1, 0)], 0.001, 51 / 11),
    ],
)
def test_design_effect_is_the_weight_of_groups(
    hits_of_keys: list[tuple[int, int]], rate: float, expected: float
) -> None:
    assert design_effect(hits_of_keys, rate) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (0, 10), (10, 10), (3, 10), (99_999, 100_000)])
def test_interval_contains_its_estimate_and_lies_in_the_unit_interval(hits: int, trials: int) -> None:
    interval = rate_interval(hits, trials)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


def test_no_data_gives_the_whole_unit_interval() -> None:
    assert (rate_interval(0, 0).low, rate_interval(0, 0).high) == (0.0, 1.0)


def test_more_hits_than_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="3 hits of 2 trials"):
        rate_interval(3, 2)


def test_intervals_shrink_with_more_data() -> None:
    widths = [rate_interval(n // 2, n).high - rate_interval(n // 2, n).low for n in (10, 100, 1_000, 10_000)]
    assert widths == sorted(widths, reverse=True)


def test_failed_comparisons_are_not_in_the_denominator() -> None:
    assert VerdictCounts(match=1, failed=5).compared == 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99, 1.0])
def test_sketch_is_within_its_accuracy(share: float) -> None:
    source = random.Random(11)
    values = sorted(source.lognormvariate(8, 2) for _ in range(5_000))
    sketch = QuantileSketch()
    for value in values:
        sketch.add(value)
    exact = values[round(share * 4_999)]
    assert abs(sketch.quantile(share) - exact) <= ACCURACY * exact * 1.000_001


def test_sketch_orders_negative_values_zero_and_positive_ones() -> None:
    sketch = QuantileSketch()
    for value in (5.0, -3.0, 0.0, 2.0, -10.0):
        sketch.add(value)
    found = [sketch.at_rank(rank) for rank in range(5)]
    assert [round(value) for value in found] == [-10, -3, 0, 2, 5]


def test_merged_sketches_are_the_sketch_of_all_values() -> None:
    source = random.Random(2)
    parts, whole = [QuantileSketch(), QuantileSketch()], QuantileSketch()
    for i in range(1_000):
        value = source.expovariate(0.01)
        parts[i % 2].add(value)
        whole.add(value)
    parts[0].merge(load(dump(parts[1])))
    assert parts[0] == whole


def test_empty_sketch_has_no_quantile() -> None:
    assert math.isnan(QuantileSketch().quantile(0.5))
