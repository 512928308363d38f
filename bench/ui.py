"""Server time of the web UI's screens over a large store: `make bench-ui`.

Fills a store as `bench.store` does (five million comparisons of today, rollups of 14 days, 1,000 findings, 2,000 sets of findings), with an
example in each set and the counts by slot that runners keep, then asks for each screen, as a page and as JSON, with nothing held from
before. Aim: under 150 ms each. Prints a table, and one line of JSON at the end.
"""

import argparse
import asyncio
import datetime as dt
import json
import time

import aiohttp

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
from tests.support.ui_causes import compared, lost_stamp, settings

FINDINGS = 1_000
FRESH_S = 1.1
"""The UI holds what it has read for a second."""
FILL_SLOTS = """
INSERT INTO shadow.finding_set_slot SELECT held.id, slot, side, 'candidate_25', 1
FROM shadow.finding_set AS held, unnest(ARRAY['candidate', 'legacy']) AS side,
    generate_series($1::timestamptz - interval '13 days', $1::timestamptz, interval '10 minutes') AS slot
WHERE hashtextextended(held.id || slot, 0) % 40 = 0
"""
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
    await conn.execute(FILL_SLOTS, now, timeout=900)
    await conn.execute(FILL_STEP_COUNTS, now, timeout=900)
    await conn.execute(FILL_EXEMPLARS, now, body, timeout=900)
    await conn.execute(FILL_FINDING_EXEMPLARS, now, body, timeout=900)
    await causes.refresh_causes(conn, now=now, force=True)
    exchange: str = await conn.fetchval(FILL_TIMELINE, packed_timeline(one.timeline))
    await conn.execute("ANALYZE", timeout=900)
    return exchange


async def asked(client: aiohttp.ClientSession, path: str, rounds: int) -> tuple[float, float]:
    """Return the median and the greatest time of a request in milliseconds."""
    times: list[float] = []
    for _ in range(rounds):
        await asyncio.sleep(FRESH_S)
        started = time.perf_counter()
        async with client.get(path) as response:
            text = await response.text()
            assert response.status == 200, text
        times.append(1000 * (time.perf_counter() - started))
    return sorted(times)[rounds // 2], max(times)


async def measure(dsn: str, comparisons: int, rounds: int) -> dict[str, object]:
    """Fill a store and time the screens."""
    now = dt.datetime.now(dt.UTC)
    store_bench.FINDINGS = FINDINGS
    async with postgres.temporary_database(dsn) as database:
        async with Store(database, StoreSettings(timeout_s=60), store_bench.random.Random(1)) as store:
            await store.maintain(now)
        conn = await connect(database, timeout_s=60)
        try:
            await store_bench.fill(conn, comparisons, now)
            await rollout_store.migrate(conn)
            exchange = await fill(conn, now)
            cause = (await causes.causes(conn, limit=1)).causes[0]
        finally:
            await conn.close()
        paths = [
            *(screen.path for screen in SCREENS if "{" not in screen.path),
            "/causes?state=all&span=7d",
            f"/causes/{cause.id}",
            f"/causes/known?ids={cause.id}",
            "/findings/f1",
            f"/exchanges/{exchange}",
        ]
        result: dict[str, object] = {"comparisons": comparisons, "findings": FINDINGS}
        print(f"{'screen':<44}{'median ms':>10}{'max ms':>10}")
        async with running(settings(database)) as url, aiohttp.ClientSession(base_url=url) as client:
            for path in paths:
                bare, _, query = path.partition("?")
                document = f"{'/overview' if bare == '/' else bare}.json?{query}"
                median, most = await asked(client, document, rounds)
                print(f"{path[:42]:<44}{median:>10.1f}{most:>10.1f}", flush=True)
                result[path] = round(median, 1)
    return result


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=5_000_000, help="of today (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of each screen (default: %(default)s)")
    options = parser.parse_args()
    for dsn in postgres.session_cluster():
        print(json.dumps(asyncio.run(measure(dsn, options.comparisons, options.rounds))))


if __name__ == "__main__":
    main()
