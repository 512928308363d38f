"""Our scorer against the legacy stand-in: one process each, the same database, the same addresses, interleaved in one run.

`python -m bench.scorer [--quick]` prints a table and, last, one JSON line. Every figure is of this machine and this run; only
the ratios mean something elsewhere. "cold" is our scorer with a proof cache that holds nothing.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from bench.scorer_load import Connection, Sample, get, merged, run_slice
from bench.scorer_wire import Counts, counting_relay
from proxy.demo.embedded_postgres import EmbeddedPostgres
from scorer.db import migrate
from scorer.population.people import FAR, HeldStamp, Issuers, Person, PersonCase, address_of, nullifier_of
from scorer.population.rows import KEY, PLAIN, rows
from scorer.population.writing import write

ROOT = Path(__file__).resolve().parents[1]
STAMPS = (0, 5, 20)
CONCURRENCIES = (1, 16)
PEOPLE = 32
SEED = 7
READY_TIMEOUT_S = 60.0
CROWD = 1000
PERCENTILES = (50, 95, 99)
Situation = tuple[str, int, int]
"""Server, stamps of an address, requests at once."""
AIMS = {
    "p50_ratio_20_stamps": 10.0,
    "throughput_ratio_c16": 10.0,
    "start_cpu_s": 1.0,
    "rss_mb": 256.0,
    "round_trips": 8,
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process. `start_cpu_s` is its CPU time when it was ready, `start_s` the time that took."""

    name: str
    pid: int
    port: int
    start_s: float
    start_cpu_s: float


def crowd_of(stamps: int) -> Iterator[Person]:
    """PEOPLE addresses with this many stamps each, really signed."""
    trusted = Issuers.of(SEED).trusted
    for index in range(PEOPLE):
        name = f"bench.{stamps}.{index}"
        address = address_of(name)
        held = tuple(
            HeldStamp(provider, trusted.issue(address, provider, [nullifier_of(f"{name}.{provider}")], expires=FAR))
            for provider in _providers(stamps)
        )
        yield Person(address, PersonCase.PASS, held)


def _providers(count: int) -> list[str]:
    weighted = list(PLAIN.weights)
    return [weighted[i] if i < len(weighted) else f"Provider#{i}" for i in range(count)]


def requests_for(stamps: int) -> list[bytes]:
    """One request for each address of a crowd."""
    path = f"/v2/stamps/{PLAIN.scorer_id}/score/"
    return [get(path + address_of(f"bench.{stamps}.{i}"), {"X-API-Key": KEY.text}) for i in range(PEOPLE)]


