"""Requests per second and CPU second of `shadow replay`, mitmproxy's client replay and a plain aiohttp client; accuracy of --rate.

`make bench-replay` (ARGS: --requests 20000 --rounds 3 --rates 500,1000,2000). The backend responds at once, on a core of its own; the
systems alternate, and the figures are medians. mitmproxy replays an export of `shadow journal export --to mitmproxy`, all flows at
once; the CPU time of its start (a replay of one flow) is subtracted. It is installed by `make bench-peers` (var/peers) and otherwise
skipped. The last line is the result as JSON.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import uvloop

from bench.load.backend import Backends, running_backends
from bench.load.cores import PROXY_CORE
from bench.proxy.peers import VENV
from comparator.exchanges.model import Request, Response
from proxy.cli import replay as command
from proxy.config.settings import Settings
from proxy.recordings import mitmproxy, ndjson
from proxy.recordings.model import RecordedExchange
from proxy.replay.report import ReplayReport

CONCURRENCY = 64
MITMDUMP = VENV / "bin" / "mitmdump"
FLOWS = 2_000
"""Fewer requests for mitmproxy, which is slower and holds them all in memory."""
AIM_PER_CPU_S = 3_000
AIM_OF_MITMPROXY = 5.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Requests per second of wall time and of CPU time."""

    per_s: float
    per_cpu_s: float


def recorded(count: int) -> Iterator[RecordedExchange]:
    """Yield requests with an address each, an API key and a user agent."""
    headers = (("Host", "api.example"), ("X-API-Key", "k" * 32), ("User-Agent", "bench/1"), ("Accept", "*/*"))
    for number in range(count):
        address = f"0x{number % 1_000:040x}"
        request = Request("GET", f"/v2/stamps/335/score/{address}", headers, b"")
        response = Response(200, (), b"{}")
        yield RecordedExchange(request, response, id=f"{number:032x}", started_ns=number, route="score", key=address)


def recording(count: int) -> bytes:
    """Return a recording of this many requests."""
    return b"".join(map(ndjson.dump, recorded(count)))


def run_replay(path: Path, url: str, *arguments: str) -> tuple[ReplayReport, float]:
    """Replay a recording; return the report, and the CPU seconds of the replay."""
    parser = argparse.ArgumentParser()
    command.configure(parser)
    fixed = ["--to", "candidate", "--instance", url, "--no-progress", "--concurrency", str(CONCURRENCY)]
    args = parser.parse_args([str(path), *fixed, *arguments])
    started_s = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(command.replay(Settings(), args, {}))
    return report, time.process_time() - started_s


def run_plain_client(path: Path, url: str) -> tuple[float, float]:
    """Return requests per second of wall and CPU time of an aiohttp client with the same requests and concurrency."""
    items = [item for item in ndjson.parse(path.read_bytes().splitlines()) if isinstance(item, RecordedExchange)]

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
            waiting = iter(items)

            async def work() -> None:
                for item in waiting:
                    async with session.get(url + item.request.target, headers=dict(item.request.headers)) as response:
                        await response.read()

            for number in range(CONCURRENCY):
                tasks.create_task(work(), name=f"plain-{number}")

    begun, cpu = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return len(items) / (time.perf_counter() - begun), len(items) / (time.process_time() - cpu)


def flows(path: Path, count: int, address: str) -> Path:
    """Write a flow file for mitmproxy, whose flows name the backend as their host."""
    headers = (("Host", address), ("X-API-Key", "k" * 32), ("User-Agent", "bench/1"), ("Accept", "*/*"))
    redirected = (replace(item, request=replace(item.request, headers=headers)) for item in recorded(count))
    path.write_bytes(b"".join(map(mitmproxy.dump, redirected)))
    return path


def client_replay(path: Path, folder: Path) -> tuple[float, float]:
    """Run `mitmdump -nC` until it ends; return its seconds of wall and CPU time."""
    options = ["-q", "-n", "--set", "client_replay_concurrency=-1", "--set", f"confdir={folder}"]
    begun, before = time.perf_counter(), os.times()
    subprocess.run([str(MITMDUMP), *options, "-C", str(path)], check=True, timeout=600)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, cpu_s


