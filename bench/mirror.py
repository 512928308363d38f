"""What a mirrored write request costs the runner: `make bench-mirror`.

The runner is a process of its own over two real databases; each request changes about 30 rows on each side. First as fast as it
can, which gives CPU per request and the saturation rate; then at half of that, which gives the lag from response to verdict. First of
all what decoding, comparing and aligning alone cost (`mirror_parts`), which is what the 4 ms are about. Prints a table and, last,
one JSON line.
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
from proxy.rollout.accounting import total
from tests.support import postgres
from tests.support.mirror_lab import WRITTEN, MirrorLab, mirror_lab
from tests.support.mirroring import send_requests, settled
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import free_port, until

STAMPS = 13
LAG = """
SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM compared_at - served_at) * 1000 - served_us / 1000.0)
FROM shadow.comparison WHERE compared_at > $1
"""


async def saturated(made: MirrorLab, process: RunnerProcess, session: ClientSession, count: int) -> tuple[float, float]:
    """CPU milliseconds of the runner a request, and requests per second."""
    assert process.process is not None
    runner = psutil.Process(process.process.pid)
    before, begun = runner.cpu_times(), time.perf_counter()
    await send_requests(made, session, count=count, side=Side.CANDIDATE)
    await until(made.runner.port, lambda s: settled(s, 2 * count), timeout_s=600)
    seconds, after = time.perf_counter() - begun, runner.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used * 1000 / count, count / seconds


async def paced(made: MirrorLab, session: ClientSession, *, rate: float, seconds: float, done: int) -> tuple[float, float]:
    """Median and 95th percentile, in ms, from the served response to the judged comparison at a fixed rate."""
    conn = await asyncpg.connect(made.store_dsn)
    begun_at = await conn.fetchval("SELECT now()")
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
    median, p95 = await conn.fetchval(LAG, begun_at)
    await conn.close()
    return median, p95


async def measure(dsn: str, count: int) -> dict[str, float]:
    """Both runs."""
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    runner = RunnerSettings(port=free_port(), queue_max=100_000)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        async with mirror_lab(dsn, place, capture=capture, runner=runner, population=400, stamps=STAMPS) as made:
            process = RunnerProcess(made.settings(), place)
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=600, help="0: the parts only")
    options = parser.parse_args()
    for dsn in postgres.session_cluster():
        parts = asyncio.run(parts_ms(dsn))
        found = {**parts, "decode_compare_align_ms": round(sum(parts.values()), 2)}
        if options.requests:
            found |= asyncio.run(measure(dsn, options.requests))
        for name, value in found.items():
            print(f"{name:<28}{value:>12}")
        print(json.dumps(found))


if __name__ == "__main__":
    main()
