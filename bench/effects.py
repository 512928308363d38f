"""Measure the cost of change data capture: decoding, each driver's own CPU and fences, and the captured service.

`python -m bench.effects [--rounds N] [--transactions N] [--dsn DSN]`: on an embedded PostgreSQL with fsync, or on the given server. A writer
in a process of its own commits transactions of 5 statements and 23 row changes, 4 at a time. It is measured without capture and with each
driver, taking turns in every round: paced at 100 transactions a second, then at full speed. The table has medians of the rounds; the last
line is JSON.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from comparator.capture.pgoutput import Decoder
from comparator.capture.registry import open_capture
from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.row_changes import Op, RowChange, Transaction
from proxy.demo.embedded_postgres import EmbeddedPostgres
from tests.support import captured_database, pgoutput, postgres

CONCURRENCY = 4
CHANGES = 23
PACE = 100.0
"""Transactions a second of the paced run: well below saturation, like a live server."""
CREDENTIAL = json.dumps({"type": ["VerifiableCredential"], "proof": "0x" + "ab" * 600})

UPSERT = """
INSERT INTO account (address, score) VALUES ($1, 1.5) ON CONFLICT (address) DO UPDATE SET score = account.score + 1 RETURNING id
"""
CLEAR = "DELETE FROM stamp WHERE account_id = $1"
STAMP = """
INSERT INTO stamp (account_id, provider, credential)
SELECT $1, 'Provider' || n, $2::jsonb FROM generate_series(1, 10) n
"""
EVENT = "INSERT INTO event (data) VALUES (jsonb_build_object('account', $1::bigint))"
RESCORE = "UPDATE account SET score = score + 0.25 WHERE id = $1"


async def one(conn: asyncpg.Connection, address: str) -> None:
    """Run one scoring: replace 10 stamps, write the account twice, insert an event."""
    async with conn.transaction():
        account = await conn.fetchval(UPSERT, address)
        await conn.execute(CLEAR, account)
        await conn.execute(STAMP, account, CREDENTIAL)
        await conn.execute(EVENT, account)
        await conn.execute(RESCORE, account)


async def write(dsn: str, transactions: int, per_second: float) -> None:
    """Write in the writer's process; print median and p95 of the latencies in ms and the transactions a second.

    With `per_second` it keeps that pace (an open loop within each connection), else it writes as fast as it can.
    """
    latencies: list[float] = []
    step = CONCURRENCY / per_second if per_second else 0.0

    async def worker(number: int) -> None:
        conn = await asyncpg.connect(dsn)
        started = time.perf_counter() + step * number / CONCURRENCY
        for turn in range(transactions // CONCURRENCY):
            if step:
                due = started + step * turn
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            begun = time.perf_counter()
            await one(conn, f"0x{number}.{turn % 50}")
            latencies.append(time.perf_counter() - begun)
        await conn.close()

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(CONCURRENCY):
            group.create_task(worker(number), name=f"writer-{number}")
    took = time.perf_counter() - begun
    cuts = statistics.quantiles(latencies, n=20)
    print(json.dumps({"ms": cuts[9] * 1e3, "p95_ms": cuts[18] * 1e3, "per_second": len(latencies) / took}))


@dataclass
class Samples:
    """The measurements of one case, one for each round."""

    paced_ms: list[float] = field(default_factory=list)
    paced_p95_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    reader_us: list[float] = field(default_factory=list)
    fence_idle_ms: list[float] = field(default_factory=list)
    fence_busy_ms: list[float] = field(default_factory=list)


def server_cpu_s(data_dir: Path | None) -> float:
    """Return the CPU time of the postmaster and its running and ended children; 0 for a server elsewhere."""
    if data_dir is None:
        return 0.0
    postmaster = (data_dir / "postmaster.pid").read_text().split("\n", 1)[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" (")
        except OSError:
            continue
        fields = rest.rpartition(") ")[2].split()
        if pid == postmaster:
            ticks += sum(int(value) for value in fields[11:15])
        elif fields[1] == postmaster:
            ticks += sum(int(value) for value in fields[11:13])
    return ticks / 100


async def written(dsn: str, transactions: int, *, per_second: float = 0.0) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.effects",
        "--write",
        dsn,
        "--transactions",
        str(transactions),
        "--per-second",
        str(per_second),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return json.loads(out)


@asynccontextmanager
async def watching(dsn: str, driver: Driver) -> AsyncIterator[Any]:
    """Run a capture during the block; yield None for the case without one."""
    if driver is Driver.OFF:
        yield None
        return
    async with open_capture(
        dsn, CaptureSettings(driver=driver, tables=captured_database.TABLES, fence_timeout_ms=60_000)
    ) as capture:
        await capture.start(lambda _: None)
        await capture.fence()
        yield capture


async def fences(capture: Any, count: int, *, pause_s: float = 0.0) -> list[float]:
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        await capture.fence()
        took.append((time.perf_counter() - begun) * 1e3)
        await asyncio.sleep(pause_s)
    return took


async def measure(dsn: str, driver: Driver, samples: Samples, *, transactions: int, data_dir: Path | None) -> None:
    async with watching(dsn, driver) as capture:
        if capture:
            samples.fence_idle_ms += await fences(capture, 50, pause_s=0.002)
        paced = await written(dsn, transactions // 2, per_second=PACE)
        samples.paced_ms.append(paced["ms"])
        samples.paced_p95_ms.append(paced["p95_ms"])
        server, reader = server_cpu_s(data_dir), time.process_time()
        full_speed = await written(dsn, transactions)
        if capture:
            await capture.fence()
            samples.reader_us.append((time.process_time() - reader) / transactions / CHANGES * 1e6)
        samples.server_us.append((server_cpu_s(data_dir) - server) / transactions * 1e6)
        samples.latency_ms.append(full_speed["ms"])
        samples.p95_ms.append(full_speed["p95_ms"])
        samples.per_second.append(full_speed["per_second"])
        if capture:
            async with asyncio.TaskGroup() as group:
                group.create_task(written(dsn, transactions // 2), name="load")
                busy = group.create_task(fences(capture, 40, pause_s=0.01), name="fences")
            samples.fence_busy_ms += busy.result()


def decode_us(rounds: int) -> float:
    """Return the decoder's CPU time per row change in microseconds."""
    columns = {"stamp": ("id", "account_id", "provider", "credential", "note"), "account": ("id", "address", "score")}
    stamp = {"id": "17", "account_id": "3", "provider": "Google", "credential": CREDENTIAL, "note": None}
    account = {"id": "3", "address": "0x" + "a" * 40, "score": "1.500000000"}
    changes = [RowChange("stamp", Op.DELETE, stamp, None), RowChange("stamp", Op.INSERT, None, stamp)] * 10
    changes += [RowChange("account", Op.UPDATE, account, account)] * 3
    transaction = Transaction(xid=1, commit_lsn=8, end_lsn=9, committed_us=0, changes=tuple(changes))
    messages = pgoutput.encode(transaction, columns)
    decoder = Decoder()

    def batch() -> None:
        for message in messages:
            decoder.feed(message)

    return statistics.median(seconds(batch, 200) for _ in range(rounds * 3)) / len(changes) * 1e6


