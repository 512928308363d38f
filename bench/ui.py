"""Server time of the web UI's screens over a large store: `make bench-ui`.

Fills a store as `bench.store` does (five million comparisons of today, rollups of 14 days, 1,000 findings, 2,000 sets of findings), with an
example in each set and the counts that runners keep, up to the present time; then asks for the document of each screen, over several time
ranges, with nothing held from before. Aim: under 150 ms each. Beside the time it prints the CPU time of the UI and of the database's
processes, which says what a screen costs on a machine that does other work, too. Then Chromium opens each screen; aim: first paint within
a second. Prints tables, and one line of JSON at the end.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import time
from pathlib import Path

import aiohttp
from playwright.async_api import Browser

from bench import store as store_bench
from comparator.findings.cases import dump
from comparator.postgres import Connection, connect
from comparator.settings import StoreSettings
from comparator.store import causes
from comparator.store.comparison_detail import pack
from comparator.store.store import Store
from comparator.store.timeline import packed_timeline
from proxy.rollout import store as rollout_store
from proxy.ui.app import SCREENS, running
from tests.support import postgres
from tests.support.browser import chromium
from tests.support.ui_causes import compared, lost_stamp, settings

FINDINGS = 1_000
SPANS_MORE = ("1h", "6h", "24h", "7d")
FRESH_S = 1.1
"""The UI holds what it has read for a second."""
FILL_SLOTS = """
INSERT INTO shadow.finding_set_slot SELECT held.id, slot, side, 'candidate_25', 1
FROM shadow.finding_set AS held, unnest(ARRAY['candidate', 'legacy']) AS side,
    generate_series($1::timestamptz - interval '13 days', $1::timestamptz, interval '10 minutes') AS slot
WHERE hashtextextended(held.id || slot, 0) % 40 = 0
"""
FILL_DURATIONS = """
INSERT INTO shadow.step_duration
SELECT 'candidate_25', minute, side, role, 180 + n, 3
FROM generate_series(date_trunc('minute', $1::timestamptz - interval '2 days'), $1::timestamptz, interval '1 minute') AS minute,
    unnest(ARRAY['candidate', 'legacy']) AS side, unnest(ARRAY['served', 'mirrored']) AS role, generate_series(0, 39) AS n
"""
FILL_SLOT_DURATIONS = """
INSERT INTO shadow.slot_duration
SELECT slot, side, 180 + n, 60
FROM generate_series(date_bin('10 minutes', $1::timestamptz - interval '13 days', 'epoch'), $1::timestamptz, interval '10 minutes') AS slot,
    unnest(ARRAY['candidate', 'legacy']) AS side, generate_series(0, 39) AS n
"""
FILL_RULE_TOTALS = """
INSERT INTO shadow.rule_total
SELECT day, 'route' || route, 'compare.rules[' || n || ']', 1000, 1
FROM generate_series($1::timestamptz::date - 13, $1::timestamptz::date, interval '1 day') AS day, generate_series(0, 19) AS route,
    generate_series(0, 99) AS n
"""
FILL_KEYS_OF_ALL_ROUTES = (
    "INSERT INTO shadow.key_total SELECT DISTINCT ON (day) day, '', keys FROM shadow.key_total ORDER BY day, route"
)
FILL_STEP_COUNTS = """
INSERT INTO shadow.step_count
SELECT 'candidate_25', minute, 'route' || route, side, 100, 0, 1, 0, 0, 101, 101, 101
FROM generate_series(date_trunc('minute', $1::timestamptz - interval '7 days'), $1::timestamptz, interval '1 minute') AS minute,
    generate_series(0, 19) AS route, unnest(ARRAY['candidate', 'legacy']) AS side
ON CONFLICT DO NOTHING
"""
FILL_EXEMPLARS = "INSERT INTO shadow.finding_set_exemplar SELECT id, md5(id), $1, $2 FROM shadow.finding_set"
FILL_FINDING_EXEMPLARS = """
INSERT INTO shadow.finding_exemplar SELECT id, slot, md5(id || slot), $1, $2 FROM shadow.finding, generate_series(0, 4) AS slot
"""
FILL_TIMELINE = """
UPDATE shadow.comparison SET timeline = $1, finding_set = 's1' WHERE exchange_id = md5('200') RETURNING exchange_id
"""


async def fill(conn: Connection, now: dt.datetime) -> str:
    """Add what the screens read beyond what `bench.store` fills; return the id of an exchange."""
    one = compared("bench", lost_stamp(1), at=now, key=1)
    assert one.case is not None
    body = pack(dump(one.case))
    for statement in (FILL_SLOTS, FILL_STEP_COUNTS, FILL_DURATIONS, FILL_SLOT_DURATIONS, FILL_RULE_TOTALS):
        await conn.execute(statement, now, timeout=900)
    await conn.execute(FILL_KEYS_OF_ALL_ROUTES)
    await conn.execute(FILL_EXEMPLARS, now, body, timeout=900)
    await conn.execute(FILL_FINDING_EXEMPLARS, now, body, timeout=900)
    await causes.refresh_causes(conn, now=now, force=True)
    exchange: str = await conn.fetchval(FILL_TIMELINE, packed_timeline(one.timeline))
    await conn.execute("ANALYZE", timeout=900)
    return exchange


class CpuClock:
    """Adds up the CPU time of this process, which serves the UI, and of the database's processes that work for it."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._seen: dict[int, int] = {}

    async def seconds(self) -> float:
        """Return the CPU time so far; a process that has ended counts as it was seen last."""
        for record in await self._conn.fetch(SELECT_PROCESSES):
            # (a parallel worker may have ended meanwhile)
            with contextlib.suppress(OSError):
                self._seen[record["pid"]] = int(Path(f"/proc/{record['pid']}/schedstat").read_text().split()[0])
        return time.process_time() + sum(self._seen.values()) / 1e9


