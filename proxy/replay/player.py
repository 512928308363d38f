"""Plays a schedule: starts each request when it is due, keeps the order of each key, and stops on an event."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from proxy.replay.schedule import PerKeyQueue, ScheduledRequest, Watermark

BACKLOG_MAX = 10_000
"""Limit of requests that are due and not done. Beyond it the schedule waits, and latency includes the wait."""
SLEEP_MIN_S = 0.0005
BURST_MAX = 32
"""Requests fed before the feeder yields to the event loop."""

Handle = Callable[[ScheduledRequest, float | None], Awaitable[None]]
"""Handles one request; the second argument is when it was due, by the event loop's clock, None in a closed loop."""


@dataclass(slots=True)
class Player:
    """Play one schedule.

    Attributes:
        handle: sends one request and counts the result; raises only for a defect.
        concurrency: number of requests in flight.
        paced: whether requests are due at times of their own (`Pace.open`).
        watermark: the progress.
        started_s: when the first request was scheduled, by the event loop's clock.
    """

    handle: Handle
    concurrency: int
    paced: bool
    watermark: Watermark = field(default_factory=Watermark)
    started_s: float = 0.0
    _order: PerKeyQueue = field(default_factory=PerKeyQueue)
    _halted: bool = False

    async def play(self, schedule: Iterator[ScheduledRequest], stop: asyncio.Event) -> bool:
        """Play until the schedule ends or `stop` is set; then finish the requests in flight.

        Returns:
            Whether the schedule was played to its end.
        """
        ready: asyncio.Queue[ScheduledRequest | None] = asyncio.Queue()
        room = asyncio.Semaphore(BACKLOG_MAX if self.paced else max(2 * self.concurrency, 256))
        self.started_s = asyncio.get_running_loop().time()
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
            for count, request in enumerate(schedule):
                if count == 0:
                    # Not earlier: reading ahead to sort the first records takes time.
                    self.started_s = clock()
                wait_s = self.started_s + request.offset_s - clock() if self.paced else 0.0
                if wait_s > SLEEP_MIN_S or count % BURST_MAX == 0:
                    await asyncio.sleep(max(0.0, wait_s))
                await room.acquire()
                if self._order.admit(request):
                    ready.put_nowait(request)
        finally:
            for _ in range(self.concurrency):
                ready.put_nowait(None)

    async def _work(self, ready: asyncio.Queue[ScheduledRequest | None], room: asyncio.Semaphore) -> None:
        """Handle due requests until there are no more; after one of a key, continue with the next of that key."""
        while (first := await ready.get()) is not None:
            request: ScheduledRequest | None = first
            while request is not None and not self._halted:
                await self.handle(request, self.started_s + request.offset_s if self.paced else None)
                self.watermark.complete(request.number)
                room.release()
                request = self._order.complete(request)
