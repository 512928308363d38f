"""CPU of one slice's runner for each write request that is served, with 1, 2 and 3 slices: `make bench-slices` (ARGS: --requests 300).

Each request changes about 30 rows. One runner of each division runs, over a real broker and real databases: the others would do the same, on
cores of their own. What it mirrors itself shrinks with the number of slices; decoding live's log and applying the changes of the others'
requests does not. From both follows how many slices pay. What a runner without work takes (a second of reading reports, of polling) is
measured first and subtracted. Beside it a process only reads live's log, to show which part of the cost is receiving and decoding it: the part
that one decoder for several slices would save. Prints a table, and one line of JSON at the end.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
from aiohttp import ClientSession

from bench.mirror import STAMPS
from comparator.capture.registry import open_capture
from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.config.databases import DatabasesSettings
from proxy.config.runner import RunnerSettings, SliceSettings
from proxy.config.settings import Settings
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import Samples, total
from tests.support import postgres
from tests.support.mirror_lab import WRITTEN, MirrorLab, mirror_lab
from tests.support.mirroring import ended_count, is_idle
from tests.support.paths import ROOT
from tests.support.redis import running_redis
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import until
from tests.support.shared_journal import ENVIRON, Machine, machines

DIVISIONS = (1, 2, 3)
CLIENTS = 16
IDLE_S = 5.0


def sliced(made: MirrorLab, machine: Machine, count: int) -> Settings:
    """Return the settings of an installation with so many slices, of which the first is to run."""
    shadows = {side.value: made.services[side, "shadow"].url for side in Side}
    first = SliceSettings(name="s0", shadow=made.shadow_dsn, port=made.runner.port, **shadows)
    others = (SliceSettings(name=f"s{n}", shadow=f"postgresql:///s{n}", port=n) for n in range(1, count))
    return msgspec.structs.replace(
        made.settings(),
        databases=DatabasesSettings(live=made.live_dsn, store=made.store_dsn),
        journal=machine.settings,
        runner=RunnerSettings(queue_max=100_000, slices=(first, *others)),
    )


async def serve(made: MirrorLab, machine: Machine, session: ClientSession, addresses: Sequence[str]) -> None:
    """Serve a request about each address, CLIENTS at a time."""
    todo = iter(addresses)

    async def client() -> None:
        for address in todo:
            assert machine.writer.append(await made.exchange(session, Side.CANDIDATE, address))

    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(client(), name=f"client-{number}")


def ended(samples: Samples) -> float:
    """Return how many exchanges have ended in the runner, those of other slices among them."""
    return ended_count(samples) + total(samples, "shadow_other_slice_total")


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of a process."""
    return sum(process.cpu_times()[:2])


async def idle_share(process: psutil.Process, port: int) -> float:
    """Return the CPU seconds in a second that a runner without work takes, while it is scraped as during the measurement."""
    began, began_at = cpu_s(process), time.perf_counter()
    with contextlib.suppress(AssertionError):
        await until(port, lambda _: False, timeout_s=IDLE_S)
    return (cpu_s(process) - began) / (time.perf_counter() - began_at)


@dataclass(frozen=True, slots=True)
class LogReader:
    """A process that reads live's log and does nothing with it."""

    process: asyncio.subprocess.Process

    async def cpu_s(self) -> float:
        """Return its CPU seconds, once it has read everything that was committed before the call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        return float(await self.process.stdout.readline())


@asynccontextmanager
async def log_reader(dsn: str) -> AsyncGenerator[LogReader, None]:
    """Run a reader of a database's log for the duration of the block."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "bench.slices", "--read", dsn)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    try:
        yield LogReader(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def read_log(dsn: str) -> None:
    """Be the process of LogReader: print the CPU time for each line of input, until it ends."""
    async with open_capture(dsn, CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)) as capture:
        await capture.start(lambda _: None)
        while await asyncio.to_thread(sys.stdin.readline):
            await capture.fence()
            print(time.process_time(), flush=True)


