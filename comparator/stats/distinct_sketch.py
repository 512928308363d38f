"""Count distinct keys without keeping them: the smallest digests of a set estimate its size, and sketches can be merged. Pure.

Digests are uniform over 64 bits, so the k-th smallest of n lies near k/n of the range. Up to KEPT_MAX keys the count is exact; beyond it is
within about 4.5 % (one standard error, 1 / sqrt(KEPT_MAX - 2)):

    digests kept  -9.2e18, -9.1e18, ... (512 of them)   the largest at 1 % of the range   ->   511 / 0.01 = 51,100 keys

Source: Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002 (k minimum values). The store merges sketches by the SQL
function `shadow.merge_keys`, which keeps as many.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

KEPT_MAX: Final = 512
_RANGE: Final = 2**64
_LOWEST: Final = -(2**63)


def sketch_of(digests: Iterable[int]) -> tuple[int, ...]:
    """Return the sketch of digests: the smallest KEPT_MAX different ones, in ascending order; each is a signed 64-bit integer."""
    return tuple(sorted(set(digests))[:KEPT_MAX])


def merged(sketches: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the sketch of the union."""
    kept: list[int] = []
    for sketch in sketches:
        # Once the sketch is full, only smaller digests than its largest one matter: few of each further sketch.
        below = sketch if len(kept) < KEPT_MAX else sketch[: bisect_left(sketch, kept[-1])]
        if below:
            kept = sorted({*kept, *below})[:KEPT_MAX]
    return tuple(kept)


def distinct(sketch: Sequence[int]) -> int:
    """Return the number of different digests that a sketch stands for."""
    if len(sketch) < KEPT_MAX:
        return len(sketch)
    share = (max(sketch) - _LOWEST + 1) / _RANGE
    return round((KEPT_MAX - 1) / share)
