"""Decides which records of a recording are sent, when, and in which order. Pure: times are offsets from the start of the replay.

The schedule is open-loop: a record is due at a time that does not depend on earlier responses, and latency is measured from that
time, so that a side that stalls cannot hide the requests it delayed (coordinated omission). Only `--speed max` is closed-loop: a
record is sent as soon as a worker is free.

Records at 0, 100 and 300 ms of the recording are due

    --speed 1x              at 0, 100 and 300 ms
    --speed 2x              at 0, 50 and 150 ms
    --rate 5/s              at 0, 200 and 400 ms
    --speed 1x --loop 2     at 0, 100, 300 and at 400, 500, 700 ms: a pass begins one mean gap (300 / 3) after the last record
"""

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
"""Records held back for sorting by start: a journal is in the order of ends."""
_DURATION: Final = re.compile(r"\+?(\d+(?:\.\d+)?)(ms|s|m|h|)")
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_CONDITION: Final = re.compile(r"([a-z]+)(!?=)(.*)")


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of a replay. With neither `speed` nor `rate_per_s`, it is as fast as the responses arrive.

    Attributes:
        speed: a multiple of the recording's own speed.
        rate_per_s: even spacing instead.
        ramp_s: time over which the speed grows linearly from 0.
    """

    speed: float | None = 1.0
    rate_per_s: float | None = None
    ramp_s: float = 0.0

    @property
    def open(self) -> bool:
        """True when records are due at times that do not depend on responses."""
        return self.speed is not None or self.rate_per_s is not None


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """A record to send.

    Attributes:
        number: counts from 0 over all passes.
        pass_number: counts from 0.
        offset_s: when it is due, in seconds after the start; 0 in a closed loop.
        recorded: the record.
    """

    number: int
    pass_number: int
    offset_s: float
    recorded: RecordedExchange

    @property
    def order_key(self) -> str:
        """Records with the same key are sent one after the other; "" is unordered."""
        return self.recorded.key


Condition = Callable[[RecordedExchange], bool]


@dataclass(frozen=True, slots=True)
class Selection:
    """The records that start in [from_ns, to_ns), Unix nanoseconds, and meet all conditions. None is unlimited."""

    from_ns: int | None = None
    to_ns: int | None = None
    conditions: Sequence[Condition] = ()

    def includes(self, recorded: RecordedExchange) -> bool:
        """Return whether this record is selected."""
        if self.from_ns is not None and recorded.started_ns < self.from_ns:
            return False
        if self.to_ns is not None and recorded.started_ns >= self.to_ns:
            return False
        return all(condition(recorded) for condition in self.conditions)


def parse_pace(*, speed: str, rate: str, ramp: str) -> Pace:
    """Parse the options `--speed`, `--rate` and `--ramp`, each "" when it is not given.

    Raises:
        OptionError: one is malformed, or they exclude each other.
    """
    ramp_s = parse_duration_s(ramp) if ramp else 0.0
    if speed and rate:
        raise OptionError("--speed and --rate are mutually exclusive")
    if rate:
        return Pace(None, _positive(rate.removesuffix("/s"), f"--rate {rate}"), ramp_s)
    if speed == "max":
        if ramp_s:
            raise OptionError("--ramp requires --rate, or a --speed other than max")
        return Pace(None, None)
    return Pace(_positive((speed or "1x").removesuffix("x"), f"--speed {speed}"), None, ramp_s)


def parse_duration_s(text: str) -> float:
    """Parse `30`, `30s`, `500ms`, `2m` or `1h` to seconds.

    Raises:
        OptionError: it is malformed.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise OptionError(f"{text!r} is not a duration; write 500ms, 30s, 2m or 1h")
    return float(match.group(1)) * _UNIT_S[match.group(2)]


def parse_time(text: str, first_ns: int) -> int:
    """Parse an ISO 8601 time, or `+30s` after the recording's first record, to Unix nanoseconds.

    Raises:
        OptionError: it is neither.
    """
    if text.startswith("+"):
        return first_ns + round(parse_duration_s(text) * 1e9)
    try:
        return ns_of(text)
    except ValueError as error:
        raise OptionError(f"{text!r} is neither an ISO 8601 time nor +DURATION, e.g. +30s") from error


