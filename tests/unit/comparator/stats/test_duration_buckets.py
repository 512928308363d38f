"""Quantiles of durations that were counted by bucket."""

import math
import random
from collections import Counter

import pytest

from comparator.stats.duration_buckets import bucket_of, log_quantile


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
def test_quantile_is_within_half_a_percent_although_buckets_are_4_percent_wide(share: float) -> None:
    source = random.Random(2)
    values = sorted(20_000 * source.lognormvariate(0, 0.4) for _ in range(100_000))
    estimate = math.exp(log_quantile(Counter(map(bucket_of, values)), share))
    assert estimate == pytest.approx(values[int(share * len(values))], rel=0.005)


def test_short_durations_share_the_first_bucket() -> None:
    assert bucket_of(0) == bucket_of(0.5) == bucket_of(1) == 0


def test_nothing_has_no_quantile() -> None:
    assert math.isnan(log_quantile({}, 0.95))
