"""Open many connections to a real proxy at once, and measure who is answered, after how long, and what the control port takes meanwhile.

    python -m bench.connections 2000 10000

One run for each number and for two limits of open files: the soft limit of Debian (1,024, raised by the proxy to the hard one), and a hard
limit of 1,024, where most do not fit. All clients connect at the same moment, send one request, and keep the connection open.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

REQUEST = b"GET /score/1 HTTP/1.1\r\nHost: a\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WAIT_S = 120.0
POOL_MAX = 5_000
"""Connections to the backend: so many requests are under way, and so many may wait. More at once get 503."""


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of one run: responses by status, times in seconds."""

    statuses: dict[str, int]
    first_s: float
    last_s: float
    admin_s: float
    late_s: float

    def line(self, clients: int, files: str) -> str:
        """Return a row of the table."""
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return (
            f"{clients:>7} {files:<22} {statuses:<28} first {self.first_s:6.3f} s  last {self.last_s:6.3f} s  "
            f"rollback meanwhile {self.admin_s:6.3f} s  a late client {self.late_s:6.3f} s"
        )


async def backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request on a connection."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(RESPONSE)
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        writer.close()


async def client(
    port: int, begin: asyncio.Event, ends: list[tuple[str, float]], open_: list[asyncio.StreamWriter]
) -> None:
    """Connect, send one request, note the response, and keep the connection."""
    await begin.wait()
    started = time.monotonic()
    try:
        async with asyncio.timeout(WAIT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            open_.append(writer)
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        status = type(error).__name__
    ends.append((status, time.monotonic() - started))


async def rollback_s(admin: int) -> float:
    """Return the time that a rollback takes."""
    started = time.monotonic()
    body = json.dumps({"actor": "bench"}).encode()
    head = f"POST /rollback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", admin)
    writer.write(head.encode() + body)
    line = await reader.readline()
    writer.close()
    assert b" 200 " in line, line
    return time.monotonic() - started


async def measure(folder: Path, clients: int, *, soft: int, hard: int) -> Run:
    """Run a proxy under limits of open files, and `clients` connections against it."""
    server = await asyncio.start_server(backend, "127.0.0.1", 0, backlog=4096)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    live = {"live": {"url": url, "connections_max": POOL_MAX, "connect_s": WAIT_S}}
    port, admin = 18080, 19901
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "listen": {"port": port, "trusted_networks": ["127.0.0.0/8"]},
                "admin": {"port": admin},
                "backends": {"candidate": live, "legacy": {"live": {"url": url}}},
                "limits": {"connections_max": 12_000},
                "serve": {"state_file": str(folder / "switch.json"), "sentinel_file": str(folder / "rollback")},
                "journal": {"directory": str(folder / "journal")},
            }
        )
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "proxy", "--config", str(config)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),  # noqa: PLW1509 (no threads yet)
        stderr=log,
    )
    try:
        while b"proxy_started" not in (folder / "log").read_bytes():
            await asyncio.sleep(0.05)
        begin, ends, open_ = asyncio.Event(), list[tuple[str, float]](), list[asyncio.StreamWriter]()
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(client(port, begin, ends, open_), name=f"client-{number}")
            await asyncio.sleep(0)
            begin.set()
            await asyncio.sleep(0.05)
            admin_s = await rollback_s(admin)
        await asyncio.sleep(1.5)
        late: list[tuple[str, float]] = []
        await client(port, begin, late, open_)
        for writer in open_:
            writer.close()
        times = sorted(seconds for _, seconds in ends)
        statuses = Counter(status for status, _ in ends)
        assert late[0][0] == "200", late
        return Run(dict(statuses), times[0], times[-1], admin_s, late[0][1])
    finally:
        process.terminate()
        process.wait()
        server.close()


def main() -> None:
    """Run all, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", type=int, nargs="*", default=[2_000, 10_000])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for clients in parser.parse_args().clients:
        for limits in ({"soft": 1024, "hard": hard}, {"soft": 1024, "hard": 1024}):
            with tempfile.TemporaryDirectory() as folder:
                run = asyncio.run(measure(Path(folder), clients, **limits))
            sys.stdout.write(run.line(clients, f"files {limits['soft']}/{limits['hard']}") + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