def seconds(call: Callable[[], None], times: int) -> float:
    begun = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begun) / times


async def run(server_dsn: str, data_dir: Path | None, *, rounds: int, transactions: int) -> None:
    cases = {driver: Samples() for driver in (Driver.OFF, Driver.STREAM, Driver.SQL, Driver.TRIGGERS)}
    async with postgres.temporary_database(server_dsn) as plain, postgres.temporary_database(server_dsn) as logged:
        for dsn in (plain, logged):
            await captured_database.create_tables(dsn)
            await written(dsn, 4 * 50)
        await captured_database.install_trigger_log(logged)
        for _ in range(rounds):
            for driver, samples in cases.items():
                dsn = logged if driver is Driver.TRIGGERS else plain
                await measure(dsn, driver, samples, transactions=transactions, data_dir=data_dir)
    report(cases, decode_us(rounds), rounds=rounds, transactions=transactions)


def report(cases: dict[Driver, Samples], decoded: float, *, rounds: int, transactions: int) -> None:
    print(f"decoder alone: {decoded:.1f} us a row change")
    print(
        f"{rounds} rounds of {transactions} transactions of {CHANGES} changes, {CONCURRENCY} at a time; medians; x: to off"
    )
    print(
        f"{'driver':<9} {'paced ms':>8} {'x':>5} {'p95 ms':>7} {'x':>5} | {'full ms':>8} {'x':>5} {'p95 ms':>7} {'x':>5} {'tx/s':>7} {'x':>5} {'server us/tx':>12} {'x':>5} "
        f"{'reader us/change':>16} {'fence ms':>9} {'p95':>6} {'busy':>7} {'p95':>6}"
    )
    result: dict[str, Any] = {
        "decode_us": round(decoded, 2),
        "rounds": rounds,
        "transactions": transactions,
        "drivers": {},
    }
    base = {
        name: statistics.median(getattr(cases[Driver.OFF], name))
        for name in ("paced_ms", "paced_p95_ms", "latency_ms", "p95_ms", "per_second", "server_us")
    }
    for driver, samples in cases.items():
        medians: dict[str, float | None] = {}
        for name, zero in base.items():
            medians[name] = statistics.median(getattr(samples, name))
            pairs = zip(getattr(samples, name), getattr(cases[Driver.OFF], name), strict=True)
            medians[f"{name}_ratio"] = statistics.median(on / off for on, off in pairs) if zero else None
        medians["reader_us_per_change"] = statistics.median(samples.reader_us) if samples.reader_us else None
        for name in ("fence_idle_ms", "fence_busy_ms"):
            took = getattr(samples, name)
            medians[name] = statistics.median(took) if took else None
            medians[f"{name}_p95"] = statistics.quantiles(took, n=20)[18] if took else None
        result["drivers"][driver.value] = {
            name: round(value, 3) if value is not None else None for name, value in medians.items()
        }
        print(line(driver, medians))
    print(json.dumps(result))


