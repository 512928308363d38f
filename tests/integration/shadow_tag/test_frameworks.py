"""Real frameworks name their requests in each transaction that writes, as the capture of the write-ahead log reads it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from comparator.capture.settings import Driver
from proxy.demo.children import ChildPlan, python_module, running
from proxy.demo.free_ports import free_ports
from tests.support import captured_database
from tests.support.matrix import sliced
from tests.support.paths import ROOT

KINDS = ("flask", "starlette", "django", "django_asgi")
COMMITTED = {
    "/atomic": [("a", "b")],
    "/autocommit": [("a",), ("b",)],
    "/savepoint": [("a",)],
    "/rollback": [("a",)],
    "/read": [],
    "/stream": [("a", "b")],
}
"""The rows of each transaction that a request commits."""
AT_ONCE = 8


@asynccontextmanager
async def service(kind: str, dsn: str, logs: Path) -> AsyncIterator[str]:
    """Run a service; yield its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = python_module("tests.support.tagged_services", kind, str(port), dsn)
    async with running(ChildPlan(kind, command, {"PYTHONPATH": str(ROOT)}, f"{url}/health", "see its log"), logs) as it:
        await it.ready()
        yield url


async def post(session: aiohttp.ClientSession, url: str, request_id: str) -> None:
    headers = {"X-Request-Id": request_id} if request_id else {}
    async with session.post(url, headers=headers) as response:
        assert (response.status, await response.text()) == (200, "done")


@pytest.mark.parametrize("kind", sliced(KINDS, 3))
async def test_each_committed_transaction_is_named(kind: str, database: str, tmp_path: Path) -> None:
    await captured_database.create_tables(database)
    async with (
        service(kind, database, tmp_path) as url,
        captured_database.started_capture(database, captured_database.settings(Driver.STREAM)) as (capture, collector),
        aiohttp.ClientSession() as session,
    ):
        for path in COMMITTED:
            # All requests of a path at once, so that threads, tasks and pooled connections take turns.
            await asyncio.gather(*(post(session, url + path, f"r{n}{path}") for n in range(AT_ONCE)))
        await post(session, f"{url}/atomic", "")
        await capture.fence()

    rows = [(t.request_id, tuple(str((c.after or {})["address"]) for c in t.changes)) for t in collector.transactions]
    written = [one for one in rows if one[1]]
    expected = [
        (f"r{n}{path}", tuple(f"r{n}{path}-{suffix}" for suffix in suffixes))
        for path, transactions in COMMITTED.items()
        for suffixes in transactions
        for n in range(AT_ONCE)
    ]
    assert sorted(written) == sorted([*expected, ("", ("none-a", "none-b"))])


async def test_the_documented_statement_names_a_transaction_for_each_way_of_capturing(database: str) -> None:
    """The statement for any language, as docs/tagging.md has it."""
    page = (ROOT / "docs" / "tagging.md").read_text(encoding="utf-8")
    (statement,) = {line.strip() for line in page.splitlines() if line.strip().startswith("SELECT pg_logical_emit")}
    await captured_database.create_tables(database)
    await captured_database.install_trigger_log(database)
    conn = await asyncpg.connect(database)
    async with (
        captured_database.started_capture(database, captured_database.settings(Driver.STREAM)) as (stream, from_stream),
        captured_database.started_capture(database, captured_database.settings(Driver.TRIGGERS)) as (
            triggers,
            from_triggers,
        ),
    ):
        async with conn.transaction():
            await conn.execute(statement, "r-1")
            await conn.execute("INSERT INTO account (address) VALUES ('0xa')")
        await stream.fence()
        await triggers.fence()
        assert [t.request_id for t in from_stream.transactions] == ["r-1"]
        assert [t.request_id for t in from_triggers.transactions] == ["r-1"]
    await conn.close()
