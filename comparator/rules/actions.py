"""Define the actions of rules: each decides whether two values at its place are allowed to differ. Pure.

Numbers are exact decimals. Arithmetic has a precision of 400 digits, far more than a double or a numeric(78,18) needs.
"""

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from typing import Final

from comparator.rules.run_times import RunTimes

_from_iso: Final = dt.datetime.fromisoformat
_TIME_MIN_CHARS: Final = 10
_EXACT: Final = Context(prec=400)
_NUMBER_TEXT: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ComparisonTime:
    """The time of a comparison.

    Attributes:
        today: day (UTC) by which rules expire.
        runs: when both sides worked on the request, e.g. the mirrored one a day later in a replay of yesterday's traffic. Each wrote
            its own current time, so times may also differ by as much as the runs are apart. None if that is unknown.
    """

    today: dt.date
    runs: RunTimes | None = None


def number_of(value: object) -> Decimal | None:
    """Return the number that a JSON number or a numeric text represents, None for any other value (also true and false)."""
    if type(value) is int:
        return Decimal(value)
    if type(value) is Decimal:
        return value
    if type(value) is str and _NUMBER_TEXT.match(value):
        return Decimal(value)
    return None


def moment_of(value: object) -> dt.datetime | None:
    """Return the instant of an ISO 8601 time or of PostgreSQL's text of a timestamptz; None for any other value.

    A time without a UTC offset is interpreted as UTC, so that it can be compared with another such time.
    """
    if type(value) is not str or len(value) < _TIME_MIN_CHARS:
        return None
    try:
        return _aware(_from_iso(value))
    except ValueError:
        return None


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Ignore:
    """Allow anything, also that a value is absent."""

    def allows(self, _served: object, _mirrored: object) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True, slots=True)
class NumberWithin:
    """Allow numbers at most `absolute` apart, or at most `relative` times the larger magnitude, or equal at `places` decimals."""

    absolute: Decimal | None = None
    relative: Decimal | None = None
    places: int | None = None

    def allows(self, served: object, mirrored: object) -> bool:
        """Return whether both are numbers, or numeric texts, and close enough."""
        a, b = number_of(served), number_of(mirrored)
        if a is None or b is None:
            return False
        try:
            return self._near(a, b)
        except InvalidOperation:
            return False

    def _near(self, a: Decimal, b: Decimal) -> bool:
        distance = abs(_EXACT.subtract(a, b))
        if self.absolute is not None:
            return distance <= self.absolute
        if self.relative is not None:
            return distance <= _EXACT.multiply(self.relative, max(abs(a), abs(b)))
        quantum = Decimal(1).scaleb(-(self.places or 0))
        return a.quantize(quantum, context=_EXACT) == b.quantize(quantum, context=_EXACT)


@dataclass(frozen=True, slots=True)
class SameNumber:
    """Allow different notations of one number: `1`, `1.0` and `"1.00000"`."""

    def allows(self, served: object, mirrored: object) -> bool:
        """Return whether both are numbers, or numeric texts, of exactly the same value."""
        a, b = number_of(served), number_of(mirrored)
        return a is not None and b is not None and a == b


