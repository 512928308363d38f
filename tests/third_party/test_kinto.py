"""A third-party application behind the proxy: Kinto 19.6.0 and 26.5.0 agree about 1,000 requests, and a lost permission is found.

Run by `make third-party`, which sets up Kinto's environments.
"""

import datetime as dt
from collections.abc import Sequence

import asyncpg
import pytest

from comparator.store import queries
from comparator.store.rows import ComparisonRow
from proxy.rollout.accounting import Samples, total
from tests.third_party.kinto_workload import play, share_with
from tests.third_party.kinto_world import LOST_PRINCIPAL, KintoWorld, kinto_world

REQUESTS = 1_000
COMPARED_SHARE_MIN = 0.95


async def comparisons(world: KintoWorld) -> Sequence[ComparisonRow]:
    conn = await asyncpg.connect(world.environment["KINTO_STORE_DSN"])
    try:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        return await queries.comparisons(conn, since=since, limit=10 * REQUESTS)
    finally:
        await conn.close()


def described(rows: Sequence[ComparisonRow]) -> list[str]:
    return [f"{row.exchange_id} {row.route} {row.verdict}: {row.detail}" for row in rows]


def compared(samples: Samples) -> float:
    return total(samples, "shadow_compared_total")


@pytest.mark.parametrize("serving", ["legacy", "candidate"])
async def test_kinto_agrees_with_its_next_version_and_a_lost_permission_is_found(serving: str) -> None:
    async with kinto_world(serve=serving) as world:
        sent = await play(world.url, requests=REQUESTS, seed=1)
        counts = await world.until_compared(sent.total())

        rows = await comparisons(world)
        assert described([row for row in rows if row.verdict in ("mismatch", "failed")]) == []
        assert compared(counts) >= COMPARED_SHARE_MIN * sent.total(), counts["shadow_skipped_total"]
        await world.shadow("align", "verify")

        await share_with(world.url, LOST_PRINCIPAL)
        await world.until_compared(sent.total() + 2)
        (row,) = [row for row in await comparisons(world) if row.verdict == "mismatch"]
        lost = [d for d in row.detail.differences if d.kind == "missing_row" and d.place == "access_control_entries"]
        assert [d.served for d in lost if '"object_id": "/buckets/lost"' in d.served] == [
            f'{{"object_id": "/buckets/lost", "permission": "read", "principal": "{LOST_PRINCIPAL}"}}'
        ]
        # The history has the permissions as they are then, so it differs too.
        assert [d for d in row.detail.differences if LOST_PRINCIPAL not in d.served + d.key] == []
        await world.shadow("align", "verify")
