"""The API-key analytics: what is noted, and what happens when it cannot be."""

import asyncio
import json
from datetime import UTC, datetime

import asyncpg
import pytest

from scorer.api.context import SERVICES
from scorer.db import pool
from scorer.db.analytics import TrackedCall
from scorer.settings import RateLimitSettings
from scorer.tracking import Tracker
from tests.support import scoring

A = scoring.address(0xA)
NOTED = """
SELECT path, status_code, error, response, response_skipped, headers, query_params
FROM account_accountapikeyanalytics ORDER BY id
"""


def call(path: str = "/p", **changes) -> TrackedCall:
    known = {
        "api_key_id": "testKey1.",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "path": path,
        "query_params": {},
        "headers": {},
        "status_code": 200,
        "error": None,
        "response": None,
        "response_skipped": True,
    }
    return TrackedCall(**{**known, **changes})


@pytest.fixture
async def tracked(serve, world, migrated):
    return await serve(scoring.settings(migrated, analytics=True))


async def noted(client, world) -> list[asyncpg.Record]:
    await asyncio.wait_for(client.app[SERVICES].tracker.flushed(), 5)
    return await world.conn.fetch(NOTED)


async def test_score_is_noted_with_its_response(tracked, world):
    async with tracked.get(f"/v2/stamps/1/score/{A}", headers=scoring.headers()) as response:
        body = await response.json()
    (row,) = await noted(tracked, world)
    assert json.loads(json.loads(row["response"])) == body


async def test_keys_and_cookies_are_blotted_out(tracked, world):
    secrets = scoring.headers(Cookie="a=b", Authorization="Bearer token")
    async with tracked.get(f"/v2/stamps/{A}?limit=1&limit=2", headers=secrets):
        (row,) = await noted(tracked, world)
    headers = json.loads(row["headers"])
    assert {headers[name] for name in ("X-Api-Key", "Authorization", "Cookie")} == {"***"}
    assert json.loads(row["query_params"]) == {"limit": ["1", "2"]}


async def test_refused_request_is_noted_with_its_error(tracked, world):
    async with tracked.get("/v2/stamps/0x12", headers=scoring.headers()):
        (row,) = await noted(tracked, world)
    assert (row["status_code"], row["error"], row["response_skipped"]) == (400, "Invalid address.", True)


async def test_refused_parameters_are_not_tracked(tracked, world):
    async with (
        tracked.get(f"/v2/stamps/{A}?limit=x", headers=scoring.headers()),
        tracked.get(f"/v2/stamps/{A}", headers={"X-API-Key": "testKey1.wrong"}),
    ):
        assert await noted(tracked, world) == []


async def test_stopping_stores_queued_calls(serve, world, migrated):
    client = await serve(scoring.settings(migrated, analytics=True))
    async with client.get(f"/v2/stamps/{A}", headers=scoring.headers()):
        await client.close()
    assert len(await world.conn.fetch(NOTED)) == 1


async def test_nothing_is_noted_while_it_is_off(client, world):
    async with client.get(f"/v2/stamps/{A}", headers=scoring.headers()):
        assert client.app[SERVICES].tracker is None
    assert await world.conn.fetch(NOTED) == []


@pytest.fixture
async def database(migrated, metrics):
    async with pool.opened(migrated, RateLimitSettings(), metrics, emit_request_id=False) as opened:
        yield opened


async def stopped_after(tracker: Tracker, *calls: TrackedCall) -> None:
    """Record the calls, then let the task store them and end."""
    async with asyncio.TaskGroup() as group:
        for one in calls:
            tracker.record(one)
        group.create_task(tracker.run(), name="analytics")
        await tracker.stop()


async def test_full_queue_drops_the_newest(world, database, metrics):
    await stopped_after(Tracker(database, metrics, queue_max=2), call("/1"), call("/2"), call("/3"))
    assert [row["path"] for row in await world.conn.fetch(NOTED)] == ["/1", "/2"]
    assert metrics.registry.get_sample_value("scorer_analytics_rows_total", {"result": "dropped_full"}) == 1


async def test_calls_that_cannot_be_stored_cost_no_other(world, database, metrics):
    bad = [call("/" + "x" * 1001), call(query_params={"a": ["\x00"]}), call(api_key_id="nobody"), call("/\ud800")]
    await stopped_after(Tracker(database, metrics), call("/1"), *bad, call("/3"))
    assert [row["path"] for row in await world.conn.fetch(NOTED)] == ["/1", "/3"]
    assert metrics.registry.get_sample_value("scorer_analytics_rows_total", {"result": "dropped_failed"}) == 4


@pytest.fixture
async def log(world):
    """Read the commits since: (transaction, kind, request id of a message) of every message and insert."""
    await world.conn.execute("CREATE PUBLICATION noted FOR TABLE account_accountapikeyanalytics")
    await world.conn.execute("SELECT pg_create_logical_replication_slot('noted', 'pgoutput', true)")

    async def read() -> list[tuple[int, str, str]]:
        changes = await world.conn.fetch(
            """SELECT xid::text::bigint, data FROM pg_logical_slot_get_binary_changes(
                   'noted', NULL, NULL, 'proto_version', '1', 'publication_names', 'noted', 'messages', 'true')"""
        )
        kinds = [(row["xid"], chr(row["data"][0]), row["data"]) for row in changes]
        # A message ends with its content, which follows four bytes of length.
        return [(xid, kind, data[-3:].decode() if kind == "M" else "") for xid, kind, data in kinds if kind in "MI"]

    yield read
    await world.conn.execute("DROP PUBLICATION noted")


async def test_call_with_a_request_id_is_stored_under_it(log, migrated, metrics):
    async with pool.opened(migrated, RateLimitSettings(), metrics, emit_request_id=True) as database:
        await stopped_after(Tracker(database, metrics), call("/1", request_id="one"), call("/2", request_id="two"))
    found = await log()
    transactions = sorted({xid for xid, _, _ in found})
    assert [(transactions.index(xid), kind, request_id) for xid, kind, request_id in found] == [
        (0, "M", "one"),
        (0, "I", ""),
        (1, "M", "two"),
        (1, "I", ""),
    ]


async def test_call_of_no_form_does_not_end_the_task(world, database, metrics):
    await stopped_after(Tracker(database, metrics), call(headers={"a": object()}), call("/2", request_id="2"))
    assert [row["path"] for row in await world.conn.fetch(NOTED)] == ["/2"]


async def test_unavailable_database_drops_and_counts(metrics):
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    async with pool.opened(nowhere, RateLimitSettings(acquire_timeout_s=1), metrics, emit_request_id=False) as database:
        await stopped_after(Tracker(database, metrics), call("/1"))
    assert metrics.registry.get_sample_value("scorer_analytics_rows_total", {"result": "dropped_failed"}) == 1
