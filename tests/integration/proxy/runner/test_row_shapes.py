"""proxy.runner.row_writer and resync on tables of many shapes: by a superuser, and by a role that may not use the replica role."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from comparator.capture.catalog import read_catalog
from comparator.capture.driver import Capture
from comparator.capture.publication import prepare
from comparator.capture.settings import CaptureSettings, Driver
from comparator.capture.table_shape import Catalog
from comparator.capture.write_obstacles import ShadowWriteFacts, read_write_facts, write_obstacles
from comparator.exchanges.row_changes import RowChange
from comparator.postgres import open_pool
from comparator.table_names import table_name
from proxy.runner.databases import USE_REPLICA_ROLE
from proxy.runner.resync import resync
from proxy.runner.row_targets import alignment
from proxy.runner.row_writer import SESSION_OPTIONS, RowWriter
from tests.support import postgres
from tests.support.captured_database import Collector, started_capture
from tests.support.row_shapes import ROW_SHAPES, RowShape

EVERYTHING = "SELECT coalesce(array_agg(t::text ORDER BY t::text), '{}') FROM ONLY {} t"
CAPTURE = CaptureSettings(driver=Driver.STREAM)


@dataclass
class Side:
    """A database, its captured changes, and a session of the application."""

    dsn: str
    conn: asyncpg.Connection
    capture: Capture
    collector: Collector

    async def work(self, shape: RowShape, schema: str) -> list[RowChange]:
        """Do the shape's work in one transaction; return the captured changes."""
        self.collector.transactions.clear()
        async with self.conn.transaction():
            await self.conn.execute(f"SET LOCAL search_path = {schema}, public; {shape.work}")
        await self.capture.fence()
        return self.collector.changes

    async def rows(self, catalog: Catalog) -> dict[str, list[str]]:
        """Return the text of all rows, by table."""
        sql = {name: EVERYTHING.replace("{} t", f"{shape.quoted} t") for name, shape in catalog.tables.items()}
        partitioned = {name for name, shape in catalog.tables.items() if shape.partitions}
        return {
            name: await self.conn.fetchval(text.replace("ONLY ", "") if name in partitioned else text)
            for name, text in sql.items()
        }


@dataclass
class Pair:
    """Live and shadow, which are equal at first, and the shapes in them."""

    live: Side
    shadow: Side
    role: str
    schemas: dict[str, str]


def tables_of(shape: RowShape, schema: str) -> list[str]:
    return [table_name(schema, table) for table in shape.tables]


@pytest.fixture
async def pair(postgres_dsn: str) -> AsyncIterator[Pair]:
    role = f"t_writer_{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(postgres_dsn)
        stack.push_async_callback(admin.close)
        await admin.execute(f"CREATE ROLE {role} LOGIN")
        stack.push_async_callback(admin.execute, f"DROP ROLE {role}")
        live = await stack.enter_async_context(postgres.temporary_database(postgres_dsn))
        conn = await asyncpg.connect(live)
        schemas = {shape.name: f"s{number}" for number, shape in enumerate(ROW_SHAPES)}
        for shape in ROW_SHAPES:
            schema = schemas[shape.name]
            await conn.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}, public; {shape.setup}")
        await conn.execute("SET search_path = public")
        names = [name for shape in ROW_SHAPES for name in tables_of(shape, schemas[shape.name])]
        await prepare(conn, CAPTURE, names)
        for schema in schemas.values():
            await conn.execute(
                f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}"
            )
        await conn.close()
        template = urlsplit(live).path.lstrip("/")
        shadow = await stack.enter_async_context(postgres.temporary_database(postgres_dsn, template=template))
        sides = []
        for dsn in (live, shadow):
            side_conn = await asyncpg.connect(dsn, server_settings=SESSION_OPTIONS)
            stack.push_async_callback(side_conn.close)
            capture, collector = await stack.enter_async_context(started_capture(dsn, CAPTURE))
            sides.append(Side(dsn, side_conn, capture, collector))
        yield Pair(sides[0], sides[1], role, schemas)


async def enter_replica_role(conn: asyncpg.Connection) -> None:
    with suppress(asyncpg.InsufficientPrivilegeError):
        await conn.execute(USE_REPLICA_ROLE)


@asynccontextmanager
async def pool_of(dsn: str, role: str = "") -> AsyncIterator[asyncpg.Pool]:
    parts = urlsplit(dsn)
    netloc = f"{role}@{parts.netloc.rpartition('@')[2]}" if role else parts.netloc
    pool = await open_pool(
        urlunsplit(parts._replace(netloc=netloc)),
        size=1,
        timeout_s=30,
        server_settings=SESSION_OPTIONS,
        init=enter_replica_role,
    )
    yield pool
    await pool.close()


async def facts_of(pool: asyncpg.Pool, catalog: Catalog) -> ShadowWriteFacts:
    async with pool.acquire() as conn:
        return await read_write_facts(conn, catalog)


async def problems(pair: Pair, pool: asyncpg.Pool, shape: RowShape) -> Sequence[str]:
    """Undo the shape's work on the shadow, resync it, and follow it; return what went wrong."""
    schema = pair.schemas[shape.name]
    catalog = await read_catalog(pair.shadow.conn, tables_of(shape, schema))
    facts = await facts_of(pool, catalog)
    obstacles = write_obstacles(facts, catalog)
    if shape.refused and not facts.replica:
        return [] if shape.refused in " ".join(o.problem for o in obstacles) else [f"not refused: {obstacles}"]
    if obstacles:
        return [f"refused: {obstacles}"]
    writer = RowWriter(pool, catalog, fragile=facts.fragile())
    keys = {name: table.primary_key for name, table in catalog.tables.items()}
    result: list[str] = []

    async def check(step: str, *rows: object) -> None:
        left, right = await pair.live.rows(catalog), await pair.shadow.rows(catalog)
        if any(rows) or left != right:
            result.append(f"{step}: {rows or ''} live {left} shadow {right}")

    undone = alignment((), await pair.shadow.work(shape, schema), keys)
    if not undone.unknown:
        written = await writer.apply(undone)
        await check("undo", written.drifted, written.unequal)
        await pair.shadow.work(shape, schema)
    async with pool.acquire() as conn:
        resynced = await resync(pair.live.conn, conn, writer)
    await check("resync", resynced.unequal)
    followed = await writer.apply(alignment(await pair.live.work(shape, schema), (), keys))
    await check("follow", followed.drifted, followed.unequal)
    return result


async def all_problems(pair: Pair, role: str) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    async with pool_of(pair.shadow.dsn, role) as pool:
        for shape in ROW_SHAPES:
            try:
                found[shape.name] = await problems(pair, pool, shape)
            except Exception as error:  # noqa: BLE001 (each shape is judged)
                found[shape.name] = [f"{type(error).__name__}: {error}"]
    return {name: problem for name, problem in found.items() if problem}


async def test_superuser_writes_every_shape(pair: Pair) -> None:
    assert await all_problems(pair, "") == {}


async def test_role_without_the_replica_role_writes_or_refuses_every_shape(pair: Pair) -> None:
    assert await all_problems(pair, pair.role) == {}


async def test_role_that_may_set_the_parameter_writes_every_shape(pair: Pair) -> None:
    await pair.shadow.conn.execute(f"GRANT SET ON PARAMETER session_replication_role TO {pair.role}")
    try:
        assert await all_problems(pair, pair.role) == {}
    finally:
        await pair.shadow.conn.execute(f"REVOKE SET ON PARAMETER session_replication_role FROM {pair.role}")
