"""Cost of a mirrored write request in the runner: `make bench-mirror`.

First the cost of decoding, comparing and aligning alone (`mirror_parts`). Then the whole runner, as a process of its own over two real
databases, where each request changes about 30 rows on each side: as fast as it can, for CPU time per request and the saturation rate,
and at half of that rate, for the lag from response to verdict. Prints a table, and one line of JSON at the end.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path

import asyncpg
import psutil
from aiohttp import ClientSession

from bench.mirror_parts import parts_ms
from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import total
from tests.support import postgres
from tests.support.mirror_lab import WRITTEN, MirrorLab, mirror_lab
from tests.support.mirroring import send_requests, settled
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import until

STAMPS = 13
LAG = """
SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM compared_at - served_at) * 1000 - served_us / 1000.0)
FROM shadow.comparison WHERE compared_at > $1
"""


async def saturated(made: MirrorLab, process: RunnerProcess, session: ClientSession, count: int) -> tuple[float, float]:
    """Return CPU milliseconds of the runner per request, and requests per second."""
    assert process.process is not None
    runner = psutil.Process(process.process.pid)
    before, started = runner.cpu_times(), time.perf_counter()
    await send_requests(made, session, count=count, side=Side.CANDIDATE)
    await until(made.runner.port, lambda s: settled(s, 2 * count), timeout_s=600)
    seconds, after = time.perf_counter() - started, runner.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used * 1000 / count, count / seconds


async def paced(
    made: MirrorLab, session: ClientSession, *, rate: float, seconds: float, done: int
) -> tuple[float, float]:
    """Return median and 95th percentile, in ms, of the time from response to verdict at a fixed rate; `done` were sent before."""
    conn = await asyncpg.connect(made.store_dsn)
    started_at = await conn.fetchval("SELECT now()")
    count = int(rate * seconds)
    choose = random.Random(5)
    async with asyncio.TaskGroup() as tasks:
        started = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            tasks.create_task(
                made.serve(session, Side.CANDIDATE, choose.choice(made.addresses)), name=f"request-{number}"
            )
    await until(made.runner.port, lambda s: settled(s, done + count), timeout_s=300)
    median, p95 = await conn.fetchval(LAG, started_at)
    await conn.close()
    return median, p95


async def measure(dsn: str, count: int) -> dict[str, float]:
    """Measure the runner at saturation and at half of it."""
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    runner = RunnerSettings(port=free_port(), queue_max=100_000)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with mirror_lab(dsn, directory, capture=capture, runner=runner, population=400, stamps=STAMPS) as made:
            process = RunnerProcess(made.settings(), directory)
            await process.start()
            async with ClientSession() as session:
                await send_requests(made, session, count=count, side=Side.CANDIDATE)
                samples = await until(runner.port, lambda s: settled(s, count), timeout_s=600)
                cpu_ms, per_s = await saturated(made, process, session, count)
                median, p95 = await paced(made, session, rate=per_s / 2, seconds=15, done=2 * count)
            await process.stop()
    return {
        "cpu_ms_per_request": round(cpu_ms, 2),
        "requests_per_s": round(per_s, 1),
        "requests_per_s_per_core": round(1000 / cpu_ms, 1),
        "lag_p50_ms_at_half": round(median, 1),
        "lag_p95_ms_at_half": round(p95, 1),
        "mismatches": total(samples, "shadow_compared_total", verdict="mismatch"),
    }


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=600, help="requests at saturation; 0 measures the parts only")
    options = parser.parse_args()
    for dsn in postgres.session_cluster():
        parts = asyncio.run(parts_ms(dsn))
        result = {**parts, "decode_compare_align_ms": round(sum(parts.values()), 2)}
        if options.requests:
            result |= asyncio.run(measure(dsn, options.requests))
        for name, value in result.items():
            print(f"{name:<28}{value:>12}")
        print(json.dumps(result))


if __name__ == "__main__":
    main()
