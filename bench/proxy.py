"""Requests per second and CPU of the proxy beside others, one core for the proxy, one for load and backends.

`make bench-proxy` (ARGS: --seconds 2 --rounds 3 --connections 64). Systems take turns within each round; the table shows medians,
ratios are medians of the ratios within a round; on a shared machine trust those by CPU. Every request has another key, id and address, so that nothing can live on
headers it has seen. The last line is the result as JSON.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop

CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = {CORES[0]}, {CORES[-1]}
END = b'"end":"of reply"}'
STAMPS = ",".join(
    f'"Provider{number}":{{"score":"1.{number:05d}","dedup":false,"expiration_date":"2099-01-{number + 1:02d}T00:00:00+00:00"}}'
    for number in range(22)
)
BODY = f'{{"address":"0x0","score":"23.45678","passing_score":true,"stamps":{{{STAMPS}}},'.encode() + END
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
    % len(BODY)
    + BODY
)
REQUESTS_MAX = 8192


class BackendProtocol(asyncio.Protocol):
    """Answers each request at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 (asyncio calls it so)
        self.transport.write(REPLY)  # type: ignore[attr-defined]


class LoadProtocol(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.asked = time.perf_counter()
        self.transport.write(self.load.next())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-40:]
        if END in self.tail:
            self.tail = b""
            self.load.answered(time.perf_counter() - self.asked)
            if not self.load.over:
                self.ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio calls it so)
        self.load.errors += not self.load.over


class Load:
    """What all connections of a round share."""

    def __init__(self) -> None:
        self.requests = [_request(number) for number in range(REQUESTS_MAX)]
        self.sent = 0
        self.errors = 0
        self.latencies: list[float] = []
        self.over = False

    def next(self) -> bytes:
        self.sent += 1
        return self.requests[self.sent % REQUESTS_MAX]

    def answered(self, latency_s: float) -> None:
        self.latencies.append(latency_s)


def _request(number: int) -> bytes:
    return (
        f"GET /v2/stamps/335/score/0x{number * 7919:040x} HTTP/1.1\r\nHost: api.example\r\nX-API-Key: key.{number:032d}\r\n"
        f"User-Agent: client/{number % 97}\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n"
        f"X-Client-Version: {number}\r\n\r\n"
    ).encode()


@dataclass
class Sample:
    """One system in one round."""

    rps: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    errors: int
    rss_mb: float


@dataclass
class System:
    """What is measured: how it is started, and its samples."""

    name: str
    start: Callable[["Place"], "subprocess.Popen[bytes] | None"]
    samples: list[Sample] = field(default_factory=list)
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None


@dataclass(frozen=True)
class Place:
    """Where a system listens and where it forwards to."""

    port: int
    backend: int
    mirror: int
    directory: Path


def ours(place: Place) -> "subprocess.Popen[bytes]":
    return _ours(place, journal=True)


def ours_without_journal(place: Place) -> "subprocess.Popen[bytes]":
    return _ours(place, journal=False)


def _ours(place: Place, *, journal: bool) -> "subprocess.Popen[bytes]":
    config = place.directory / f"config-{place.port}.yaml"
    side = f"{{live: {{url: 'http://127.0.0.1:{place.backend}'}}}}"
    config.write_text(
        f"listen: {{port: {place.port}}}\nadmin: {{port: 0}}\nbackends: {{candidate: {side}, legacy: {side}}}\n"
        "routes: [{name: score, path: '/v2/stamps/{id}/score/{address}', key: address}]\n"
        f"serve: {{state_file: {place.directory}/switch, sentinel_file: {place.directory}/stop}}\n"
        f"journal: {{enabled: {str(journal).lower()}, directory: {place.directory}/journal-{place.port},"
        " retention: {size_max_bytes: 67108864, disk_max_bytes: 134217728}}\n"
    )
    return _spawn([sys.executable, "-m", "proxy", "proxy", "--config", str(config)])


def plain_aiohttp(place: Place) -> "subprocess.Popen[bytes]":
    return _spawn([sys.executable, "-m", "bench.plain_proxy", str(place.port), str(place.backend), "0"])


def plain_aiohttp_mirror(place: Place) -> "subprocess.Popen[bytes]":
    return _spawn([sys.executable, "-m", "bench.plain_proxy", str(place.port), str(place.backend), str(place.mirror)])


def nginx(place: Place) -> "subprocess.Popen[bytes]":
    return _nginx(place, "", "")


def nginx_mirror(place: Place) -> "subprocess.Popen[bytes]":
    copy = (
        f"location = /m {{ internal; proxy_pass http://127.0.0.1:{place.mirror}$request_uri; proxy_http_version 1.1; }}"
    )
    return _nginx(place, "mirror /m; mirror_request_body on;", copy)


def _nginx(place: Place, mirror: str, location: str) -> "subprocess.Popen[bytes]":
    config = place.directory / f"nginx-{place.port}.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {place.directory}/nginx-{place.port}.pid; error_log /dev/null;\n"
        "events { worker_connections 4096; }\nhttp { access_log off; keepalive_requests 1000000;\n"
        f"upstream b {{ server 127.0.0.1:{place.backend}; keepalive 128; keepalive_requests 1000000; }}\n"
        f"server {{ listen 127.0.0.1:{place.port}; {location}\n"
        f"location / {{ {mirror} proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection '';\n"
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id; } } }\n"
    )
    return _spawn(["nginx", "-c", str(config), "-p", str(place.directory)])