class EpochUnit(StrEnum):
    """The unit in which a number counts the time since 1970-01-01 00:00 UTC."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


PER_SECOND: Final = {
    EpochUnit.SECONDS: 1,
    EpochUnit.MILLISECONDS: 1_000,
    EpochUnit.MICROSECONDS: 1_000_000,
    EpochUnit.NANOSECONDS: 1_000_000_000,
}


@dataclass(frozen=True, slots=True)
class TimeWithin:
    """Allow times at most `within` apart; zero allows different notations of one instant.

    With `epoch`, numbers and numeric texts are times too: with milliseconds, 1764491932000 and 1764491932250 are a quarter of a second
    apart. A number and a text never are, because they are two notations that a client can tell apart.
    """

    within: dt.timedelta
    epoch: EpochUnit | None = None

    def allows(self, served: object, mirrored: object) -> bool:
        """Return whether both are times and close enough."""
        numbers = self._numbers(served, mirrored)
        if self.epoch is not None and numbers is not None:
            return abs(numbers[1] - numbers[0]) <= _seconds(self.within) * PER_SECOND[self.epoch]
        if type(served) is not str or type(mirrored) is not str or min(len(served), len(mirrored)) < _TIME_MIN_CHARS:
            return False
        try:
            a, b = _from_iso(served), _from_iso(mirrored)
        except ValueError:
            return False
        if a.tzinfo is None or b.tzinfo is None:
            a, b = _aware(a), _aware(b)
        return a == b or abs(a - b) <= self.within

    def allows_in(self, served: object, mirrored: object, runs: RunTimes) -> bool:
        """Return whether both are times, and close enough for each side to have made its own during its run.

        An action without a tolerance never allows it.
        """
        if not self.within:
            return False
        within_us = self.within // _MICROSECOND
        numbers = self._numbers(served, mirrored)
        if self.epoch is not None and numbers is not None:
            a, b = (number * _US_PER_SECOND / PER_SECOND[self.epoch] for number in numbers)
            return runs.allow(a, b, within_us)
        earlier, later = moment_of(served), moment_of(mirrored)
        return earlier is not None and later is not None and runs.allow(unix_us(earlier), unix_us(later), within_us)

    def _numbers(self, served: object, mirrored: object) -> tuple[Decimal, Decimal] | None:
        """Return both epoch numbers; None unless both are numbers, or both numeric texts."""
        if self.epoch is None or (type(served) is str) is not (type(mirrored) is str):
            return None
        a, b = number_of(served), number_of(mirrored)
        return (a, b) if a is not None and b is not None else None


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_US_PER_SECOND: Final = 1_000_000


def unix_us(moment: dt.datetime) -> int:
    """Return an aware time in Unix microseconds."""
    return (moment - _EPOCH) // _MICROSECOND


def _seconds(span: dt.timedelta) -> Decimal:
    return Decimal(span // dt.timedelta(microseconds=1)) / 1_000_000


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """Allow texts that are equal outside of the parts that a side makes for itself, e.g. an identifier within a path.

    With the pattern `[0-9a-f]{32}`, `/records/0cc175b9c0f1b6a831c399e269772661` and `/records/92eb5ffee6ae2fec3ad71c777531578f` are
    allowed to differ, `/records/tea` and `/records/92eb5ffee6ae2fec3ad71c777531578f` are not.
    """

    pattern: re.Pattern[str]

    def allows(self, served: object, mirrored: object) -> bool:
        """Return whether both are texts that differ only in what the pattern matches."""
        if type(served) is not str or type(mirrored) is not str:
            return False
        return self.pattern.sub(_GENERATED, served) == self.pattern.sub(_GENERATED, mirrored)


_GENERATED: Final = "\x00"
"""Stands for each generated part: PostgreSQL's text and JSON cannot contain it."""


@dataclass(frozen=True, slots=True)
class Unordered:
    """Compare the array as a multiset."""

    def allows(self, _served: object, _mirrored: object) -> bool:
        """Return False: the walk pairs the elements and compares them."""
        return False


@dataclass(frozen=True, slots=True)
class KeyedBy:
    """Pair elements of the array that are equal in these members."""

    members: tuple[str, ...]

    def allows(self, _served: object, _mirrored: object) -> bool:
        """Return False: the walk pairs the elements and compares them."""
        return False


def allows(action: "Action", served: object, mirrored: object, runs: RunTimes | None) -> bool:
    """Return whether an action allows two values to differ, given when both sides worked on the request."""
    return action.allows(served, mirrored) or (runs is not None and allows_in(action, served, mirrored, runs))


def allows_in(action: "Action", served: object, mirrored: object, runs: RunTimes) -> bool:
    """Return whether an action allows two values to differ because each side made its own during its run."""
    return type(action) is TimeWithin and action.allows_in(served, mirrored, runs)


Action = Ignore | NumberWithin | SameNumber | TimeWithin | GeneratedText | Unordered | KeyedBy
