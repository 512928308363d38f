"""Measure latency at a fixed rate: each request is sent when it is due, whether or not there were responses to those before.

A latency counts from the time the request was due, so a server that stalls is charged for all requests that were due meanwhile (no
coordinated omission). Several servers can be measured in the same seconds, so that disturbances of the machine affect all of them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from bench.load.alarm import Alarm
from bench.load.clients import Client, connect
from bench.load.closed_loop import RequestSource

CONNECTIONS = 64
LAST_RESPONSE_MAX_S = 20.0


class OpenLoop:
    """The schedule of requests to one server.

    Args:
        source: of the requests.
        due: when each request is due, in seconds from the start, ascending.
    """

    def __init__(self, source: RequestSource, due: Sequence[float]) -> None:
        self._source = source
        self._due = due
        self._next = 0
        self._idle: deque[Client] = deque()
        self._late: deque[float] = deque()
        self._started = 0.0
        self._alarm: Alarm | None = None
        self.latencies_s: list[float] = []
        self.errors = 0
        self.done = asyncio.Event()

    async def run(self, port: int) -> None:
        """Send requests on schedule until the last response, at most LAST_RESPONSE_MAX_S after the last request."""
        clients = await connect(self, port, CONNECTIONS)
        self._alarm = Alarm(asyncio.get_running_loop(), self._send_due)
        self._started = time.monotonic() + 0.05
        try:
            self._alarm.set(self._started + self._due[0])
            async with asyncio.timeout(self._due[-1] + LAST_RESPONSE_MAX_S):
                await self.done.wait()
        except TimeoutError:
            self.errors += len(self._due) - len(self.latencies_s)
        finally:
            self.done.set()
            self._alarm.close()
            for client in clients:
                client.transport.close()

    def ready(self, client: Client) -> None:
        """Record the latency; send the next request that is late, if there is one."""
        if client.status:
            self.latencies_s.append(time.monotonic() - client.due_s)
            self.errors += client.status != 200
            if len(self.latencies_s) == len(self._due):
                self.done.set()
        if self._late:
            client.send(self._source.next(), self._late.popleft())
        else:
            self._idle.append(client)

    def lost(self, client: Client) -> None:  # noqa: ARG002 (a Listener has it)
        """Count an error: the server must not close connections."""
        self.errors += not self.done.is_set()

    def _send_due(self) -> None:
        assert self._alarm
        now = time.monotonic()
        due, number = self._due, self._next
        while number < len(due) and self._started + due[number] <= now:
            self._send(self._started + due[number])
            number += 1
        self._next = number
        if number < len(due):
            self._alarm.set(self._started + due[number])

    def _send(self, due_s: float) -> None:
        if self._idle:
            self._idle.popleft().send(self._source.next(), due_s)
        else:
            self._late.append(due_s)


async def side_by_side(loops: Sequence[tuple[OpenLoop, int]]) -> None:
    """Run several loops, each against its port, in the same seconds."""
    async with asyncio.TaskGroup() as group:
        for loop, port in loops:
            group.create_task(loop.run(port), name=f"open-loop-{port}")