def parse_condition(text: str) -> Condition:
    """Parse `route=v2_*`, `method!=GET`, `path=/v2/*`, `key=0x*`, `status=5??` or `side=legacy`; `|` separates alternatives.

    Raises:
        OptionError: it is malformed.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or match.group(1) not in _FIELDS:
        raise OptionError(f"--filter {text}: write FIELD=PATTERN or FIELD!=PATTERN, FIELD one of {', '.join(_FIELDS)}")
    value, expected, patterns = _FIELDS[match.group(1)], match.group(2) == "=", match.group(3).split("|")
    return lambda recorded: any(fnmatchcase(value(recorded), pattern) for pattern in patterns) is expected


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
    """Yield the records sorted by start, within a window of `held_max`; those without a time keep their place."""
    held: list[tuple[int, int, RecordedExchange]] = []
    last_ns = 0
    for number, recorded in enumerate(records):
        last_ns = recorded.started_ns or last_ns
        heapq.heappush(held, (last_ns, number, recorded))
        if len(held) > held_max:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def schedule(
    passes: Callable[[], Iterable[RecordedExchange]], pace: Pace, *, loops: int = 1
) -> Iterator[ScheduledRequest]:
    """Yield each record with the time at which it is due.

    Args:
        passes: returns the selected records, in order; called once for each pass.
        pace: the speed.
        loops: number of passes, 0 for endless. A pass begins one mean gap after the last record of the one before.
    """
    number = pass_number = 0
    begin_s = 0.0
    while pass_number < loops or not loops:
        at_s, count, first_ns = 0.0, 0, None
        for recorded in passes():
            first_ns = recorded.started_ns if first_ns is None else first_ns
            if pace.rate_per_s is not None:
                at_s = count / pace.rate_per_s
            elif pace.speed is not None:
                at_s = max(at_s, (recorded.started_ns - first_ns) / 1e9 / pace.speed)
            yield ScheduledRequest(number, pass_number, ramped(begin_s + at_s, pace.ramp_s), recorded)
            number, count = number + 1, count + 1
        if not count:
            return
        begin_s += at_s + (1 / pace.rate_per_s if pace.rate_per_s else at_s / count)
        pass_number += 1


def ramped(at_s: float, ramp_s: float) -> float:
    """Return when a record that is due at `at_s` at full speed is due if the speed grows linearly over the first `ramp_s`.

    Until then t^2 / (2 * ramp_s) of the recording have been played at the time t, so a ramp costs half of its duration.
    """
    return math.sqrt(2 * at_s * ramp_s) if at_s < ramp_s / 2 else at_s + ramp_s / 2


@dataclass(slots=True)
class PerKeyQueue:
    """Order the records of each key: one is in flight, and the others wait in their order."""

    _waiting: dict[str, deque[ScheduledRequest]] = field(default_factory=dict[str, deque[ScheduledRequest]])

    def admit(self, request: ScheduledRequest) -> bool:
        """Return whether this may start now. If not, `complete` returns it later."""
        if not request.order_key:
            return True
        queue = self._waiting.get(request.order_key)
        if queue is None:
            self._waiting[request.order_key] = deque()
            return True
        queue.append(request)
        return False

    def complete(self, request: ScheduledRequest) -> ScheduledRequest | None:
        """Note the response to this one; return the next request of its key."""
        queue = self._waiting.get(request.order_key)
        if queue:
            return queue.popleft()
        self._waiting.pop(request.order_key, None)
        return None


@dataclass(slots=True)
class Watermark:
    """The progress of a replay: everything below `low` is done. A resumed replay begins there."""

    low: int = 0
    _beyond: set[int] = field(default_factory=set[int])

    @property
    def beyond(self) -> tuple[int, ...]:
        """Numbers above `low` that are done."""
        return tuple(sorted(self._beyond))

    def complete(self, number: int) -> None:
        """Note that this record is done."""
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
        raise OptionError(f"{option}: must be greater than 0")
    return value