def line(driver: Driver, medians: dict[str, float | None]) -> str:
    layout = {
        "paced_ms": "8.2f", "paced_ms_ratio": "5.2f", "paced_p95_ms": "7.2f", "paced_p95_ms_ratio": "5.2f",
        "latency_ms": "10.2f", "latency_ms_ratio": "5.2f", "p95_ms": "7.2f", "p95_ms_ratio": "5.2f", "per_second": "7.0f",
        "per_second_ratio": "5.2f", "server_us": "12.0f", "server_us_ratio": "5.2f", "reader_us_per_change": "16.1f",
        "fence_idle_ms": "9.2f", "fence_idle_ms_p95": "6.1f", "fence_busy_ms": "7.2f", "fence_busy_ms_p95": "6.1f",
    }  # fmt: skip
    cells = []
    for name, form in layout.items():
        value = medians[name]
        cells.append(format(value, form) if value is not None else "-".rjust(int(form.split(".")[0])))
    return f"{driver.value:<9} {' '.join(cells)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--transactions", type=int, default=400)
    parser.add_argument("--dsn", default="")
    parser.add_argument("--write", default="", help=argparse.SUPPRESS)
    parser.add_argument("--per-second", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        asyncio.run(write(arguments.write, arguments.transactions, arguments.per_second))
        return
    if arguments.dsn:
        asyncio.run(run(arguments.dsn, None, rounds=arguments.rounds, transactions=arguments.transactions))
        return
    folder = Path(tempfile.mkdtemp(prefix="shadow-bench-pg-"))
    try:
        with EmbeddedPostgres(folder / "data", durable=True) as server:
            asyncio.run(
                run(server.dsn(), server.data_dir, rounds=arguments.rounds, transactions=arguments.transactions)
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
