"""Merge the exchanges of several machines by the time at which they ended. Pure: times are arguments.

Each writer's exchanges come in order, but some later than those of others. So every writer also reports up to which time the reader has
all of its exchanges, and the earliest exchange that is here is returned when no awaited writer can still bring an earlier one:

    w0   1: 100 ms   2: 180 ms   3: 290 ms       reports 300 ms
    w1   1: 150 ms                               reports 200 ms

    take() returns w0/1, w1/1, w0/2; then w0/3 is held back until w1 reports 290 ms or later

A writer is not awaited for ever: not while it has not reported for `silent_max_ns`, and not where everything that it reports is here and
its clock, or what holds it up, is more than that behind. No exchange is held back longer than that since it is here. An exchange that
comes later still is returned when it comes.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Writer(Generic[T]):
    """The queue of one writer.

    Attributes:
        heard_ns: when it reported last.
        fetched: number of the last exchange that came.
        queue: exchanges that are here, with the time at which each ended and the time at which it came.
        report_ns: its own time of the last report.
        shipped: exchanges up to this number have to be here before `reported_ns` is true of the reader.
        reported_ns: time before which none is missing of those up to `shipped`.
        complete_ns: time before which every exchange has come.
        closed: whether the writer has ended, with nothing left to come.
    """

    heard_ns: int
    fetched: int
    queue: "deque[tuple[int, int, T]]" = field(default_factory=deque[tuple[int, int, T]])
    report_ns: int = 0
    shipped: int = 0
    reported_ns: int = 0
    complete_ns: int = 0
    closed: bool = False

    def learn(self) -> None:
        """Take over what was reported, once everything that it speaks of is here."""
        if self.fetched >= self.shipped:
            self.complete_ns = max(self.complete_ns, self.reported_ns)


class TimeMerge(Generic[T]):
    """The exchanges of all writers that are here and were not returned yet. Times are nanoseconds.

    `ended_ns` and reports are by the clocks of the writers; `now_ns` is by one clock of the reader, which never goes back.

    Args:
        silent_max_ns: time for which a writer that does not move is awaited.
    """

    def __init__(self, *, silent_max_ns: int) -> None:
        self._silent_max_ns = silent_max_ns
        self._writers: dict[str, _Writer[T]] = {}

    def begin(self, writer: str, *, fetched: int, now_ns: int) -> None:
        """Add a writer, of which exchanges up to `fetched` are not read again."""
        self._writers[writer] = _Writer(now_ns, fetched)

    def forget(self, writer: str) -> None:
        """Remove a writer that is gone for good; what is here of it is returned no more."""
        self._writers.pop(writer, None)

    def add(self, writer: str, items: Iterable[tuple[int, T]], *, fetched: int, now_ns: int) -> None:
        """Add the next exchanges of a writer.

        Args:
            writer: its name.
            items: the exchanges, each with the time at which it ended.
            fetched: number of the last of them.
            now_ns: when they came.
        """
        own = self._writers[writer]
        for ended_ns, item in items:
            own.queue.append((ended_ns, now_ns, item))
            own.complete_ns = max(own.complete_ns, ended_ns)
        own.fetched = max(own.fetched, fetched)
        own.learn()

    def report(self, writer: str, *, report_ns: int, shipped: int, complete_ns: int, closed: bool, now_ns: int) -> None:
        """Note what a writer reports: every exchange that ended before `complete_ns` has a number up to `shipped`.

        Args:
            writer: its name.
            report_ns: time of the report by the writer's clock, to tell a new one from one that was read before.
            shipped: number of the last exchange that it speaks of.
            complete_ns: see above.
            closed: whether the writer has ended, with nothing left to come.
            now_ns: when the report was read.
        """
        own = self._writers[writer]
        if report_ns != own.report_ns:
            own.heard_ns = now_ns
        if report_ns < own.report_ns:
            # Its clock was set back: what ended by the clock of before says nothing about what is still to come.
            own.complete_ns = min(own.complete_ns, report_ns)
        own.report_ns, own.shipped, own.reported_ns, own.closed = report_ns, shipped, complete_ns, closed
        own.learn()

    def excuse(self, *, now_ns: int) -> None:
        """Count no silence before now: it was the reader that heard nothing."""
        for own in self._writers.values():
            own.heard_ns = now_ns

    def is_empty(self, writer: str) -> bool:
        """Return whether nothing of a writer is here."""
        return not self._writers[writer].queue

    def silent(self, *, now_ns: int) -> frozenset[str]:
        """Return the writers that are not awaited because they do not report."""
        return frozenset(name for name, own in self._writers.items() if not own.closed and self._is_silent(own, now_ns))

    def reached_ns(self, writer: str) -> int:
        """Return the time up to which all of a writer's exchanges were returned, by its clock; 0 while it is not known."""
        own = self._writers[writer]
        return own.queue[0][0] if own.queue else own.complete_ns

    def take(self, *, now_ns: int) -> tuple[str, T] | None:
        """Remove and return the next exchange with its writer; None while there is none that may be returned."""
        here = [(own.queue[0][0], name) for name, own in self._writers.items() if own.queue]
        if not here:
            return None
        ended_ns, name = min(here)
        queue = self._writers[name].queue
        if now_ns - queue[0][1] < self._silent_max_ns and ended_ns > self._awaited_ns(ended_ns, now_ns):
            return None
        return name, queue.popleft()[2]

    def complete_ns(self, *, now_ns: int, limit_ns: int) -> int:
        """Return the time before which every exchange of all awaited writers has been returned; at most `limit_ns`."""
        here = [own.queue[0][0] for own in self._writers.values() if own.queue]
        return min([limit_ns, self._awaited_ns(limit_ns, now_ns), *here])

    def _awaited_ns(self, until_ns: int, now_ns: int) -> int:
        """Return the time before which no exchange is still to come; at least `until_ns` where no writer is awaited for it."""
        awaited = (
            own.complete_ns
            for own in self._writers.values()
            # (of a writer with exchanges here, none earlier than those comes)
            if not own.queue and not own.closed and self._is_awaited(own, until_ns, now_ns)
        )
        return min(awaited, default=until_ns)

    def _is_awaited(self, own: _Writer[T], until_ns: int, now_ns: int) -> bool:
        is_coming = own.fetched < own.shipped
        return not self._is_silent(own, now_ns) and (is_coming or until_ns - own.complete_ns <= self._silent_max_ns)

    def _is_silent(self, own: _Writer[T], now_ns: int) -> bool:
        return now_ns - own.heard_ns >= self._silent_max_ns
