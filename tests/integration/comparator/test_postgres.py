"""The PostgreSQL module against a real server: connecting, pools, and the one migrator of schema `shadow`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from comparator.postgres import SCHEMA_LOCK, UNAVAILABLE, close_pool, connect, disconnect, migrate, open_pool
from tests.support.postgres import with_database

TIMEOUT_S = 10.0
APPLIED = "SELECT component, name FROM shadow.applied_migration ORDER BY component, name"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE shadow.first (id int PRIMARY KEY);")
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE shadow.first ADD COLUMN name text;")
    (tmp_path / "notes.txt").write_text("not a migration")
    return tmp_path


@pytest.fixture
async def conn(database: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(database, timeout_s=TIMEOUT_S)
    yield opened
    await disconnect(opened, timeout_s=TIMEOUT_S)


async def applied(conn: asyncpg.Connection) -> list[tuple[str, str]]:
    return [tuple(record) for record in await conn.fetch(APPLIED)]


async def test_migrations_are_applied_in_order_and_once(conn: asyncpg.Connection, folder: Path) -> None:
    assert await migrate(conn, "a", folder) == ("0001_first.sql", "0002_second.sql")
    assert await migrate(conn, "a", folder) == ()
    assert await applied(conn) == [("a", "0001_first.sql"), ("a", "0002_second.sql")]


async def test_later_migration_is_added_to_those_applied(conn: asyncpg.Connection, folder: Path) -> None:
    await migrate(conn, "a", folder)
    (folder / "0003_third.sql").write_text("CREATE TABLE shadow.third (id int);")
    assert await migrate(conn, "a", folder) == ("0003_third.sql",)


async def test_components_have_names_of_their_own(conn: asyncpg.Connection, folder: Path, tmp_path: Path) -> None:
    await migrate(conn, "a", folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "0001_first.sql").write_text("CREATE TABLE shadow.other (id int);")
    assert await migrate(conn, "b", other) == ("0001_first.sql",)


async def test_processes_that_start_together_apply_each_migration_once(database: str, folder: Path) -> None:
    conns = [await connect(database, timeout_s=TIMEOUT_S) for _ in range(5)]
    results = await asyncio.gather(*(migrate(conn, "a", folder) for conn in conns))
    assert sorted(map(len, results)) == [0, 0, 0, 0, 2]
    for conn in conns:
        await disconnect(conn, timeout_s=TIMEOUT_S)


async def test_failing_migration_leaves_nothing_behind(conn: asyncpg.Connection, folder: Path) -> None:
    (folder / "0003_wrong.sql").write_text("CREATE TABLE shadow.first (id int);")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(conn, "a", folder)
    assert await conn.fetchval("SELECT to_regnamespace('shadow')") is None


@pytest.mark.parametrize(
    ("component", "table"), [("comparator", "shadow.migration"), ("rollout", "shadow.rollout_migration")]
)
async def test_migrations_noted_by_an_earlier_version_are_not_applied_again(
    conn: asyncpg.Connection, folder: Path, component: str, table: str
) -> None:
    await conn.execute(
        f"CREATE SCHEMA shadow; CREATE TABLE shadow.first (id int PRIMARY KEY); CREATE TABLE {table} "
        "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());"
        f"INSERT INTO {table} (name) VALUES ('0001_first.sql');"
    )
    assert await migrate(conn, component, folder) == ("0002_second.sql",)
    assert await applied(conn) == [(component, "0001_first.sql"), (component, "0002_second.sql")]


async def test_nothing_to_apply_waits_for_no_lock(database: str, conn: asyncpg.Connection, folder: Path) -> None:
    await migrate(conn, "a", folder)
    other = await connect(database, timeout_s=TIMEOUT_S)
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
        async with asyncio.timeout(TIMEOUT_S):
            assert await migrate(conn, "a", folder) == ()
    await disconnect(other, timeout_s=TIMEOUT_S)


async def test_missing_database_is_unavailable(database: str) -> None:
    with pytest.raises(UNAVAILABLE):
        await connect(with_database(database, "missing"), timeout_s=TIMEOUT_S)
    with pytest.raises(UNAVAILABLE):
        await open_pool(with_database(database, "missing"), size=2, timeout_s=TIMEOUT_S)


async def test_database_that_accepts_no_connections_is_unavailable(database: str, conn: asyncpg.Connection) -> None:
    admin = await connect(with_database(database, "postgres"), timeout_s=TIMEOUT_S)
    name = await conn.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    with pytest.raises(UNAVAILABLE):
        await connect(database, timeout_s=TIMEOUT_S)
    await disconnect(admin, timeout_s=TIMEOUT_S)


async def test_mistakes_in_statements_are_not_unavailability(conn: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UndefinedTableError) as raised:
        await conn.execute("SELECT 1 FROM missing")
    assert not isinstance(raised.value, UNAVAILABLE)


async def test_connection_takes_settings_and_another_database(database: str) -> None:
    conn = await connect(
        database,
        timeout_s=TIMEOUT_S,
        database="postgres",
        server_settings={"application_name": "elsewhere"},
    )
    assert await conn.fetchval("SELECT current_database()") == "postgres"
    assert await conn.fetchval("SHOW application_name") == "elsewhere"
    await disconnect(conn, timeout_s=TIMEOUT_S)
    assert conn.is_closed()


async def test_pool_with_a_borrowed_connection_is_closed_in_time(database: str) -> None:
    pool = await open_pool(database, size=2, timeout_s=TIMEOUT_S)
    await pool.acquire()
    async with asyncio.timeout(TIMEOUT_S):
        await close_pool(pool, timeout_s=0.05)
    with pytest.raises(UNAVAILABLE):
        await pool.acquire()
