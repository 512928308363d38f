"""Time that the store takes for what operators ask: `make bench-store`.

Fills a database as runners would have: five million comparisons today and the rollups of 14 days (20 routes, four releases a day, 500
findings, 2,000 sets of findings), then times everything that `shadow status`, `shadow causes` and `shadow findings` ask, and the whole commands from the start of their
process. Aim: under 200 ms for each question. The CPU time says what a question costs on a machine that does other work, too. Only today's comparisons are filled: none of the questions reads them, and those of other days lie in partitions of their own. Prints a table,
and one line of JSON at the end.
"""

import argparse
import asyncio
import datetime as dt
import json
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable

import psutil

from comparator.postgres import Connection, connect
from comparator.settings import StoreSettings
from comparator.stats import quantile_sketch
from comparator.stats.distinct_sketch import KEPT_MAX
from comparator.stats.quantile_sketch import QuantileSketch
from comparator.store import causes, queries
from comparator.store.ended import ended_numbers
from comparator.store.rows import CauseRow
from comparator.store.store import Store
from proxy.rollout.rollback_impact_collector import LOOK_BACK, SELECT_MIRRORED_LEGACY
from tests.support import postgres
from tests.support.paths import ROOT

ROUTES = 20
FINDINGS = 500
SETS = 2_000
DAYS = 14

FILL_COMPARISONS = """
INSERT INTO shadow.comparison (
    served_at, exchange_id, route, key_digest, served_by, stage, verdict, cause, confirmed, effects_compared, effects_note,
    served_status, mirrored_status, served_us, mirrored_us, rows_served, rows_mirrored, difference_count, detail, compared_at,
    finding_set, release
)
SELECT
    $1::timestamptz + n * $2::interval, md5(n::text), 'route' || n % 20, hashtextextended(n::text, 0), 'candidate', 'candidate_100',
    CASE WHEN n % 200 = 0 THEN 'mismatch' ELSE 'match' END, CASE WHEN n % 200 = 0 THEN 'response' ELSE 'none' END, NULL, true, '',
    200, 200, 1000 + n % 9000, 2000 + n % 9000, 2, 2, (n % 200 = 0)::integer, NULL, $1::timestamptz + n * $2::interval,
    CASE WHEN n % 200 = 0 THEN 's' || n / 200 % 2000 END, '2.0.3 / 8.4'
FROM generate_series($3::bigint, $4::bigint) AS n
"""
FILL_ROLLUPS = (
    """
    INSERT INTO shadow.total SELECT day, 'route' || route, side, verdict, cause, 1000 + route
    FROM generate_series($1::date - 13, $1::date, '1 day') AS day, generate_series(0, 19) AS route,
        unnest(ARRAY['candidate', 'legacy']) AS side,
        (VALUES ('match', 'none'), ('known', 'none'), ('mismatch', 'response'), ('mismatch', 'effects'), ('transient', 'none'),
            ('failed', 'mirrored_timeout')) AS verdicts (verdict, cause)
    """,
    """
    INSERT INTO shadow.known_total SELECT day, 'route' || route, 'compare.known_differences[' || n || ']', 'reason', 'T-1', 7
    FROM generate_series($1::date - 13, $1::date, '1 day') AS day, generate_series(0, 19) AS route, generate_series(0, 9) AS n
    """,
    """
    INSERT INTO shadow.slot_total SELECT slot, 'route' || route, side, 100, 99, 1, 1, 0, 50
    FROM generate_series($1::date - 13, $1::date + interval '1 day', '10 minutes') AS slot, generate_series(0, 19) AS route,
        unnest(ARRAY['candidate', 'legacy']) AS side
    """,
    """
    INSERT INTO shadow.release
    SELECT format('2.%s.%s / 8.4', $1::date - day::date, n), format('2.%s.%s', $1::date - day::date, n), '8.4',
        day + n * interval '6 hours', day + (n + 1) * interval '6 hours'
    FROM generate_series($1::date - 13, $1::date, '1 day') AS day, generate_series(0, 3) AS n
    """,
    """
    INSERT INTO shadow.release_total SELECT day, 'route' || route, format('2.%s.%s / 8.4', $1::date - day::date, n), 1000
    FROM generate_series($1::date - 13, $1::date, '1 day') AS day, generate_series(0, 19) AS route, generate_series(0, 3) AS n
    """,
    """
    INSERT INTO shadow.finding_set_total SELECT id, day, format('2.%s.%s / 8.4', $1::date - day::date, n), 3
    FROM shadow.finding_set, generate_series($1::date - 13, $1::date, '1 day') AS day, generate_series(0, 3) AS n
    """,
    """
    INSERT INTO shadow.response_only_total SELECT day, 'route' || route, verdict, 'legacy (mirrored): ' || reason, 10
    FROM generate_series($1::date - 13, $1::date, '1 day') AS day, generate_series(0, 19) AS route,
        unnest(ARRAY['match', 'mismatch']) AS verdict, unnest(ARRAY['lost', 'off']) AS reason
    """,
    """
    INSERT INTO shadow.partial_total SELECT day, 'route' || route, verdict, '[["table' || n || '","shared"]]', 10
    FROM generate_series($1::date - 13, $1::date, '1 day') AS day, generate_series(0, 19) AS route,
        unnest(ARRAY['match', 'mismatch']) AS verdict, generate_series(0, 9) AS n
    """,
    """
    INSERT INTO shadow.ended (runner, writer, numbers)
    SELECT 'default', 'writer' || n, range_agg(int8range(10 * part, 10 * part + 9))
    FROM generate_series(0, 9) AS n, generate_series(0, 999) AS part WHERE $1::date IS NOT NULL GROUP BY n
    """,
)
INSERT_FINDING = """
INSERT INTO shadow.finding (
    id, route, kind, place, shape, severity, state, state_by, state_reason, state_at, first_seen, last_seen, count, example, keys,
    source_table
) VALUES ($1, $2, $3, $4, $5, 'changed', 'new', '', '', $6, $6, $7, 100, 'example', $8, $9)
"""
INSERT_SET = """
INSERT INTO shadow.finding_set VALUES ($1, $2, $3, $4, $5, '2.13.0 / 8.4', '2.0.3 / 8.4', $6, 42)
"""


