"""Decides which records of a recording are sent, when, and in which order. Pure: times are offsets from the replay's start.

The schedule is open: a record is due at a time that does not depend on how fast the ones before were answered, and latency counts
from there, so that a side that stalls cannot hide the requests it kept waiting (coordinated omission). Only `max` is closed: there
a record is due when there is room for it.
"""

import datetime as dt
import heapq
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from comparator.exchanges.model import Response
from proxy.recordings.model import RecordedExchange, ns_of
from proxy.replay.errors import OptionError

REORDER_MAX: Final = 10_000
"""Records that are held back to be put in the order of their starts: a journal is in the order of the ends."""
_DURATION: Final = re.compile(r"\+?(\d+(?:\.\d+)?)(ms|s|m|h|)")
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_CONDITION: Final = re.compile(r"([a-z]+)(!?=)(.*)")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast. `speed` is a multiple of the recording's own, `rate_per_s` even spacing; both None: as fast as answers come.

    Over the first `ramp_s` seconds the speed grows evenly from nothing.
    """

    speed: float | None = 1.0
    rate_per_s: float | None = None
    ramp_s: float = 0.0

    @property
    def open(self) -> bool:
        """Whether records are due at times of their own."""
        return self.speed is not None or self.rate_per_s is not None


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """A record to send. `number` counts from 0 over all passes; `offset_s` is when, 0 at a closed pace."""

    number: int
    turn: int
    offset_s: float
    recorded: RecordedExchange

    @property
    def order_key(self) -> str:
        """Records with one key are sent one after another; "" has no order."""
        return self.recorded.key


Condition = Callable[[RecordedExchange], bool]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records: those that begin in [from_ns, to_ns) and meet all conditions. None is no limit."""

    from_ns: int | None = None
    to_ns: int | None = None
    conditions: Sequence[Condition] = ()

    def takes(self, recorded: RecordedExchange) -> bool:
        """Whether this record is sent."""
        if self.from_ns is not None and recorded.started_ns < self.from_ns:
            return False
        if self.to_ns is not None and recorded.started_ns >= self.to_ns:
            return False
        return all(condition(recorded) for condition in self.conditions)


def parse_pace(*, speed: str, rate: str, ramp: str) -> Pace:
    """The options `--speed`, `--rate` and `--ramp`.

    Raises:
        OptionError: one makes no sense, or both speeds are given.
    """
    ramp_s = parse_duration_s(ramp) if ramp else 0.0
    if speed and rate:
        raise OptionError("--speed and --rate exclude each other")
    if rate:
        return Pace(None, _positive(rate.removesuffix("/s"), f"--rate {rate}"), ramp_s)
    if speed == "max":
        if ramp_s:
            raise OptionError("--ramp needs a --rate or a --speed other than max")
        return Pace(None, None)
    return Pace(_positive((speed or "1x").removesuffix("x"), f"--speed {speed}"), None, ramp_s)