async def measure(dsn: str, slices: int, count: int) -> dict[str, float]:
    """Measure one division; the first requests warm it up."""
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    with tempfile.TemporaryDirectory(prefix="shadow-bench-") as folder, running_redis() as server:
        directory = Path(folder)
        options = RunnerSettings(port=free_port())
        async with (
            mirror_lab(dsn, directory, capture=capture, runner=options, population=2 * count, stamps=STAMPS) as made,
            machines(server.url, directory / "spools", 1) as (machine,),
            ClientSession() as session,
            log_reader(made.live_dsn) as log,
        ):
            runner = RunnerProcess(sliced(made, machine, slices), directory, "s0")
            await runner.start()
            try:
                await serve(made, machine, session, made.addresses[:count])
                before = await until(options.port, lambda s: ended(s) == count and is_idle(s), timeout_s=600)
                assert runner.process is not None
                process = psutil.Process(runner.process.pid)
                read, read_at = await log.cpu_s(), time.perf_counter()
                idle = await idle_share(process, options.port)
                read_idle, read_idle_at = await log.cpu_s(), time.perf_counter()
                began, began_at = cpu_s(process), time.perf_counter()
                await serve(made, machine, session, made.addresses[count:])
                after = await until(options.port, lambda s: ended(s) == 2 * count and is_idle(s), timeout_s=600)
                used_s = cpu_s(process) - began - idle * (time.perf_counter() - began_at)
                reading_s = await log.cpu_s() - read_idle
                reading_s -= (read_idle - read) / (read_idle_at - read_at) * (time.perf_counter() - read_idle_at)
            finally:
                await runner.stop()
    own = total(after, "shadow_compared_total") - total(before, "shadow_compared_total")
    return {
        "cpu_ms": used_s * 1e3 / count,
        "own_share": own / count,
        "idle_share": idle,
        "log_ms": reading_s * 1e3 / count,
    }


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="requests of a division that are measured")
    parser.add_argument("--read", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        asyncio.run(read_log(options.read))
        return
    os.environ |= ENVIRON
    result: dict[str, float] = {}
    for dsn in postgres.session_cluster():
        for slices in DIVISIONS:
            for name, value in asyncio.run(measure(dsn, slices, options.requests)).items():
                result[f"{name}_of_{slices}"] = round(value, 3)
    own, others = solved(result)
    print(f"{'slices':>6} {'CPU ms for each request served':>31} {'mirrored itself':>16}")
    for slices in DIVISIONS:
        print(f"{slices:>6} {result[f'cpu_ms_of_{slices}']:>31.2f} {result[f'own_share_of_{slices}']:>16.2f}")
    print(f"a request of its own {own:.2f} ms, one of another slice {others:.2f} ms")
    log = sum(result[f"log_ms_of_{slices}"] for slices in DIVISIONS) / len(DIVISIONS)
    print(f"of each: receiving and decoding live's log {log:.2f} ms, {log / others:.0%} of a request of another slice")
    print(json.dumps({"bench": "slices", **result, "own_ms": round(own, 3), "others_ms": round(others, 3)}))


def solved(result: dict[str, float]) -> tuple[float, float]:
    """Return the cost of a request that a slice mirrors, and of one of another slice, by least squares over the divisions."""
    shares = [result[f"own_share_of_{slices}"] for slices in DIVISIONS]
    costs = [result[f"cpu_ms_of_{slices}"] for slices in DIVISIONS]
    mean_share, mean_cost = sum(shares) / len(shares), sum(costs) / len(costs)
    spread = sum((share - mean_share) ** 2 for share in shares)
    slope = sum((s - mean_share) * (c - mean_cost) for s, c in zip(shares, costs, strict=True)) / spread
    return mean_cost + slope * (1 - mean_share), mean_cost - slope * mean_share


if __name__ == "__main__":
    main()
