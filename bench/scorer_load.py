"""A fixed number of requests to one HTTP server, one after the other on each connection, every latency kept."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

from bench.load.clients import Client, connect

RESPONSE_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Sample:
    """Latencies of one server in one turn. `busy_s` is the time it took; CPU times are those of the server and of PostgreSQL."""

    latencies_s: list[float] = field(default_factory=list[float])
    busy_s: float = 0.0
    refused: int = 0
    server_cpu_s: float = 0.0
    database_cpu_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return len(self.latencies_s) / self.busy_s

    @property
    def cpu_ms(self) -> float:
        """CPU time a request of server and database together."""
        return 1000 * (self.server_cpu_s + self.database_cpu_s) / len(self.latencies_s)

    def percentile_ms(self, percent: float) -> float:
        """Return the latency that `percent` of the responses do not exceed."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def merged(turns: Sequence[Sample]) -> Sample:
    """All turns as one."""
    whole = Sample()
    for turn in turns:
        whole.latencies_s += turn.latencies_s
        whole.busy_s += turn.busy_s
        whole.refused += turn.refused
        whole.server_cpu_s += turn.server_cpu_s
        whole.database_cpu_s += turn.database_cpu_s
    return whole


class Connection:
    """One keep-alive connection that asks and waits."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._responded = asyncio.Event()

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to 127.0.0.1."""
        made = cls()
        (made._client,) = await connect(made, port, 1)
        return made

    async def ask(self, request: bytes) -> int:
        """Send one request, read the whole response; its status."""
        assert self._client
        self._responded.clear()
        self._client.send(request)
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            await self._responded.wait()
        return self._client.status

    def close(self) -> None:
        """Hang up."""
        assert self._client
        self._client.transport.close()

    def ready(self, client: Client) -> None:  # noqa: ARG002 (the shape of a listener)
        """Handle a response."""
        self._responded.set()

    def lost(self, client: Client) -> None:
        """`ask` runs into its timeout."""


class Slice:
    """A number of requests, shared by some connections."""

    def __init__(self, requests: Sequence[bytes], count: int) -> None:
        self._requests = cycle(requests)
        self._to_ask = count
        self._to_come = count
        self.sample = Sample()
        self.done = asyncio.Event()

    def ready(self, client: Client) -> None:
        """Note the latency, ask the next."""
        if client.status:
            self.sample.latencies_s.append(time.perf_counter() - client.due_s)
            self.sample.refused += client.status != 200
            self._to_come -= 1
        if self._to_ask:
            self._to_ask -= 1
            client.send(next(self._requests), time.perf_counter())
        elif not self._to_come:
            self.done.set()

    def lost(self, client: Client) -> None:
        """Abort the slice at its timeout."""


def get(path: str, headers: dict[str, str]) -> bytes:
    """Encode a GET request."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def run_slice(port: int, requests: Sequence[bytes], *, concurrency: int, count: int) -> Sample:
    """Ask `count` times, `concurrency` at once, walking round the requests."""
    turn = Slice(requests, count)
    started = time.perf_counter()
    clients = await connect(turn, port, concurrency)
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            await turn.done.wait()
        turn.sample.busy_s = time.perf_counter() - started
    finally:
        for client in clients:
            client.transport.close()
    return turn.sample
