"""What a client waits at a fixed rate: each request is sent when it is due, whether or not the ones before are answered.

A latency counts from when the request was due, so a server that stalls is charged for everybody who would have come meanwhile
(no coordinated omission). Several servers can be asked in the same seconds, so that what the machine does hits all of them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from bench.load.alarm import Alarm
from bench.load.clients import Client, connect
from bench.load.closed import Supply

CONNECTIONS = 64
PATIENCE_S = 20.0


class OpenLoop:
    """The requests of one server, on schedule."""

    def __init__(self, supply: Supply, due: Sequence[float]) -> None:
        self._supply = supply
        self._due = due
        self._turn = 0
        self._idle: deque[Client] = deque()
        self._late: deque[float] = deque()
        self._started = 0.0
        self._alarm: Alarm | None = None
        self.latencies_s: list[float] = []
        self.errors = 0
        self.done = asyncio.Event()

    async def run(self, port: int) -> None:
        """Keep to the schedule until the last response, or until PATIENCE_S after the last request."""
        clients = await connect(self, port, CONNECTIONS)
        self._alarm = Alarm(asyncio.get_running_loop(), self._rang)
        self._started = time.monotonic() + 0.05
        try:
            self._alarm.set(self._started + self._due[0])
            async with asyncio.timeout(self._due[-1] + PATIENCE_S):
                await self.done.wait()
        except TimeoutError:
            self.errors += len(self._due) - len(self.latencies_s)
        finally:
            self.done.set()
            self._alarm.close()
            for client in clients:
                client.transport.close()

    def ready(self, client: Client) -> None:
        """Note the latency; take what is late, or rest."""
        if client.status:
            self.latencies_s.append(time.monotonic() - client.due_s)
            self.errors += client.status != 200
            if len(self.latencies_s) == len(self._due):
                self.done.set()
        if self._late:
            client.ask(self._supply.next(), self._late.popleft())
        else:
            self._idle.append(client)

    def lost(self, client: Client) -> None:  # noqa: ARG002 (the listener's shape)
        """A server must not hang up on its clients."""
        self.errors += not self.done.is_set()

    def _rang(self) -> None:
        assert self._alarm
        now = time.monotonic()
        due, turn = self._due, self._turn
        while turn < len(due) and self._started + due[turn] <= now:
            self._send(self._started + due[turn])
            turn += 1
        self._turn = turn
        if turn < len(due):
            self._alarm.set(self._started + due[turn])

    def _send(self, due_s: float) -> None:
        if self._idle:
            self._idle.popleft().ask(self._supply.next(), due_s)
        else:
            self._late.append(due_s)


async def side_by_side(loops: Sequence[tuple[OpenLoop, int]]) -> None:
    """Run loops against their ports in the same seconds."""
    async with asyncio.TaskGroup() as group:
        for loop, port in loops:
            group.create_task(loop.run(port), name=f"open-loop-{port}")
