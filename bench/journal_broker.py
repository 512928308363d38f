"""The cost of the shared journal beside the local one: CPU for each exchange of shipping it, and of reading it from the broker.

`make bench-journal-broker` (ARGS: --count 20000 --rounds 5 --writers 4 --batch 16). Each round reads the same spool from the disk, ships it to a Redis
server of its own, and reads it from there, in turn. Times are CPU times of one process, medians of the rounds; the server's own is beside them.
`a core` is the rate at which one core would be busy. The last line is the result as JSON; ratios are to reading from the disk in the same round.
"""

import argparse
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import uvloop

from bench.journal import make
from comparator.exchanges.model import Exchange
from proxy.config.journal import JournalDriver, JournalSettings, ValkeySettings
from proxy.journal.keys import ENVIRONMENT, load_keys
from proxy.journal.registry import open_broker, open_shared, open_writer
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.shared_reader import PassingOffsets
from proxy.journal.shipper import Shipper
from tests.support.redis import RedisServer, running_redis

ENVIRON = {ENVIRONMENT: "a key of the benchmark"}
STEPS = ("local_read", "ship", "shared_read")


def fill(settings: JournalSettings, exchanges: Sequence[Exchange], writers: int) -> int:
    """Write a spool of several writers, each its share of the exchanges; return its bytes."""
    opened = [open_writer(settings, ENVIRON) for _ in range(writers)]
    for writer in opened:
        writer.start()
    for number, exchange in enumerate(exchanges):
        opened[number % writers].append(exchange)
    for writer in opened:
        writer.close()
    assert sum(writer.counts.written for writer in opened) == len(exchanges)
    return sum(writer.counts.written_bytes for writer in opened)


def local_read(settings: JournalSettings, count: int) -> None:
    """Read everything from the disk."""
    directory = Path(settings.directory)
    with SegmentReader(directory, "bench", keys=load_keys(directory, ENVIRON)) as reader:
        read = 0
        while read < count:
            read += len(reader.take(256))


async def ship(settings: JournalSettings) -> None:
    """Ship everything."""
    async with open_broker(settings) as broker:
        shipper = Shipper(settings, broker)
        while await shipper.round():
            pass


async def shared_read(settings: JournalSettings, count: int) -> None:
    """Read everything from the broker."""
    keys = load_keys(Path(settings.directory), ENVIRON)
    async with open_shared(settings, PassingOffsets(), keys=keys, environ=ENVIRON) as reader:
        read = 0
        while read < count:
            read += len(await reader.read(256, 1.0))


def measured(step: str, settings: JournalSettings, count: int, server: RedisServer) -> dict[str, float]:
    """Run a step; return CPU microseconds for each exchange, of this process and of the server, and exchanges a second."""
    process = psutil.Process(server.pid)
    began_s, cpu_s, server_s = time.perf_counter(), time.process_time(), sum(process.cpu_times()[:2])
    if step == "local_read":
        local_read(settings, count)
    else:
        uvloop.run(ship(settings) if step == "ship" else shared_read(settings, count))
    cpu_us = (time.process_time() - cpu_s) / count * 1e6
    server_us = (sum(process.cpu_times()[:2]) - server_s) / count * 1e6
    rate = count / (time.perf_counter() - began_s)
    return {"cpu_us": cpu_us, "server_us": server_us, "a_core": 1e6 / cpu_us, "exchanges_per_s": rate}


def run_round(exchanges: Sequence[Exchange], *, writers: int, batch: int) -> dict[str, float]:
    """Measure one round."""
    with tempfile.TemporaryDirectory(prefix="shadow-bench-") as folder, running_redis() as server:
        broker = ValkeySettings(url=server.url, ahead_max_bytes=2**34, timeout_s=60)
        settings = JournalSettings(
            driver=JournalDriver.VALKEY,
            directory=folder,
            queue_max=10**6,
            queue_max_bytes=2**34,
            batch_max=batch,
            valkey=broker,
        )
        size = fill(settings, exchanges, writers)
        figures: dict[str, float] = {"bytes": size / len(exchanges)}
        for step in STEPS:
            for name, value in measured(step, settings, len(exchanges), server).items():
                figures[f"{step}_{name}"] = value
        figures["broker_bytes"] = psutil.Process(server.pid).memory_info().rss / len(exchanges)
    for step in STEPS[1:]:
        figures[f"{step}_ratio"] = figures[f"{step}_cpu_us"] / figures["local_read_cpu_us"]
    return figures


def table(result: dict[str, float]) -> str:
    """Return the figures as text."""
    lines = [f"{'':<12} {'CPU us':>8} {'server us':>10} {'a core':>9} {'measured/s':>11} {'to local':>9}"]
    for step in STEPS:
        own = {name: result[f"{step}_{name}"] for name in ("cpu_us", "server_us", "a_core", "exchanges_per_s")}
        figures = (
            f"{own['cpu_us']:>8.1f} {own['server_us']:>10.1f} {own['a_core']:>9,.0f} {own['exchanges_per_s']:>11,.0f}"
        )
        lines.append(f"{step:<12} {figures} {result.get(f'{step}_ratio', 1.0):>9.2f}")
    return "\n".join([*lines, f"{result['bytes']:.0f} bytes on disk for each exchange"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument(
        "--batch", type=int, default=256, help="exchanges in a bundle, which less traffic makes smaller"
    )
    args = parser.parse_args()
    chance = random.Random(1)
    exchanges = [make(number, chance) for number in range(args.count)]
    rounds = [run_round(exchanges, writers=args.writers, batch=args.batch) for _ in range(args.rounds)]
    result = {name: round(statistics.median(figures[name] for figures in rounds), 3) for name in rounds[0]}
    load = os.getloadavg()[0]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(table(result))
    print(json.dumps({"bench": "journal_broker", **vars(args), **result, "load": load, "peak_mb": round(peak_mb)}))


if __name__ == "__main__":
    main()