SELECT_INDEXES = """
SELECT indexname AS name, indexdef AS definition FROM pg_indexes
WHERE schemaname = 'shadow' AND tablename = 'comparison' AND indexname <> 'comparison_pkey'
"""
BATCH = 100_000


async def fill(conn: Connection, comparisons: int, now: dt.datetime) -> None:
    """Fill the database."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    step = (now - midnight) / max(1, comparisons)
    indexes = await conn.fetch(SELECT_INDEXES)
    for index in indexes:
        await conn.execute(f"DROP INDEX shadow.{index['name']}")
    for first in range(0, comparisons, BATCH):
        await conn.execute(FILL_COMPARISONS, midnight, step, first, min(first + BATCH, comparisons) - 1, timeout=900)
        print(f"  {min(first + BATCH, comparisons):>9} comparisons", end="\r", flush=True)
    for index in indexes:
        # An index of rows that are there is built in a fraction of the time.
        # (told of a partitioned table it says ON ONLY, which would leave its partitions without)
        await conn.execute(index["definition"].replace(" ON ONLY ", " ON "), timeout=1_800)
    source = random.Random(1)
    old = midnight - dt.timedelta(days=DAYS - 1)
    keys = [sorted(source.randrange(-(2**63), -(2**62)) for _ in range(KEPT_MAX)) for _ in range(50)]
    sketch = QuantileSketch()
    for _ in range(20_000):
        sketch.add(source.lognormvariate(10, 1))
    packed = quantile_sketch.dump(sketch)
    for day in range(DAYS):
        for route in range(ROUTES):
            at = (old + dt.timedelta(days=day)).date()
            await conn.execute("INSERT INTO shadow.key_total VALUES ($1, $2, $3)", at, f"route{route}", keys[route])
            for side in ("candidate", "legacy"):
                row = (at, f"route{route}", side, packed, packed)
                await conn.execute("INSERT INTO shadow.duration_total VALUES ($1, $2, $3, $4, $5)", *row)
    await _fill_sets(conn, source, keys, old, now)
    for statement in FILL_ROLLUPS:
        await conn.execute(statement, now.date())
    await conn.execute("ANALYZE", timeout=900)


async def _fill_sets(
    conn: Connection, source: random.Random, keys: list[list[int]], old: dt.datetime, now: dt.datetime
) -> None:
    """Fill findings of 25 faults, each with 20 tokens, and sets of the tokens of one or two of them."""
    for number in range(FINDINGS):
        fault, part = divmod(number, 20)
        table = f"table{fault}"
        kind, place = ("missing_row", table) if not part else ("column", f"{table}.c{part}")
        shape = kind if not part else "number / number"
        row = (f"f{number}", "route0", kind, place, shape, old, now, keys[number % 50], table)
        await conn.execute(INSERT_FINDING, *row)
    for number in range(SETS):
        faults = source.sample(range(FINDINGS // 20), source.choice((1, 1, 1, 2)))
        chosen = [
            f"f{20 * fault + part}" for fault in faults for part in range(20) if part < 5 or source.random() < 0.5
        ]
        await conn.execute(
            INSERT_SET, f"s{number}", f"route{number % ROUTES}", sorted(chosen), old, now, keys[number % 50]
        )


LAST_SEEN_LONG_AGO = "UPDATE shadow.cause SET last_seen = $2 WHERE id = $1"


async def command(*arguments: str) -> None:
    """Run a command of `shadow` as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", *arguments, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0, arguments


