"""What a rule allows at its place: each action says whether two values count as the same.

Pure. Numbers are decimal-exact; arithmetic has 400 digits, far beyond what a double or a numeric(78,18) needs.
"""

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import Final

_from_iso: Final = dt.datetime.fromisoformat
_TIME_MIN_CHARS: Final = 10
_EXACT: Final = Context(prec=400)
_NUMBER_TEXT: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ComparisonTime:
    """When a comparison is made: the UTC day, by which rules' terms are judged, and how much later the mirrored side ran.

    With a `delay` (a replay of yesterday's traffic), a time may also differ by it: each side wrote its own now.
    """

    today: dt.date
    delay: dt.timedelta = dt.timedelta(0)


def number_of(value: object) -> Decimal | None:
    """The number a JSON number or a numeric text stands for, None for anything else (also true and false)."""
    if type(value) is int:
        return Decimal(value)
    if type(value) is Decimal:
        return value
    if type(value) is str and _NUMBER_TEXT.match(value):
        return Decimal(value)
    return None


def moment_of(value: object) -> dt.datetime | None:
    """The instant of an ISO 8601 time with a UTC offset, or of PostgreSQL's text of a timestamptz; else None.

    A time without offset is taken as UTC, so it can be compared with another one of its kind.
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
    """Anything may differ here, also existence."""

    def allows(self, _served: object, _mirrored: object) -> bool:
        """True."""
        return True


@dataclass(frozen=True, slots=True)
class NumberWithin:
    """Numbers at most `absolute` apart, or at most `relative` times the larger magnitude, or equal at `places`."""

    absolute: Decimal | None = None
    relative: Decimal | None = None
    places: int | None = None

    def allows(self, served: object, mirrored: object) -> bool:
        """Both are numbers (or numeric texts) and near enough."""
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
    """`1`, `1.0` and `"1.00000"` are one number, however written."""

    def allows(self, served: object, mirrored: object) -> bool:
        """Both are numbers (or numeric texts) of exactly the same value."""
        a, b = number_of(served), number_of(mirrored)
        return a is not None and b is not None and a == b


@dataclass(frozen=True, slots=True)
class TimeWithin:
    """Times at most `within` apart; zero means the same instant in any notation."""

    within: dt.timedelta

    def allows(self, served: object, mirrored: object) -> bool:
        """Both are times and near enough."""
        if type(served) is not str or type(mirrored) is not str or min(len(served), len(mirrored)) < _TIME_MIN_CHARS:
            return False
        try:
            a, b = _from_iso(served), _from_iso(mirrored)
        except ValueError:
            return False
        if a.tzinfo is None or b.tzinfo is None:
            a, b = _aware(a), _aware(b)
        return a == b or abs(a - b) <= self.within

    def allows_later(self, served: object, mirrored: object, delay: dt.timedelta) -> bool:
        """Both are times, and near enough when the mirrored one is taken back by `delay`; never without a tolerance."""
        a, b = moment_of(served), moment_of(mirrored)
        if a is None or b is None or not self.within:
            return False
        return abs(b - a - delay) <= self.within


@dataclass(frozen=True, slots=True)
class Unordered:
    """The array here is a multiset."""

    def allows(self, _served: object, _mirrored: object) -> bool:
        """False: the walk matches elements itself."""
        return False


@dataclass(frozen=True, slots=True)
class KeyedBy:
    """Elements of the array here belong together when these members are equal."""

    members: tuple[str, ...]

    def allows(self, _served: object, _mirrored: object) -> bool:
        """False: the walk matches elements itself."""
        return False


def allows(action: "Action", served: object, mirrored: object, delay: dt.timedelta) -> bool:
    """Whether an action lets two values count as the same, given how much later the mirrored side ran."""
    return action.allows(served, mirrored) or (bool(delay) and allows_later(action, served, mirrored, delay))


def allows_later(action: "Action", served: object, mirrored: object, delay: dt.timedelta) -> bool:
    """Whether an action lets two values count as the same only because the mirrored side ran later."""
    return type(action) is TimeWithin and action.allows_later(served, mirrored, delay)


Action = Ignore | NumberWithin | SameNumber | TimeWithin | Unordered | KeyedBy
