"""Schedule what changes the shadow by key: items that share a key run one at a time, in the order of live's commits.

Pure. An item has keys (attribution keys and rows) and a position, the LSN of its last live commit. It may start when no item with a
common key runs, and none with a smaller position waits. Positions are totally ordered, so items never wait for each other in a circle.

One conflict: three transactions of live, B and C with the hash link h9 in common.

    item  LSN  keys            queues by key
    A     10   0xa1            0xa1: [A]
    B     20   0xb2, h9        0xb2: [B]
    C     30   0xc3, h9        0xc3: [C]
                               h9:   [B, C]

    start_ready(9) -> [A, B]   each is first in all of its queues; C is first for 0xc3 but second for h9
    finish(A)                  nothing waited for 0xa1
    finish(B)                  C is now first for h9
    start_ready(9) -> [C]

A barrier conflicts with every item: it starts when all earlier ones have ended, and later ones wait for its end. A TRUNCATE is one, as it
touches rows that it does not name.

A reserved item takes its place and blocks the items behind it, but does not start. A live transaction is reserved while the exchange that
made it is unknown: another item takes over its keys and position then, and meanwhile nothing of a later commit can overtake it.
"""

from bisect import insort
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

Position = tuple[int, int, int]
"""LSN of the live commit; the number with which that commit was delivered, or that of the item where it stands for no commit; and the
number of the item. So what stands for a commit keeps the commit's place, however late it takes it over: it comes before an item without
a commit that was placed behind the same LSN."""


@dataclass(slots=True)
class _ScheduledItem:
    id: int
    position: Position
    keys: frozenset[Hashable]
    reserved: bool
    barrier: bool
    running: bool = False


@dataclass(slots=True)
class _KeyQueue:
    """The items of one key: those that wait, in order of position, and the one that runs."""

    waiting: list[tuple[Position, int]]
    running: int | None = None


class KeyScheduler:
    """The items that wait or run. Their ids are chosen by the caller, and unique while the item is scheduled."""

    def __init__(self) -> None:
        self._items: dict[int, _ScheduledItem] = {}
        self._queues: dict[Hashable, _KeyQueue] = {}
        # Only an item that was added, or that moved to the head of a queue, can have become ready: no other is looked at.
        self._candidates: dict[int, None] = {}
        self._barriers: list[tuple[Position, int]] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(
        self,
        item: int,
        *,
        keys: Iterable[Hashable],
        position: Position,
        reserved: bool = False,
        barrier: bool = False,
    ) -> None:
        """Queue an item by its position; one without keys depends on no other but barriers."""
        scheduled = _ScheduledItem(item, position, frozenset(keys), reserved, barrier)
        self._items[item] = scheduled
        if barrier:
            insort(self._barriers, (position, item))
        for key in scheduled.keys:
            queue = self._queues.get(key)
            if queue is None:
                self._queues[key] = _KeyQueue([(position, item)])
            else:
                insort(queue.waiting, (position, item))
        self._candidates[item] = None

    def has_key(self, key: Hashable) -> bool:
        """Return whether an item with this key waits or runs."""
        return key in self._queues

    def running(self) -> frozenset[int]:
        """Return the items that run."""
        return frozenset(scheduled.id for scheduled in self._items.values() if scheduled.running)

    def idle(self) -> list[int]:
        """Return the items that neither run nor are reserved."""
        return [scheduled.id for scheduled in self._items.values() if not scheduled.reserved and not scheduled.running]

    def remove(self, item: int) -> None:
        """Remove an item, whether it waits, is reserved or runs; those behind it move up."""
        scheduled = self._items.pop(item)
        self._candidates.pop(item, None)
        if scheduled.barrier:
            self._barriers.remove((scheduled.position, item))
            self._candidates.update(dict.fromkeys(self._items))
        elif self._barriers:
            self._candidates[self._barriers[0][1]] = None
        for key in scheduled.keys:
            queue = self._queues[key]
            if scheduled.running:
                queue.running = None
            else:
                queue.waiting.remove((scheduled.position, item))
            if queue.waiting:
                self._candidates[queue.waiting[0][1]] = None
            elif queue.running is None:
                del self._queues[key]

    finish = remove

    def start_ready(self, limit: int) -> list[int]:
        """Start up to `limit` items that are ready; each blocks its keys until `finish`."""
        started: list[int] = []
        for item in list(self._candidates):
            if len(started) >= limit:
                break
            del self._candidates[item]
            scheduled = self._items.get(item)
            if scheduled is not None and self._is_ready(scheduled):
                self._start(scheduled)
                started.append(item)
        return started

    def _is_ready(self, scheduled: _ScheduledItem) -> bool:
        if scheduled.reserved or scheduled.running or (self._barriers and not self._passes_barriers(scheduled)):
            return False
        for key in scheduled.keys:
            queue = self._queues[key]
            if queue.running is not None or queue.waiting[0][1] != scheduled.id:
                return False
        return True

    def _passes_barriers(self, scheduled: _ScheduledItem) -> bool:
        if scheduled.barrier:
            others = (other for other in self._items.values() if other is not scheduled)
            return not any(other.running or other.position < scheduled.position for other in others)
        # One that was added late may stand before one that runs, so it is not enough to look at the first.
        return not any(at < scheduled.position or self._items[barrier].running for at, barrier in self._barriers)

    def _start(self, scheduled: _ScheduledItem) -> None:
        scheduled.running = True
        for key in scheduled.keys:
            queue = self._queues[key]
            queue.waiting.pop(0)
            queue.running = scheduled.id
