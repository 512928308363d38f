"""Who may run next on the shadow: items that share a key run one after the other, in the order of the live commits.

Pure. Every item has a position (the LSN of its last live commit). An item may start when no item with a common key is running
and none with a smaller position waits; because positions are totally ordered, no cycle can arise. An item may be added as
held: it keeps its place, and blocks those behind it, until it is released or removed.
"""

from bisect import insort
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

Position = tuple[int, int]
"""LSN of the live commit, then a number that breaks ties by order of arrival."""


@dataclass(slots=True)
class _ScheduledItem:
    id: int
    position: Position
    keys: frozenset[Hashable]
    held: bool
    running: bool = False


@dataclass(slots=True)
class _Lane:
    waiting: list[tuple[Position, int]] = field(default_factory=list[tuple[Position, int]])
    running: int | None = None


class KeyScheduler:
    """The items that wait or run, by key. Item ids are chosen by the client and unique while the item lives."""

    def __init__(self) -> None:
        self._slots: dict[int, _ScheduledItem] = {}
        self._lanes: dict[Hashable, _Lane] = {}
        self._touched: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, item: int, *, keys: Iterable[Hashable], position: Position, held: bool = False) -> None:
        """Let an item take its place by position; without keys it depends on nobody."""
        slot = _ScheduledItem(item, position, frozenset(keys), held)
        self._slots[item] = slot
        for key in slot.keys:
            insort(self._lanes.setdefault(key, _Lane()).waiting, (position, item))
        self._touched[item] = None

    def idle(self) -> list[int]:
        """Items that neither run nor are held."""
        return [slot.id for slot in self._slots.values() if not slot.held and not slot.running]

    def release(self, item: int) -> None:
        """A held item may now run when its turn comes."""
        self._slots[item].held = False
        self._touched[item] = None

    def remove(self, item: int) -> None:
        """Take an item that waits out of the order, or end one that runs; those behind it move up."""
        slot = self._slots.pop(item)
        self._touched.pop(item, None)
        for key in slot.keys:
            lane = self._lanes[key]
            if slot.running:
                lane.running = None
            else:
                lane.waiting.remove((slot.position, item))
            if lane.waiting:
                self._touched[lane.waiting[0][1]] = None
            elif lane.running is None:
                del self._lanes[key]

    done = remove

    def take(self, limit: int) -> list[int]:
        """Start up to `limit` items whose turn it is; they block their keys until `done`."""
        started: list[int] = []
        for item in list(self._touched):
            if len(started) >= limit:
                break
            del self._touched[item]
            slot = self._slots.get(item)
            if slot is not None and self._may_start(slot):
                self._start(slot)
                started.append(item)
        return started

    def _may_start(self, slot: _ScheduledItem) -> bool:
        return (
            not slot.held
            and not slot.running
            and all(self._lanes[key].running is None and self._lanes[key].waiting[0][1] == slot.id for key in slot.keys)
        )

    def _start(self, slot: _ScheduledItem) -> None:
        slot.running = True
        for key in slot.keys:
            lane = self._lanes[key]
            lane.waiting.pop(0)
            lane.running = slot.id