SELECT_PROCESSES = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def asked(client: aiohttp.ClientSession, path: str, rounds: int, cpu: CpuClock) -> tuple[float, float, float]:
    """Return the median and the greatest time of a request, and the median of its CPU time, in milliseconds."""
    times: list[float] = []
    cpu_times: list[float] = []
    for _ in range(rounds):
        await asyncio.sleep(FRESH_S)
        before, started = await cpu.seconds(), time.perf_counter()
        async with client.get(path) as response:
            text = await response.text()
            assert response.status == 200, text
        times.append(1000 * (time.perf_counter() - started))
        cpu_times.append(1000 * (await cpu.seconds() - before))
    return sorted(times)[rounds // 2], max(times), sorted(cpu_times)[rounds // 2]


async def painted(browser: Browser, url: str, path: str) -> float:
    """Return the time until a browser that has nothing of the UI yet paints a screen, in milliseconds."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = await context.new_page()
        await page.goto(f"{url}{path}")
        paint: float = await page.evaluate(FIRST_PAINT)
        return paint
    finally:
        await context.close()


FIRST_PAINT = """
() => new Promise((resolve) => {
  const found = (entries) => entries.filter((one) => one.name === "first-contentful-paint").forEach((one) => resolve(one.startTime));
  new PerformanceObserver((list) => found(list.getEntries())).observe({type: "paint", buffered: true});
})
"""


async def fill_store(database: str, comparisons: int) -> str:
    """Fill a store up to the present time; return the id of an exchange with an example."""
    now = dt.datetime.now(dt.UTC)
    store_bench.FINDINGS = FINDINGS
    async with Store(database, StoreSettings(timeout_s=60), store_bench.random.Random(1)) as store:
        await store.maintain(now)
    conn = await connect(database, timeout_s=60)
    try:
        await store_bench.fill(conn, comparisons, now)
        # Filling took minutes, and the shortest time range is of the last quarter of an hour.
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        step = (now - midnight) / max(1, comparisons)
        count = (dt.datetime.now(dt.UTC) - now) // step
        await conn.execute(
            store_bench.FILL_COMPARISONS, midnight, step, comparisons, comparisons + count - 1, timeout=900
        )
        await rollout_store.migrate(conn)
        return await fill(conn, dt.datetime.now(dt.UTC))
    finally:
        await conn.close()


async def measure(database: str, exchange: str, rounds: int) -> dict[str, object]:
    """Time the screens over a filled store."""
    conn = await connect(database, timeout_s=60)
    try:
        cause = (await causes.causes(conn, limit=1)).causes[0]
        result: dict[str, object] = {"load": os.getloadavg()[0]}
        paths = [
            *(screen.path for screen in SCREENS if "{" not in screen.path),
            *(
                f"{screen.path}?span={span}"
                for screen in SCREENS
                if screen.has_span and "{" not in screen.path
                for span in SPANS_MORE
            ),
            "/causes?state=all&span=7d",
            f"/causes/{cause.id}",
            f"/causes/{cause.id}?span=7d",
            f"/causes/known?ids={cause.id}",
            "/findings/f1",
            f"/exchanges/{exchange}",
            "/journal?span=7d&verdict=mismatch",
            "/journal?span=7d&status=500",
        ]
        async with running(settings(database)) as url, aiohttp.ClientSession(base_url=url) as client:
            print(f"{'screen':<44}{'median ms':>10}{'max ms':>10}{'CPU ms':>10}")
            cpu = CpuClock(conn)
            for path in paths:
                bare, _, query = path.partition("?")
                document = f"{'/overview' if bare == '/' else bare}.json?{query}"
                median, most, used = await asked(client, document, rounds, cpu)
                print(f"{path[:42]:<44}{median:>10.1f}{most:>10.1f}{used:>10.1f}", flush=True)
                result[path] = {"ms": round(median, 1), "cpu_ms": round(used, 1)}
            print(f"\n{'first paint in Chromium':<44}{'ms':>10}")
            async with chromium() as browser:
                await painted(browser, url, "/healthz")
                for path in ("/", "/rollout", "/causes", f"/causes/{cause.id}", f"/exchanges/{exchange}", "/journal"):
                    first = await painted(browser, url, path)
                    print(f"{path[:42]:<44}{first:>10.0f}", flush=True)
                    result[f"first paint {path}"] = round(first)
    finally:
        await conn.close()
    return result


async def run(dsn: str, comparisons: int, rounds: int) -> dict[str, object]:
    """Fill a store, and time the screens."""
    async with postgres.temporary_database(dsn) as database:
        exchange = await fill_store(database, comparisons)
        return {
            "comparisons": comparisons,
            "findings": FINDINGS,
            **await measure(database, exchange, rounds),
        }


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=5_000_000, help="of today (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of each screen (default: %(default)s)")
    options = parser.parse_args()
    for dsn in postgres.session_cluster():
        print(json.dumps(asyncio.run(run(dsn, options.comparisons, options.rounds))))


if __name__ == "__main__":
    main()
