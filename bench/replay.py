"""Requests per second and core of `shadow replay` beside a plain aiohttp client, and how well an asked rate is met.

`make bench-replay` (ARGS: --requests 20000 --rates 500,1000,2000). The backend answers at once, on a core of its own. The last line
is the result as JSON.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import uvloop

from bench.load.backend import started
from bench.load.cores import PROXY_CORE
from comparator.exchange import Reply, Request
from proxy.replay import command
from proxy.replay.report import Report
from proxy.replay.sources import ndjson
from proxy.replay.sources.recorded import Recorded
from proxy.settings import Settings

CONCURRENCY = 64


def capture(count: int) -> Iterator[bytes]:
    """Requests as the proxy sees them: an address each, an API key, a user agent."""
    headers = (("Host", "api.example"), ("X-API-Key", "k" * 32), ("User-Agent", "bench/1"), ("Accept", "*/*"))
    for number in range(count):
        address = f"0x{number % 1_000:040x}"
        request = Request("GET", f"/v2/stamps/335/score/{address}", headers, b"")
        yield ndjson.dump(
            Recorded(request, Reply(200, (), b"{}"), id=f"{number:032x}", started_ns=number, route="score", key=address)
        )


def replayed(path: Path, url: str, *words: str) -> tuple[Report, float]:
    """The report, and the CPU seconds it took."""
    parser = argparse.ArgumentParser()
    command.configure(parser)
    own = ["--to", "candidate", "--instance", url, "--no-progress", "--concurrency", str(CONCURRENCY)]
    args = parser.parse_args([str(path), *own, *words])
    begun = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(command.replay(Settings(), args, {}))
    return report, time.process_time() - begun


def plain(path: Path, url: str) -> tuple[float, float]:
    """Requests a second of wall time, and of CPU, of an aiohttp client with the same requests and concurrency."""
    items = [one for one in ndjson.parse(path.read_bytes().splitlines()) if isinstance(one, Recorded)]

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
            waiting = iter(items)

            async def work() -> None:
                for one in waiting:
                    async with session.get(url + one.request.target, headers=dict(one.request.headers)) as answer:
                        await answer.read()

            for number in range(CONCURRENCY):
                tasks.create_task(work(), name=f"plain-{number}")

    begun, cpu = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return len(items) / (time.perf_counter() - begun), len(items) / (time.process_time() - cpu)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rates", default="500,1000,2000")
    args = parser.parse_args()
    found: dict[str, object] = {"requests": args.requests}
    with started() as backends:
        url = f"http://127.0.0.1:{backends.served_port}"
        os.sched_setaffinity(0, PROXY_CORE)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "capture.ndjson"
            path.write_bytes(b"".join(capture(args.requests)))
            report, cpu_s = replayed(path, url, "--speed", "max")
            found |= {"max_per_s": round(report.achieved_per_s), "max_per_cpu_s": round(report.sent / cpu_s)}
            print(f"shadow replay  {found['max_per_s']:>7} requests/s, {found['max_per_cpu_s']:>7} a CPU second")
            per_s, per_cpu_s = plain(path, url)
            found |= {"aiohttp_per_s": round(per_s), "aiohttp_per_cpu_s": round(per_cpu_s)}
            print(
                f"plain aiohttp  {found['aiohttp_per_s']:>7} requests/s, {found['aiohttp_per_cpu_s']:>7} a CPU second"
            )
            for rate in map(int, args.rates.split(",")):
                path.write_bytes(b"".join(capture(rate * 2)))
                report, _ = replayed(path, url, "--rate", str(rate))
                late = report.sides["candidate"].latency.quantiles_ms["0.99"]
                found[f"rate_{rate}"] = {"achieved_per_s": report.achieved_per_s, "p99_ms": late}
                print(f"asked {rate:>6}/s: achieved {report.achieved_per_s:>9.1f}/s, p99 from due {late:.2f} ms")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
