"""Run the steps of a scenario against a running scorer; record the responses and the row changes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
import redis.asyncio

from comparator.exchanges.model import Failed, Response
from comparator.exchanges.row_changes import RowChange
from scorer.db import migrate
from tests.golden import database
from tests.golden.scenario import Scenario, Step
from tests.golden.serving import environment, serving
from tests.golden.upstream import UpstreamStub
from tests.golden.wire import send
from tests.support.postgres import temporary_database
from tests.support.redis import RedisServer

LATE_TABLES = ("account_accountapikeyanalytics",)
"""Tables that are written after the response: the replay waits for their rows."""
LATE_S = 3.0


@dataclass(frozen=True, slots=True)
class StepRun:
    """The responses and row changes of one step. `offset` moves recorded times to this run's clock."""

    outcomes: tuple[Response | Failed, ...]
    changes: tuple[RowChange, ...]
    offset: timedelta
    unexpected_calls: tuple[str, ...] = ()
    communities: Mapping[str | None, str | None] = field(default_factory=dict[str | None, str | None])


@dataclass(frozen=True, slots=True)
class Stage:
    """The shared parts of a run: a database migrated by the scorer, a Redis, and the upstream services."""

    dsn: str
    conn: asyncpg.Connection
    redis: RedisServer
    upstream: UpstreamStub


@asynccontextmanager
async def stage(cluster_dsn: str, redis_server: RedisServer) -> AsyncIterator[Stage]:
    """Create a database with the scorer's migrations and start the upstream services."""
    settings = {"timezone": "UTC", "datestyle": "ISO", "extra_float_digits": "3"}
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(temporary_database(cluster_dsn))
        conn = await asyncpg.connect(dsn, server_settings=settings)
        stack.push_async_callback(conn.close)
        await migrate.migrate(conn)
        upstream = await stack.enter_async_context(UpstreamStub())
        yield Stage(dsn, conn, redis_server, upstream)


async def replay(scenario: Scenario, on: Stage) -> list[StepRun]:
    """Run every step of a scenario in order; patches give an empty StepRun."""
    on.upstream.answer_with(scenario.upstream)
    await database.seed(on.conn, scenario)
    async with redis.asyncio.from_url(on.redis.url) as client:
        await client.flushall()
    async with serving(environment(scenario.settings, database_url=on.dsn, redis_url=on.redis.url)) as port:
        walker = _Walker(on.conn, await database.recorded_tables(on.conn), port, on)
        return [await walker.walk(step) for step in scenario.steps]


class _Walker:
    """One scenario in progress."""

    def __init__(self, conn: asyncpg.Connection, tables: Sequence[str], port: int, on: Stage) -> None:
        self._conn = conn
        self._tables = tables
        self._port = port
        self._on = on

    async def walk(self, step: Step) -> StepRun:
        if step.patches:
            for change in step.patches:
                await self._patch(change)
            return StepRun((), (), timedelta())
        before = await database.snapshot(self._conn, self._tables)
        started = datetime.now(UTC)
        self._on.upstream.unexpected = []
        outcomes = await self._send(step)
        after = await self._settled(step, before)
        return StepRun(
            outcomes=outcomes,
            changes=tuple(database.changes_between(before, after)),
            offset=started - step.started if step.started else timedelta(),
            unexpected_calls=tuple(self._on.upstream.unexpected),
            communities={row["id"]: row["community_id"] for row in after.get("registry_passport", {}).values()},
        )

    async def _send(self, step: Step) -> tuple[Response | Failed, ...]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(send(self._port, call), name=f"call-{index}") for index, call in enumerate(step.calls)
            ]
        return tuple(task.result() for task in tasks)

    async def _settled(self, step: Step, before: database.Snapshot) -> database.Snapshot:
        """Return the rows after the step; wait up to LATE_S for rows that are written after the response."""
        deadline = asyncio.get_running_loop().time() + LATE_S
        while True:
            after = await database.snapshot(self._conn, self._tables)
            missing = any(
                len(after.get(table, {})) - len(before.get(table, {}))
                < len(step.db_changes.get(table, {}).get("inserted", ()))
                for table in LATE_TABLES
            )
            if not missing or asyncio.get_running_loop().time() > deadline:
                return after

    async def _patch(self, change: dict[str, object]) -> None:
        if change.get("redis_flush"):
            async with redis.asyncio.from_url(self._on.redis.url) as client:
                await client.flushall()
            return
        await database.patch(self._conn, change)