async def timed(
    ask: Callable[[], Awaitable[object]], rounds: int, server: psutil.Process
) -> tuple[float, float, float]:
    """Return the median and the greatest duration in milliseconds, and the mean CPU time of client, commands and server process."""
    durations: list[float] = []
    began_s = cpu_s(server)
    for _ in range(rounds):
        started = time.perf_counter()
        await ask()
        durations.append(1000 * (time.perf_counter() - started))
    return sorted(durations)[rounds // 2], max(durations), 1000 * (cpu_s(server) - began_s) / rounds


def cpu_s(server: psutil.Process) -> float:
    """Return the CPU time of this process, of the commands that it has run, and of a process of the database."""
    children, own = resource.getrusage(resource.RUSAGE_CHILDREN), server.cpu_times()
    return time.process_time() + children.ru_utime + children.ru_stime + own.user + own.system


async def measure(dsn: str, comparisons: int, rounds: int) -> dict[str, object]:
    """Fill a database and time the questions."""
    now = dt.datetime.now(dt.UTC)
    async with postgres.temporary_database(dsn) as database:
        async with Store(database, StoreSettings(timeout_s=60), random.Random(1)) as store:
            await store.maintain(now)
        conn = await connect(database, timeout_s=60)
        try:
            started = time.perf_counter()
            await fill(conn, comparisons, now)
            print(
                f"filled in {time.perf_counter() - started:.0f} s: {comparisons} comparisons of today, rollups of {DAYS} days"
            )
            result: dict[str, object] = {"comparisons": comparisons}
            started = time.perf_counter()
            named = await causes.refresh_causes(conn, now=now, force=True)
            result["solve_and_store_ms"] = round(1000 * (time.perf_counter() - started))
            result["causes"] = len(named.causes) if named else 0
            await _ask_all(conn, database, now, rounds, result)
        finally:
            await conn.close()
    return result


def questions(
    conn: Connection, first: CauseRow, old: CauseRow, *, finding: str, now: dt.datetime
) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return what `shadow status`, `shadow causes`, `shadow findings` and the runner ask the store, by name.

    Args:
        conn: a connection.
        first: a cause that is shown.
        old: a cause that was seen last some releases ago.
        finding: id of a finding that is shown.
        now: the present time.
    """
    today = now.date()
    return {
        "status: totals": lambda: queries.totals(conn, since=today),
        "status: totals of 14 days": lambda: queries.totals(conn, since=today - dt.timedelta(days=13)),
        "status: response only, of 14 days": lambda: queries.response_only_counts(
            conn, since=today - dt.timedelta(days=13)
        ),
        "status: in part, of 14 days": lambda: queries.partial_counts(conn, since=today - dt.timedelta(days=13)),
        "status: what ended": lambda: ended_numbers(conn, "default"),
        "status: known differences": lambda: queries.known_totals(conn, since=today),
        "status: causes": lambda: causes.causes(conn, since=today, limit=10),
        "status: latency": lambda: queries.latency(conn, since=today),
        "status: latency of two days": lambda: queries.latency(conn, since=today - dt.timedelta(days=1)),
        "status: impact of a rollback": lambda: conn.fetchrow(SELECT_MIRRORED_LEGACY, now - LOOK_BACK),
        "releases: the newest": lambda: queries.newest_release(conn),
        "releases: gone in, of an old cause": lambda: causes.cause(conn, old.id),
        "causes list": lambda: causes.causes(conn),
        "causes show": lambda: causes.cause(conn, first.id),
        "causes show: findings": lambda: queries.findings(conn, ids=first.findings, limit=1_000),
        "causes show: examples": lambda: causes.cases_of(conn, first),
        "findings list": lambda: queries.findings(conn),
        "findings show": lambda: queries.finding(conn, finding),
        "runner: is a solution due": lambda: causes.stored_evidence(conn),
        "runner: causes by state": lambda: causes.causes_by_state(conn),
    }


async def _ask_all(conn: Connection, database: str, now: dt.datetime, rounds: int, result: dict[str, object]) -> None:
    first, old = (await causes.causes(conn, limit=2)).causes
    await conn.execute(LAST_SEEN_LONG_AGO, old.id, now - dt.timedelta(days=DAYS - 2))

    async def open_store() -> None:
        async with Store(database, StoreSettings(timeout_s=60), random.Random(1)) as store, store.connection():
            pass

    asked = {
        "status: connect": open_store,
        **questions(conn, first, old, finding="f1", now=now),
        "command: shadow --version": lambda: command("--version"),
        "command: shadow findings list": lambda: command("findings", "list", "--store-dsn", database),
        "command: shadow causes list": lambda: command("causes", "list", "--store-dsn", database),
    }
    server = psutil.Process(conn.get_server_pid())
    print(f"{'question':<36}{'median ms':>10}{'max ms':>10}{'CPU ms':>10}")
    for name, ask in asked.items():
        median, most, cpu = await timed(ask, rounds, server)
        print(f"{name:<36}{median:>10.1f}{most:>10.1f}{cpu:>10.1f}", flush=True)
        result[name] = {"median_ms": round(median, 1), "cpu_ms": round(cpu, 1)}


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=5_000_000, help="of today (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="of each question (default: %(default)s)")
    options = parser.parse_args()
    for dsn in postgres.session_cluster():
        print(json.dumps(asyncio.run(measure(dsn, options.comparisons, options.rounds))))


if __name__ == "__main__":
    main()
