import random

from comparator.stats.distinct_sketch import KEPT_MAX, distinct, merged, sketch_of


def digests(count: int, seed: int = 1) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(-(2**63), 2**63) for _ in range(count)]


def test_few_keys_are_counted_exactly() -> None:
    keys = digests(KEPT_MAX - 1)
    assert distinct(sketch_of(keys + keys)) == KEPT_MAX - 1


def test_many_keys_are_estimated() -> None:
    assert abs(distinct(sketch_of(digests(200_000))) / 200_000 - 1) < 0.15


def test_merged_sketches_are_the_sketch_of_the_union() -> None:
    parts = [digests(size, seed) for seed, size in enumerate((3_000, 10, 700, 2, 5_000))]
    assert merged(map(sketch_of, parts)) == sketch_of(digest for part in parts for digest in part)


def test_no_keys_are_none() -> None:
    assert distinct(()) == 0