def parse_duration_s(text: str) -> float:
    """`30`, `30s`, `500ms`, `2m`, `1h`, as seconds.

    Raises:
        OptionError: it is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise OptionError(f"{text!r} is no duration; write 500ms, 30s, 2m or 1h")
    return float(found.group(1)) * _UNIT_S[found.group(2)]


def parse_moment(text: str, first_ns: int) -> int:
    """An ISO 8601 time, or `+30s` after the recording's first record, as Unix nanoseconds.

    Raises:
        OptionError: it is neither.
    """
    if text.startswith("+"):
        return first_ns + round(parse_duration_s(text) * 1e9)
    try:
        return ns_of(text)
    except ValueError as error:
        raise OptionError(f"{text!r} is neither an ISO 8601 time nor +DURATION") from error


def parse_condition(text: str) -> Condition:
    """`route=v2_*`, `method!=GET`, `path=/v2/*`, `key=0x*`, `status=5??`, `side=legacy`; `|` separates alternatives.

    Raises:
        OptionError: it is none of these.
    """
    found = _CONDITION.fullmatch(text)
    if found is None or found.group(1) not in _FIELDS:
        raise OptionError(f"--filter {text}: write FIELD=PATTERN or FIELD!=PATTERN, FIELD one of {', '.join(_FIELDS)}")
    value, wanted, patterns = _FIELDS[found.group(1)], found.group(2) == "=", found.group(3).split("|")
    return lambda recorded: any(fnmatchcase(value(recorded), one) for one in patterns) is wanted


def _status(recorded: RecordedExchange) -> str:
    return str(recorded.outcome.status) if isinstance(recorded.outcome, Response) else "0"


_FIELDS: Final[dict[str, Callable[[RecordedExchange], str]]] = {
    "route": lambda recorded: recorded.route,
    "key": lambda recorded: recorded.key,
    "method": lambda recorded: recorded.request.method,
    "path": lambda recorded: recorded.request.target.partition("?")[0],
    "status": _status,
    "side": lambda recorded: recorded.served_by or "",
}


def in_order(records: Iterable[RecordedExchange], *, held_max: int = REORDER_MAX) -> Iterator[RecordedExchange]:
    """The records by their starts, as far as `held_max` of them held back can tell; those without times stay in order."""
    held: list[tuple[int, int, RecordedExchange]] = []
    last_ns = 0
    for number, recorded in enumerate(records):
        last_ns = recorded.started_ns or last_ns
        heapq.heappush(held, (last_ns, number, recorded))
        if len(held) > held_max:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def due(passes: Callable[[], Iterable[RecordedExchange]], pace: Pace, *, loops: int = 1) -> Iterator[ScheduledRequest]:
    """When each record is sent.

    Args:
        passes: gives the selected records, in order, once for each pass.
        pace: how fast.
        loops: how many passes, 0 for no end. A pass begins one mean gap after the last record of the one before.
    """
    number = turn = 0
    begin_s = 0.0
    while turn < loops or not loops:
        at_s, count, first_ns = 0.0, 0, None
        for recorded in passes():
            first_ns = recorded.started_ns if first_ns is None else first_ns
            if pace.rate_per_s is not None:
                at_s = count / pace.rate_per_s
            elif pace.speed is not None:
                at_s = max(at_s, (recorded.started_ns - first_ns) / 1e9 / pace.speed)
            yield ScheduledRequest(number, turn, warped(begin_s + at_s, pace.ramp_s), recorded)
            number, count = number + 1, count + 1
        if not count:
            return
        begin_s += at_s + (1 / pace.rate_per_s if pace.rate_per_s else at_s / count)
        turn += 1


def warped(at_s: float, ramp_s: float) -> float:
    """When something due at `at_s` at full speed is due if the speed grows evenly over the first `ramp_s`."""
    return math.sqrt(2 * at_s * ramp_s) if at_s < ramp_s / 2 else at_s + ramp_s / 2


@dataclass(slots=True)
class PerKeyQueue:
    """Whose turn it is: of the records with one key, one is under way and the others wait in their order."""

    _waiting: dict[str, deque[ScheduledRequest]] = field(default_factory=dict[str, deque[ScheduledRequest]])

    def take(self, one: ScheduledRequest) -> bool:
        """Whether this may start now; if not, `done` will give it out."""
        if not one.order_key:
            return True
        queue = self._waiting.get(one.order_key)
        if queue is None:
            self._waiting[one.order_key] = deque()
            return True
        queue.append(one)
        return False

    def done(self, one: ScheduledRequest) -> ScheduledRequest | None:
        """This one has been answered: who is next of its key."""
        queue = self._waiting.get(one.order_key)
        if queue:
            return queue.popleft()
        self._waiting.pop(one.order_key, None)
        return None


@dataclass(slots=True)
class Watermark:
    """How far the replay is without a gap: everything below `low` is done. A resumed replay begins there."""

    low: int = 0
    _beyond: set[int] = field(default_factory=set[int])

    @property
    def beyond(self) -> tuple[int, ...]:
        """What is done above `low`."""
        return tuple(sorted(self._beyond))

    def done(self, number: int) -> None:
        """This one has been answered."""
        self._beyond.add(number)
        while self.low in self._beyond:
            self._beyond.remove(self.low)
            self.low += 1


def _positive(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise OptionError(f"{option}: not a number") from error
    if not 0 < value < math.inf:
        raise OptionError(f"{option}: it must be above 0")
    return value


def in_words(seconds: float) -> str:
    """A duration for people: `1:02:03`."""
    return str(dt.timedelta(seconds=round(seconds)))