def _spawn(command: list[str]) -> "subprocess.Popen[bytes]":
    cores = ",".join(str(core) for core in PROXY_CORE)
    environ = {**os.environ, "SHADOW_LOG_LEVEL": "WARNING"}
    pinned = ["taskset", "-c", cores, *command]
    return subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)


def backends(ports: list[int]) -> None:
    """Serve the canned reply on these ports, forever."""
    os.sched_setaffinity(0, LOAD_CORE)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for port in ports:
            await loop.create_server(BackendProtocol, "127.0.0.1", port, backlog=1024)
        await asyncio.Event().wait()

    uvloop.run(serve())


async def drive(port: int, *, connections: int, seconds: float) -> Load:
    """Load one port for a while; the first quarter is not counted."""
    loop = asyncio.get_running_loop()
    load = Load()
    made = [await loop.create_connection(lambda: LoadProtocol(load), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(seconds / 4)
    load.latencies.clear()
    await asyncio.sleep(seconds)
    load.over = True
    for transport, _ in made:
        transport.close()
    return load


def cpu_s(process: "subprocess.Popen[bytes] | None") -> tuple[float, float]:
    """CPU seconds and resident megabytes of a process and its children."""
    if process is None:
        return 0.0, 0.0
    root = psutil.Process(process.pid)
    family = [root, *root.children(recursive=True)]
    times = [one.cpu_times() for one in family]
    return sum(one.user + one.system for one in times), sum(one.memory_info().rss for one in family) / 2**20


def measure(system: System, *, connections: int, seconds: float) -> Sample:
    before, _ = cpu_s(system.process)
    load = uvloop.run(drive(system.port, connections=connections, seconds=seconds))
    after, rss_mb = cpu_s(system.process)
    count = len(load.latencies)
    ordered = sorted(load.latencies)
    return Sample(
        rps=count / seconds,
        cpu_us=(after - before) / max(load.sent, 1) * 1e6,
        p50_ms=ordered[count // 2] * 1e3 if count else 0.0,
        p99_ms=ordered[int(count * 0.99)] * 1e3 if count else 0.0,
        errors=load.errors,
        rss_mb=rss_mb,
    )


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on {port}")


def systems() -> list[System]:
    found = [
        System("direct", lambda _: None),
        System("ours, journal on", ours),
        System("ours, no journal", ours_without_journal),
        System("plain aiohttp", plain_aiohttp),
        System("plain aiohttp + mirror", plain_aiohttp_mirror),
    ]
    if shutil.which("nginx"):
        found += [System("nginx", nginx), System("nginx + mirror", nginx_mirror)]
    return found


def median(system: System, name: str) -> float:
    return statistics.median(getattr(sample, name) for sample in system.samples)


def ratio(one: System, other: System) -> float:
    return statistics.median(a.rps / b.rps for a, b in zip(one.samples, other.samples, strict=True))


def cpu_ratio(one: System, other: System) -> float:
    """How many requests `one` serves for the CPU of one request of `other`: on a shared machine the figure to trust."""
    return statistics.median(b.cpu_us / a.cpu_us for a, b in zip(one.samples, other.samples, strict=True))


def report(measured: list[System]) -> None:
    own = measured[1]
    print(
        f"{'system':<26}{'rps':>9}{'CPU us':>9}{'p50 ms':>9}{'p99 ms':>9}{'RSS MB':>9}{'errors':>8}{'ours':>9}{'by CPU':>9}"
    )
    for system in measured:
        columns = [median(system, name) for name in ("rps", "cpu_us", "p50_ms", "p99_ms", "rss_mb")]
        errors = sum(sample.errors for sample in system.samples)
        print(
            f"{system.name:<26}{columns[0]:>9.0f}{columns[1]:>9.0f}{columns[2]:>9.2f}{columns[3]:>9.2f}{columns[4]:>9.0f}"
            f"{errors:>8}{ratio(own, system):>8.2f}x{cpu_ratio(own, system):>8.2f}x"
        )
    result = {
        system.name: {
            "rps": round(median(system, "rps")),
            "cpu_us": round(median(system, "cpu_us"), 1),
            "ours_ratio_rps": round(ratio(own, system), 3),
            "ours_ratio_cpu": round(cpu_ratio(own, system), 3),
        }
        for system in measured
    }
    print(json.dumps({"bench": "proxy", "systems": result}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    args = parser.parse_args()
    measured = systems()
    ports = free_ports(len(measured) + 2)
    serving = multiprocessing.get_context("spawn").Process(target=backends, args=(ports[:2],), daemon=True)
    serving.start()
    wait_for(ports[0])
    os.sched_setaffinity(0, LOAD_CORE)
    with tempfile.TemporaryDirectory() as directory:
        try:
            for system, port in zip(measured, ports[2:], strict=True):
                place = Place(port, ports[0], ports[1], Path(directory))
                system.process = system.start(place)
                system.port = port if system.process else ports[0]
                wait_for(system.port)
            for _ in range(args.rounds):
                for system in measured:
                    system.samples.append(measure(system, connections=args.connections, seconds=args.seconds))
        finally:
            for system in measured:
                if system.process:
                    system.process.terminate()
                    system.process.wait(15)
            serving.terminate()
    report(measured)


if __name__ == "__main__":
    main()
