"""The geometry of charts and bars, drawn as SVG on the server. Pure.

Lines are in a box of 1,000 by 100 that is stretched to the size of the chart; bars, ticks and labels are in percent of its width, because
text must not be stretched. Times on the x axis, the first one at 0:

    begins 03:57:50, until 04:02:50, a bin at 03:59:20 of 10 s      x 30 %, width 3.3 %, its middle at 316.7 of 1,000
"""

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from comparator.stats.confidence import Interval
from proxy.ui.words import number

WIDTH: Final = 1_000.0
HEIGHT: Final = 100.0
TICK_LENGTHS_S: Final = (10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 172_800)
TICKS_MAX: Final = 6
RATE_FLOORS: Final = (0.999, 0.99, 0.98, 0.95, 0.9, 0.8, 0.6, 0.5, 0.0)
RATE_MARGIN: Final = 0.3
"""Part of the way from 100 % to the lowest value that stays free below it."""
MIDDLE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, at a share of its length in percent."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its left edge and its width in percent of the chart, its height in percent, and the height of its differing part."""

    x: float
    width: float
    height: float
    marked: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line as SVG points, in pieces: where there is no value there is a gap. `band` are polygons around it."""

    pieces: tuple[str, ...]
    band: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The x axis: from `begins` to `until`, in bins."""

    begins: dt.datetime
    until: dt.datetime
    bin_s: int

    @property
    def span_s(self) -> float:
        """Its length in seconds; never 0."""
        return max(1.0, (self.until - self.begins).total_seconds())

    def at(self, time: dt.datetime) -> float:
        """Return the place of a time in percent, within the chart."""
        return round(min(100.0, max(0.0, (time - self.begins).total_seconds() / self.span_s * 100)), 3)

    def bar(self, begins: dt.datetime, height: float, marked: float = 0.0) -> Bar:
        """Return the bar of a bin; heights are shares of the chart, 0 to 1."""
        width = self.bin_s / self.span_s * 100
        return Bar(self.at(begins), round(width * 0.86, 3), round(height * 100, 2), round(marked * 100, 2))

    def ticks(self) -> tuple[Tick, ...]:
        """Return some labels at whole times."""
        length = next((one for one in TICK_LENGTHS_S if self.span_s / one <= TICKS_MAX), TICK_LENGTHS_S[-1])
        first = math.ceil(self.begins.timestamp() / length) * length
        times = (
            dt.datetime.fromtimestamp(first + step * length, dt.UTC) for step in range(int(self.span_s // length) + 1)
        )
        form = "%H:%M:%S" if length < 60 else "%H:%M" if length < 86_400 else "%m-%d"
        # (a label at the very edge would be cut off)
        return tuple(Tick(at, f"{time:{form}}") for time in times if 3 < (at := self.at(time)) < 97)

    def middle(self, begins: dt.datetime) -> float:
        """Return the x of the middle of a bin, for lines."""
        return self.at(begins + dt.timedelta(seconds=self.bin_s * MIDDLE)) / 100 * WIDTH


def line_of(axis: TimeAxis, values: Sequence[tuple[dt.datetime, float, float, float]], low: float, high: float) -> Line:
    """Return a line with its band.

    Args:
        axis: the x axis.
        values: begin of the bin, value, and both ends of its interval, in the order of time.
        low: value at the bottom.
        high: value at the top.
    """

    def y(value: float) -> float:
        return round((1 - (min(high, max(low, value)) - low) / ((high - low) or 1.0)) * HEIGHT, 2)

    pieces: list[str] = []
    band: list[str] = []
    for piece in _pieces(values, axis.bin_s):
        xs = [axis.middle(begins) for begins, *_ in piece]
        if len(piece) == 1:
            # (a single bin is a short line, or it would be invisible)
            half = axis.bin_s / axis.span_s * WIDTH / 2
            xs, piece = [xs[0] - half, xs[0] + half], [piece[0], piece[0]]  # noqa: PLW2901 (drawn twice)
        pieces.append(" ".join(f"{x:.2f},{y(value)}" for x, (_, value, _, _) in zip(xs, piece, strict=True)))
        tops = [f"{x:.2f},{y(top)}" for x, (_, _, _, top) in zip(xs, piece, strict=True)]
        bottoms = [f"{x:.2f},{y(bottom)}" for x, (_, _, bottom, _) in zip(xs, piece, strict=True)]
        band.append(" ".join([*tops, *reversed(bottoms)]))
    return Line(tuple(pieces), tuple(band))


def _pieces(
    values: Sequence[tuple[dt.datetime, float, float, float]], bin_s: int
) -> Iterable[list[tuple[dt.datetime, float, float, float]]]:
    """Split values where bins are missing."""
    piece: list[tuple[dt.datetime, float, float, float]] = []
    for value in values:
        if piece and (value[0] - piece[-1][0]).total_seconds() > bin_s * 1.5:
            yield piece
            piece = []
        piece.append(value)
    if piece:
        yield piece


class RateBin(Protocol):
    """A bin of a rate."""

    @property
    def begins(self) -> dt.datetime:
        """Its begin."""
        ...

    @property
    def interval(self) -> Interval:
        """The rate with its interval."""
        ...


class QuantileBin(Protocol):
    """A bin of one side's durations."""

    @property
    def begins(self) -> dt.datetime:
        """Its begin."""
        ...

    @property
    def side(self) -> str:
        """The side."""
        ...

    @property
    def quantile_ms(self) -> float:
        """The quantile."""
        ...


def rates(bins: Iterable[RateBin]) -> list[tuple[dt.datetime, float, float, float]]:
    """Return the values of a line of rates with their intervals."""
    return [(one.begins, one.interval.estimate, one.interval.low, one.interval.high) for one in bins]


def quantiles(bins: Iterable[QuantileBin], side: str) -> list[tuple[dt.datetime, float, float, float]]:
    """Return the values of the line of one side's durations."""
    return [(one.begins, one.quantile_ms, one.quantile_ms, one.quantile_ms) for one in bins if one.side == side]


def rate_floor(lows: Iterable[float]) -> float:
    """Return the bottom of an axis of rates that ends at 100 %: a round one below all values."""
    lowest = min(lows, default=1.0)
    below = max(0.0, lowest - RATE_MARGIN * (1 - lowest))
    return next(floor for floor in RATE_FLOORS if floor <= below)


def rate_ticks(floor: float) -> tuple[Tick, ...]:
    """Return the labels of an axis of rates; the first is the top."""
    values = [1 - (1 - floor) * step / 4 for step in range(5)]
    digits = next((n for n in (0, 1) if all(abs(value * 100 - round(value * 100, n)) < 1e-6 for value in values)), 2)
    return tuple(Tick(step * 25.0, f"{value * 100:.{digits}f} %") for step, value in enumerate(values))


def ceiling(values: Iterable[float]) -> float:
    """Return a round number at or above all values: 1, 2, 2.5 or 5 times a power of ten."""
    highest = max((value for value in values if not math.isnan(value)), default=0.0)
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= highest)


def amount_ticks(top: float) -> tuple[Tick, ...]:
    """Return the labels of an axis from 0 to `top`; the first is the top."""
    digits = 0 if top >= 2 else 2
    return tuple(
        Tick(step * 50.0, number(top * (1 - step / 2)) if not digits else f"{top * (1 - step / 2):.{digits}f}")
        for step in range(3)
    )


def spark(heights: Sequence[int], bars_max: int = 40) -> tuple[Bar, ...]:
    """Return the bars of a sparkline; neighbours are added up until there are at most `bars_max`."""
    each = max(1, math.ceil(len(heights) / bars_max))
    sums = [sum(heights[start : start + each]) for start in range(0, len(heights), each)]
    top, width = max(sums, default=0), 100 / max(1, len(sums))
    return tuple(
        Bar(round(index * width, 3), round(width * 0.8, 3), round(height / top * 100, 2))
        for index, height in enumerate(sums)
        if height
    )


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """An interval on a track, in percent: the allowed part, the interval, the estimate, and the threshold."""

    allowed_x: float
    allowed_width: float
    x: float
    width: float
    dot: float | None
    threshold: float | None


def interval_bar(
    low: float, high: float, *, estimate: float | None, limit: float | None, least: float = 0.0
) -> IntervalBar:
    """Return an interval on a scale that begins at `least` and ends just beyond the larger of interval and threshold."""
    top = max(high, limit if limit is not None else high, least) - least
    scale = 100 / (top * 1.1) if top > 0 else 0.0

    def at(value: float) -> float:
        return round(min(100.0, max(0.0, (value - least) * scale)), 3)

    allowed = at(limit) if limit is not None else 0.0
    x = at(low)
    return IntervalBar(
        0.0,
        allowed,
        x,
        round(max(0.8, at(high) - x), 3),
        None if estimate is None else at(estimate),
        None if limit is None else allowed,
    )
