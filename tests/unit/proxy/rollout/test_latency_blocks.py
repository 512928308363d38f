"""Blocks of minutes, and the ratio of latencies on the same requests."""

import math
import random
from collections import Counter
from collections.abc import Iterable

import pytest

from comparator.exchanges.model import Role, Side
from comparator.stats.duration_buckets import bucket_of
from proxy.rollout.latency_blocks import (
    BLOCK_S,
    CANDIDATE_MIRRORED,
    CANDIDATE_SERVED,
    LEGACY_MIRRORED,
    LEGACY_SERVED,
    Cell,
    LatencyComparison,
    MinuteDurations,
    blocks_of,
    values_of,
)

MIRRORING = 1.3
"""Mirrored requests take longer, on either side."""


def durations(
    source: random.Random, count: int, *, factor: float, sigma: float = 0.3, keys: Iterable[float] = (1.0,)
) -> Counter[int]:
    keys = list(keys)
    return Counter(
        bucket_of(20_000 * factor * source.choice(keys) * source.lognormvariate(0, sigma)) for _ in range(count)
    )


def minute(
    source: random.Random, *, candidate: float = 1.0, served: int = 200, slow_keys: tuple[float, ...] = (1.0,)
) -> MinuteDurations:
    """Return a minute of which the candidate serves `served` of 1,000 requests, by clients with a latency of their own."""
    cells: dict[Cell, Counter[int]] = {
        CANDIDATE_SERVED: durations(source, served, factor=candidate, keys=slow_keys),
        LEGACY_MIRRORED: durations(source, served, factor=MIRRORING, keys=slow_keys),
        CANDIDATE_MIRRORED: durations(source, 1_000 - served, factor=candidate * MIRRORING),
        LEGACY_SERVED: durations(source, 1_000 - served, factor=1.0),
    }
    return cells


def ratios(minutes: list[MinuteDurations], comparison: LatencyComparison = LatencyComparison.CROSSOVER) -> list[float]:
    numbered = [(60.0 * number, one) for number, one in enumerate(minutes)]
    return [math.exp(block.log_ratio) for block in blocks_of(numbered, comparison, share=0.95, durations_min=40)]


@pytest.mark.parametrize("candidate", [0.85, 1.0, 1.2])
def test_clients_and_roles_cancel(candidate: float) -> None:
    """The candidate's clients are up to three times as slow as the legacy's: that says nothing about the candidate."""
    source = random.Random(1)
    minutes = [minute(source, candidate=candidate, slow_keys=(1.0, 2.0, 3.0)) for _ in range(60)]
    found = ratios(minutes)
    assert sum(found) / len(found) == pytest.approx(candidate, rel=0.02)


def test_one_role_is_all_there_is_at_the_ends() -> None:
    source = random.Random(2)
    minutes = [minute(source) for _ in range(40)]
    mirrored = ratios(minutes, LatencyComparison.at(0))
    served = ratios(minutes, LatencyComparison.at(100))
    assert sum(mirrored) / len(mirrored) == pytest.approx(MIRRORING, rel=0.03)
    assert sum(served) / len(served) == pytest.approx(1 / MIRRORING, rel=0.03)


def test_block_lasts_until_every_term_has_enough_durations() -> None:
    source = random.Random(3)
    minutes = [(60.0 * number, minute(source, served=10)) for number in range(9)]
    blocks = blocks_of(minutes, LatencyComparison.CROSSOVER, share=0.95, durations_min=40)
    assert [(block.begin_s, block.end_s) for block in blocks] == [(0.0, 240.0), (240.0, 480.0)]


def test_block_lasts_at_least_its_shortest_duration() -> None:
    source = random.Random(4)
    minutes = [(60.0 * number, minute(source)) for number in range(4)]
    blocks = blocks_of(minutes, LatencyComparison.CROSSOVER, share=0.95, durations_min=1)
    assert [block.end_s - block.begin_s for block in blocks] == [BLOCK_S, BLOCK_S]


def test_values_of_a_window_are_those_of_blocks_that_began_in_it() -> None:
    source = random.Random(5)
    minutes = [(60.0 * number, minute(source)) for number in range(10)]
    blocks = blocks_of(minutes, LatencyComparison.CROSSOVER, share=0.95, durations_min=40)
    assert values_of(blocks).total() == 5
    assert values_of(blocks, since_s=240.0).total() == 3


def test_nothing_that_was_served_makes_no_block() -> None:
    minutes = [(60.0 * number, {(Side.LEGACY, Role.SERVED): Counter({5: 900})}) for number in range(5)]
    assert blocks_of(minutes, LatencyComparison.CROSSOVER, share=0.95, durations_min=40) == ()
