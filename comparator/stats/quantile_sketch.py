"""Sketch a distribution: estimate any quantile within 1 % without keeping the values; sketches can be merged. Pure.

Bucket i counts the values in (gamma^(i-1), gamma^i] with gamma = 1.01 / 0.99, and represents all of them by a point that is at most ACCURACY
(1 %) away from any of them, relatively:

    values 100, 101, 150   ->  buckets 231: 2 (100 and 101), 251: 1 (150)
    quantile(0.5)          ->  the point of bucket 231, 100.5

Source: Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from comparator.errors import CaseError

ACCURACY: Final = 0.01
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)


@dataclass(slots=True)
class QuantileSketch:
    """Numbers of positive and negative values by bucket, and of zeros. Values closer to zero than 1e-9 count as zero."""

    positive: Counter[int] = field(default_factory=Counter[int])
    negative: Counter[int] = field(default_factory=Counter[int])
    zero: int = 0

    @property
    def count(self) -> int:
        """The number of values."""
        return self.positive.total() + self.negative.total() + self.zero

    def add(self, value: float) -> None:
        """Add one value."""
        if abs(value) < 1e-9:
            self.zero += 1
        elif value > 0:
            self.positive[_bucket(value)] += 1
        else:
            self.negative[_bucket(-value)] += 1

    def merge(self, other: "QuantileSketch") -> None:
        """Add the values of another sketch. The order of merges does not matter."""
        self.positive.update(other.positive)
        self.negative.update(other.negative)
        self.zero += other.zero

    def quantile(self, share: float) -> float:
        """Return the value below which `share` of the values lie; nan without values."""
        if self.count == 0:
            return math.nan
        return self.at_rank(round(share * (self.count - 1)))

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """Return several quantiles in one pass over the buckets."""
        total = self.count
        if not total:
            return tuple(math.nan for _ in shares)
        ranks = sorted({round(share * (total - 1)) for share in shares})
        found: dict[int, float] = {}
        below, waiting = 0, iter(ranks)
        rank = next(waiting, None)
        for sign, buckets in ((-1, sorted(self.negative, reverse=True)), (0, (0,)), (1, sorted(self.positive))):
            counts = {-1: self.negative, 0: {0: self.zero}, 1: self.positive}[sign]
            for bucket in buckets:
                below += counts[bucket]
                while rank is not None and rank < below:
                    found[rank] = sign * _point(bucket)
                    rank = next(waiting, None)
        return tuple(found[round(share * (total - 1))] for share in shares)

    def at_rank(self, rank: int) -> float:
        """Return the value with `rank` values below it; ranks out of range give the smallest and the largest value."""
        rank = max(0, min(rank, self.count - 1))
        for point, count in self._points():
            if rank < count:
                return point
            rank -= count
        return math.nan

    def _points(self) -> Iterable[tuple[float, int]]:
        for bucket in sorted(self.negative, reverse=True):
            yield -_point(bucket), self.negative[bucket]
        if self.zero:
            yield 0.0, self.zero
        for bucket in sorted(self.positive):
            yield _point(bucket), self.positive[bucket]


def _bucket(value: float) -> int:
    return math.ceil(math.log(value) / _LOG_GAMMA)


def _point(bucket: int) -> float:
    return 2 * math.exp(bucket * _LOG_GAMMA) / (_GAMMA + 1)


class _SketchWire(msgspec.Struct, array_like=True, frozen=True):
    positive: dict[int, int]
    negative: dict[int, int]
    zero: int


_decoder: Final = msgspec.msgpack.Decoder(_SketchWire)


def dump(sketch: QuantileSketch) -> bytes:
    """Encode a sketch, for another process."""
    return msgspec.msgpack.encode(_SketchWire(dict(sketch.positive), dict(sketch.negative), sketch.zero))


def load(text: bytes) -> QuantileSketch:
    """Decode a sketch.

    Raises:
        CaseError: the bytes are not a sketch.
    """
    try:
        wire = _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise CaseError(f"not a sketch: {error}") from error
    return QuantileSketch(Counter(wire.positive), Counter(wire.negative), wire.zero)