@asynccontextmanager
async def started(name: str, words: Sequence[str], environ: dict[str, str]) -> AsyncIterator[Server]:
    """Start a server process; it is stopped with the block."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = (await process.stdout.readline()).decode()
            port = int("".join(c for c in line.split(":")[-1].split(",")[-1] if c.isdigit()))
            connection = await Connection.open(port)
            await connection.ask(get("/health/", {}))
            connection.close()
        yield Server(name, process.pid, port, time.perf_counter() - began, cpu_s(process.pid))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), READY_TIMEOUT_S)


def environment(dsn: str) -> dict[str, str]:
    """Return the settings that both sides get."""
    return {
        "DATABASE_URL": dsn,
        "TRUSTED_IAM_ISSUERS": json.dumps([Issuers.of(SEED).trusted.did]),
        "FF_V2_API": "on",
        "SECRET_KEY": "bench",
        "CERAMIC_CACHE_SCORER_ID": "1",
        "SCORER_LOG_LEVEL": "WARNING",
    }


def ours(name: str, dsn: str, **more: str) -> Any:
    """Our scorer as a process."""
    return started(name, ("-m", "scorer", "serve", "--port", "0"), {**environment(dsn), **more})


def legacy(dsn: str) -> Any:
    """Run the stand-in as a process."""
    return started("legacy", ("-m", "tests.legacy", "--port", "0"), environment(dsn))


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def database_cpu_s(data_dir: Path) -> float:
    """CPU time of a PostgreSQL server so far: its live processes, and those it has buried."""
    postmaster = int((data_dir / "postmaster.pid").read_text().split()[0])
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
        elif int(stat.parent.name) == postmaster:
            total += sum(int(field) for field in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def rss_peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def compare(servers: Sequence[Server], data_dir: Path, *, rounds: int) -> dict[Situation, list[Sample]]:
    """Every server in every situation, in turns of about a second; one sample a turn."""
    found: dict[Situation, list[Sample]] = {}
    for stamps in STAMPS:
        requests = requests_for(stamps)
        for server in servers:
            # Every connection that will be used has met the statements, and every proof has been seen.
            await run_slice(server.port, requests, concurrency=max(CONCURRENCIES), count=4 * PEOPLE)
        for concurrency in CONCURRENCIES:
            for _ in range(rounds):
                for server in servers:
                    sample = await measured(server, data_dir, requests, concurrency)
                    found.setdefault((server.name, stamps, concurrency), []).append(sample)
    return found


async def measured(server: Server, data_dir: Path, requests: Sequence[bytes], concurrency: int) -> Sample:
    """One turn of one server, with the CPU time that it and the database took."""
    before = cpu_s(server.pid), database_cpu_s(data_dir)
    count = slice_count(server, concurrency)
    sample = await run_slice(server.port, requests, concurrency=concurrency, count=count)
    sample.server_cpu_s = cpu_s(server.pid) - before[0]
    sample.database_cpu_s = database_cpu_s(data_dir) - before[1]
    return sample


def slice_count(server: Server, concurrency: int) -> int:
    """Enough for a percentile, and about a second."""
    return (16 if concurrency == 1 else 32) if server.name == "legacy" else 160


async def crowded(server: Server) -> tuple[int, float]:
    """CROWD requests at once, each on its own connection; how many were answered with 200, and the peak memory in MB."""
    requests = requests_for(STAMPS[-1])
    sample = await run_slice(server.port, requests, concurrency=CROWD, count=CROWD)
    return len(sample.latencies_s) - sample.refused, rss_peak_mb(server.pid)


async def spoken(dsn: str, folder: Path) -> dict[int, Counts]:
    """Count the messages to the database of one request for a known address, by number of stamps."""
    found: dict[int, Counts] = {}
    async with counting_relay(dsn, folder) as (relayed, counts), ours("ours", relayed, SCORER_POOL_MAX="1") as server:
        for stamps in STAMPS:
            request = requests_for(stamps)[0]
            connection = await Connection.open(server.port)
            for _ in range(3):
                counts.reset()
                await connection.ask(request)
            found[stamps] = Counts(counts.round_trips, counts.statements, list(counts.texts))
            connection.close()
    return found


async def first_response_cpu_s(server: Server) -> float:
    """CPU time of a process up to its first score."""
    connection = await Connection.open(server.port)
    await connection.ask(requests_for(STAMPS[-1])[0])
    connection.close()
    return cpu_s(server.pid)


async def run(*, rounds: int) -> dict[str, Any]:
    """Measure everything and print the table; the JSON line's content."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shadow-bench-")))
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "data")
        server.start()
        stack.callback(server.stop, mode="immediate")
        dsn = server.dsn()
        await fill(dsn)
        (folder / "relay").mkdir()
        said = await spoken(dsn, folder / "relay")
        warm = await stack.enter_async_context(ours("ours", dsn))
        first = await first_response_cpu_s(warm)
        cold = await stack.enter_async_context(ours("ours, cold", dsn, SCORER_PROOFS_CACHED_MAX="0"))
        other = await stack.enter_async_context(legacy(dsn))
        samples = await compare((other, warm, cold), server.data_dir, rounds=rounds)
        answered, rss_mb = await crowded(warm)
        result = {
            "situations": [situation(samples, of) for of in sorted(samples, key=lambda of: (of[1], of[2], of[0]))],
            "start_cpu_s": round(warm.start_cpu_s, 3),
            "start_s": round(warm.start_s, 3),
            "first_score_cpu_s": round(first, 3),
            "legacy_start_cpu_s": round(other.start_cpu_s, 3),
            "rss_mb": round(rss_mb, 1),
            "legacy_rss_mb": round(rss_peak_mb(other.pid), 1),
            "answered_of_1000": answered,
            "round_trips": {str(stamps): counts.round_trips for stamps, counts in said.items()},
            "statements": {str(stamps): counts.statements for stamps, counts in said.items()},
            "refused": sum(sample.refused for turns in samples.values() for sample in turns),
        }
        print_table(result)
        return result


