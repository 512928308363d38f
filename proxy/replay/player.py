"""Plays a schedule: starts what is due when it is due, keeps each key's order, and stops at once when asked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from proxy.replay.schedule import PerKeyQueue, ScheduledRequest, Watermark

BACKLOG_MAX = 10_000
"""Records that are due and not answered. Beyond it the schedule waits, and latency counts the wait."""
SLEEP_MIN_S = 0.0005
BURST_MAX = 32
"""Records fed before others get the event loop."""

Carry = Callable[[ScheduledRequest, float | None], Awaitable[None]]
"""Does one record; the second argument is when it was due, by the event loop's clock, None at a closed pace."""


@dataclass(slots=True)
class Player:
    """Plays one replay.

    Attributes:
        carry: does one record and counts it; it never raises but for a bug.
        concurrency: records under way at the same time.
        paced: whether records are due at times of their own.
    """

    carry: Carry
    concurrency: int
    paced: bool
    mark: Watermark = field(default_factory=Watermark)
    begun_s: float = 0.0
    _turns: PerKeyQueue = field(default_factory=PerKeyQueue)
    _halted: bool = False

    async def play(self, schedule: Iterator[ScheduledRequest], stop: asyncio.Event) -> bool:
        """Play until the schedule ends or `stop` is set; whether it was played to its end.

        After `stop`, what is under way is finished and nothing else begins.
        """
        ready: asyncio.Queue[ScheduledRequest | None] = asyncio.Queue()
        room = asyncio.Semaphore(BACKLOG_MAX if self.paced else max(2 * self.concurrency, 256))
        self.begun_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as outer:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self.concurrency):
                    tasks.create_task(self._work(ready, room), name=f"worker-{number}")
                feeding = tasks.create_task(self._feed(schedule, ready, room), name="feed")
                watching = outer.create_task(self._watch(stop, feeding), name="stop")
            watching.cancel()
        return not self._halted

    async def _watch(self, stop: asyncio.Event, feeding: asyncio.Task[None]) -> None:
        await stop.wait()
        self._halted = True
        feeding.cancel()

    async def _feed(
        self,
        schedule: Iterator[ScheduledRequest],
        ready: asyncio.Queue[ScheduledRequest | None],
        room: asyncio.Semaphore,
    ) -> None:
        clock = asyncio.get_running_loop().time
        try:
            for burst, one in enumerate(schedule):
                if burst == 0:
                    # Only now: reading ahead to find the first record took its time.
                    self.begun_s = clock()
                wait_s = self.begun_s + one.offset_s - clock() if self.paced else 0.0
                if wait_s > SLEEP_MIN_S or burst % BURST_MAX == 0:
                    await asyncio.sleep(max(0.0, wait_s))
                await room.acquire()
                if self._turns.take(one):
                    ready.put_nowait(one)
        finally:
            for _ in range(self.concurrency):
                ready.put_nowait(None)

    async def _work(self, ready: asyncio.Queue[ScheduledRequest | None], room: asyncio.Semaphore) -> None:
        """Take what is due until there is no more; after one of a key, go on with the next of that key."""
        while (one := await ready.get()) is not None:
            following: ScheduledRequest | None = one
            while following is not None and not self._halted:
                one = following
                await self.carry(one, self.begun_s + one.offset_s if self.paced else None)
                self.mark.done(one.number)
                room.release()
                following = self._turns.done(one)
