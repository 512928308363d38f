"""Measure throughput: a number of connections, each of which sends a request as soon as it has the response to the last."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.load.clients import Client, connect


class RequestSource(Protocol):
    """A source of requests."""

    def next(self) -> bytes:
        """Return the next request, complete."""
        ...


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of a measurement.

    Attributes:
        seconds: measured, after the warm-up.
        answered: responses in that time.
        sent: requests in all, warm-up included.
        errors: responses that were not 200, and lost connections.
        cpu_s: CPU time of the server in that time.
    """

    seconds: float
    answered: int
    sent: int
    errors: int
    cpu_s: float

    @property
    def rps(self) -> float:
        """Requests per second."""
        return self.answered / self.seconds


class ClosedLoop:
    """The counts and requests of one measurement, shared by its connections."""

    def __init__(self, source: RequestSource) -> None:
        self._next = source.next
        self.answered = 0
        self.sent = 0
        self.errors = 0
        self.over = False

    def ready(self, client: Client) -> None:
        """Count the response and send the next request."""
        if client.status:
            self.answered += 1
            if client.status != 200:
                self.errors += 1
        if not self.over:
            self.sent += 1
            client.send(self._next())

    def lost(self, client: Client) -> None:  # noqa: ARG002 (a Listener has it)
        """Count an error: the server must not close connections."""
        self.errors += not self.over


async def saturate(
    port: int, source: RequestSource, *, connections: int, seconds: float, cpu_s: Callable[[], float] = lambda: 0.0
) -> LoadResult:
    """Load a port for `seconds`, after a warm-up of a quarter of that.

    Args:
        port: of 127.0.0.1.
        source: of the requests.
        connections: open at the same time.
        seconds: to measure.
        cpu_s: reads the CPU time of the server.
    """
    load = ClosedLoop(source)
    clients = await connect(load, port, connections)
    await asyncio.sleep(seconds / 4)
    answered, cpu, started = load.answered, cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    counted = LoadResult(
        seconds=time.monotonic() - started,
        answered=load.answered - answered,
        cpu_s=cpu_s() - cpu,
        sent=load.sent,
        errors=load.errors,
    )
    load.over = True
    await _last_responses(load)
    for client in clients:
        client.transport.close()
    return counted


async def _last_responses(load: ClosedLoop) -> None:
    # Closing connections with requests in flight would make the server's mirroring look lossy.
    deadline = time.monotonic() + 5
    while load.answered < load.sent and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