async def fill(dsn: str) -> None:
    """Make the tables and the crowds."""
    conn = await asyncpg.connect(dsn)
    try:
        await migrate.migrate(conn)
        await write(conn, rows(person for stamps in STAMPS for person in crowd_of(stamps)))
    finally:
        await conn.close()


def situation(samples: dict[Situation, list[Sample]], of: Situation) -> dict[str, Any]:
    """One server against the legacy in one situation, as ratios (more is better for ours).

    A ratio is the median of the ratios of the turns, each of two servers one after the other: on a busy machine a turn may be
    slow, but seldom for one of the two alone. The ratio of CPU times hardly depends on what else the machine does.
    """
    mine, theirs = samples[of], samples["legacy", of[1], of[2]]
    pairs = list(zip(mine, theirs, strict=True))
    whole, whole_legacy = merged(mine), merged(theirs)
    return {
        "server": of[0],
        "stamps": of[1],
        "concurrency": of[2],
        "rps": round(whole.per_second, 1),
        **{f"p{p}_ms": round(whole.percentile_ms(p), 2) for p in PERCENTILES},
        "rps_ratio": round(median(a.per_second / b.per_second for a, b in pairs), 1),
        **{
            f"p{p}_ratio": round(median(b.percentile_ms(p) / a.percentile_ms(p) for a, b in pairs), 1)
            for p in PERCENTILES
        },
        "cpu_ms": round(whole.cpu_ms, 2),
        "database_cpu_ms": round(1000 * whole.database_cpu_s / len(whole.latencies_s), 2),
        "cpu_ratio": round(whole_legacy.cpu_ms / whole.cpu_ms, 1),
    }


def print_table(result: dict[str, Any]) -> None:
    """For people."""
    print(
        "stamps  at once  server       req/s  p50 ms  p95 ms  p99 ms  CPU ms (database)   req/s x   p50 x   p99 x   CPU x"
    )
    for one in result["situations"]:
        print(
            f"{one['stamps']:>6} {one['concurrency']:>8}  {one['server']:<11}{one['rps']:>7}"
            f"{one['p50_ms']:>8}{one['p95_ms']:>8}{one['p99_ms']:>8}{one['cpu_ms']:>8} ({one['database_cpu_ms']:>7})"
            f"{one['rps_ratio']:>12}{one['p50_ratio']:>8}{one['p99_ratio']:>8}{one['cpu_ratio']:>8}"
        )
    for name in ("start_s", "start_cpu_s", "first_score_cpu_s", "legacy_start_cpu_s", "rss_mb", "legacy_rss_mb"):
        print(f"{name:<20} {result[name]}")
    print(f"{'answered':<20} {result['answered_of_1000']} of {CROWD} at once")
    print(f"{'round trips':<20} {result['round_trips']} (stamps: round trips of a known address)")
    print(f"{'statements':<20} {result['statements']}")
    for name, reached in reached_aims(result).items():
        print(f"{'aim reached' if reached else 'AIM MISSED':<20} {name} ({AIMS[name]:g})")


def reached_aims(result: dict[str, Any]) -> dict[str, bool]:
    """Return for each aim if it was reached."""
    warm = {(s["stamps"], s["concurrency"]): s for s in result["situations"] if s["server"] == "ours"}
    return {
        "p50_ratio_20_stamps": warm[20, 1]["p50_ratio"] >= AIMS["p50_ratio_20_stamps"],
        "throughput_ratio_c16": warm[20, 16]["rps_ratio"] >= AIMS["throughput_ratio_c16"],
        "start_cpu_s": result["start_cpu_s"] < AIMS["start_cpu_s"],
        "rss_mb": result["rss_mb"] < AIMS["rss_mb"],
        "round_trips": max(result["round_trips"].values()) <= AIMS["round_trips"],
    }


def main() -> None:
    """Run it; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.scorer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    options = parser.parse_args()
    result = asyncio.run(run(rounds=1 if options.quick else 3))
    print(json.dumps({**result, "aims": reached_aims(result)}))


if __name__ == "__main__":
    main()
