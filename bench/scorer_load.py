"""A load generator for one HTTP server: keep-alive connections, one request after the other on each, every latency kept."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

REPLY_TIMEOUT_S = 60.0


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
        """The latency below which `percent` of the replies came."""
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

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to 127.0.0.1."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> int:
        """Send one request, read the whole reply; its status."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(_content_length(head))
        return int(head[9:12])

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def get(path: str, headers: dict[str, str]) -> bytes:
    """A GET request as bytes."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def run_slice(port: int, requests: Sequence[bytes], *, concurrency: int, count: int) -> Sample:
    """Ask `count` times, `concurrency` at once, walking round the requests."""
    sample = Sample()
    connections = [await Connection.open(port) for _ in range(concurrency)]
    numbers = iter(range(count))
    started = time.perf_counter()
    try:
        async with asyncio.timeout(REPLY_TIMEOUT_S), asyncio.TaskGroup() as group:
            for index, connection in enumerate(connections):
                group.create_task(_ask_on(connection, requests, numbers, sample), name=f"asker-{index}")
        sample.busy_s = time.perf_counter() - started
    finally:
        for connection in connections:
            connection.close()
    return sample


async def _ask_on(connection: Connection, requests: Sequence[bytes], numbers: object, sample: Sample) -> None:
    for number in numbers:  # type: ignore[attr-defined]
        asked = time.perf_counter()
        status = await connection.ask(requests[number % len(requests)])
        sample.latencies_s.append(time.perf_counter() - asked)
        sample.refused += status != 200


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError(f"a reply without length: {head!r}")