def measure_mitmproxy(folder: Path, backends: Backends) -> Speed:
    """Measure mitmproxy without its start; the backend counts the requests."""
    address = f"127.0.0.1:{backends.served_port}"
    start_s, start_cpu_s = client_replay(flows(folder / "one.flow", 1, address), folder)
    before, _ = backends.counts()
    took_s, cpu_s = client_replay(flows(folder / "many.flow", FLOWS, address), folder)
    count = backends.counts()[0] - before
    return Speed(count / (took_s - start_s), count / (cpu_s - start_cpu_s))


def measure_replay(path: Path, url: str) -> Speed:
    """Measure a replay at full speed."""
    report, cpu_s = run_replay(path, url, "--speed", "max")
    return Speed(report.achieved_per_s, report.sent / cpu_s)


def mitmproxy_version() -> str:
    """Return the installed version, "" for none."""
    if not MITMDUMP.exists():
        return ""
    result = subprocess.run([str(MITMDUMP), "--version"], capture_output=True, text=True, timeout=60, check=True)
    match = re.search(r"\d+\.\d+\.\d+", result.stdout)
    return match[0] if match else "unknown"


def measure(path: Path, folder: Path, backends: Backends, *, rounds: int, version: str) -> dict[str, Speed]:
    """Return the medians of each system. They alternate."""
    url = f"http://127.0.0.1:{backends.served_port}"
    systems: dict[str, Callable[[], Speed]] = {
        "shadow replay": lambda: measure_replay(path, url),
        "plain aiohttp": lambda: Speed(*run_plain_client(path, url)),
    }
    if version:
        systems[f"mitmproxy {version} -C"] = lambda: measure_mitmproxy(folder, backends)
    speeds: dict[str, list[Speed]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            speeds[name].append(run())
    return {
        name: Speed(
            statistics.median(speed.per_s for speed in rows), statistics.median(speed.per_cpu_s for speed in rows)
        )
        for name, rows in speeds.items()
    }


def print_table(speeds: dict[str, Speed], version: str) -> dict[str, object]:
    """Print the table, and return it for the last line."""
    ours = speeds["shadow replay"]
    print(f"{'':<22}{'requests/s':>12}{'a CPU second':>14}{'ours is':>10}")
    for name, speed in speeds.items():
        print(f"{name:<22}{speed.per_s:>12.0f}{speed.per_cpu_s:>14.0f}{ours.per_cpu_s / speed.per_cpu_s:>9.1f}x")
    print(f"aim: {AIM_PER_CPU_S}/s on one core: {'met' if ours.per_cpu_s >= AIM_PER_CPU_S else 'missed'}")
    figures: dict[str, object] = {
        name: {"per_s": round(speed.per_s), "per_cpu_s": round(speed.per_cpu_s)} for name, speed in speeds.items()
    }
    if not version:
        print("mitmproxy is not installed (make bench-peers): not compared")
        return {**figures, "mitmproxy": None}
    ratio = ours.per_cpu_s / speeds[f"mitmproxy {version} -C"].per_cpu_s
    aim = "met" if ratio >= AIM_OF_MITMPROXY else "missed"
    print(f"aim: {AIM_OF_MITMPROXY:.0f} times mitmproxy's client replay: {aim}")
    return {**figures, "times_mitmproxy": round(ratio, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", default="500,1000,2000")
    args = parser.parse_args()
    result: dict[str, object] = {"bench": "replay", "requests": args.requests, "rounds": args.rounds}
    with running_backends() as backends, TemporaryDirectory() as name:
        url = f"http://127.0.0.1:{backends.served_port}"
        os.sched_setaffinity(0, PROXY_CORE)
        path = Path(name) / "recording.ndjson"
        path.write_bytes(recording(args.requests))
        version = mitmproxy_version()
        result |= print_table(measure(path, Path(name), backends, rounds=args.rounds, version=version), version)
        for rate in map(int, args.rates.split(",")):
            path.write_bytes(recording(rate * 2))
            report, _ = run_replay(path, url, "--rate", str(rate))
            late = report.sides["candidate"].latency.quantiles_ms["0.99"]
            result[f"rate_{rate}"] = {"achieved_per_s": report.achieved_per_s, "p99_ms": late}
            print(f"target {rate:>6}/s: achieved {report.achieved_per_s:>9.1f}/s, p99 from due {late:.2f} ms")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
