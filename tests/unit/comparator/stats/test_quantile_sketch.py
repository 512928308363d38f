import math
import random

import pytest

from comparator.stats.quantile_sketch import QuantileSketch

SHARES = (0.99, 0.0, 0.5, 0.9, 0.5, 1.0)


@pytest.mark.parametrize("lowest", [-50, 0, 1])
def test_several_quantiles_are_those_of_one_pass_each(lowest: int) -> None:
    source, sketch = random.Random(lowest), QuantileSketch()
    for _ in range(500):
        sketch.add(source.randint(lowest, 900))
    assert sketch.quantiles(SHARES) == tuple(sketch.quantile(share) for share in SHARES)


def test_quantiles_of_nothing_are_nan() -> None:
    assert all(math.isnan(value) for value in QuantileSketch().quantiles(SHARES))
