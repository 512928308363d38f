"""Snapshots of a database by CREATE DATABASE ... TEMPLATE on a real server."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from proxy.cli.main import main
from proxy.replay import snapshot
from proxy.replay.errors import SnapshotError
from proxy.replay.snapshot import PREFIX, OpenConnections
from tests.support.postgres import drop_database, with_database

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)


@pytest.fixture
async def name(database: str) -> AsyncIterator[str]:
    """A unique name for a snapshot."""
    made = f"t-{uuid.uuid4().hex[:8]}"
    yield made
    await drop_database(with_database(database, PREFIX + made))


async def execute(dsn: str, sql: str) -> list[asyncpg.Record]:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetch(sql)
    finally:
        await conn.close()


async def test_restore_brings_back_the_rows(database: str, name: str) -> None:
    await execute(database, "CREATE TABLE thing AS SELECT 1 AS id")
    await snapshot.create(database, name, now=NOW)
    await execute(database, "UPDATE thing SET id = 2")
    await snapshot.restore(database, name)
    assert [row["id"] for row in await execute(database, "SELECT id FROM thing")] == [1]


async def test_snapshot_can_be_restored_twice(database: str, name: str) -> None:
    await execute(database, "CREATE TABLE thing AS SELECT 1 AS id")
    await snapshot.create(database, name, now=NOW)
    for _ in range(2):
        await execute(database, "DROP TABLE thing")
        await snapshot.restore(database, name)
    assert len(await execute(database, "SELECT id FROM thing")) == 1


async def test_snapshot_list_has_database_and_time(database: str, name: str) -> None:
    await snapshot.create(database, name, now=NOW)
    (result,) = [item for item in await snapshot.list_all(database) if item.name == name]
    assert (result.database, result.created_at) == (urlsplit(database).path.lstrip("/"), "2026-03-04T05:06:07+00:00")
    assert result.bytes > 1_000_000


async def test_database_with_connections_is_not_copied_and_they_are_named(database: str, name: str) -> None:
    conn = await asyncpg.connect(database, server_settings={"application_name": "the scorer"})
    try:
        with pytest.raises(SnapshotError, match=r"open connections: 1 of the scorer \(.*--wait SECONDS .*--disconnect"):
            await snapshot.create(database, name, now=NOW)
        with pytest.raises(SnapshotError, match=r"open connections after 0\.2 s: 1 of the scorer"):
            await snapshot.create(database, name, now=NOW, connections=OpenConnections(wait_s=0.2))
    finally:
        await conn.close()


async def test_end_of_connections_is_waited_for(database: str, name: str) -> None:
    conn = await asyncpg.connect(database)
    async with asyncio.TaskGroup() as tasks:
        creating = tasks.create_task(
            snapshot.create(database, name, now=NOW, connections=OpenConnections(wait_s=30)), name="create"
        )
        done, _ = await asyncio.wait([creating], timeout=0.3)
        assert not done
        await conn.close()
    assert name in [item.name for item in await snapshot.list_all(database)]


async def test_connections_that_come_again_at_once_are_closed_until_the_copy_is_made(database: str, name: str) -> None:
    """A pool of an instance connects again as soon as its connections are closed."""
    created, connected = asyncio.Event(), asyncio.Event()
    closed = 0

    async def client() -> None:
        nonlocal closed
        while not created.is_set():
            try:
                conn = await asyncpg.connect(database, timeout=20)
                connected.set()
                while not created.is_set():
                    # (a query that is running when its connection is closed, as an instance's are)
                    await conn.execute("SELECT pg_sleep(0.01)")
                await conn.close()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                closed += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(client(), name=f"client-{number}")
        await connected.wait()
        await snapshot.create(database, name, now=NOW, connections=OpenConnections(disconnect=True))
        created.set()
    assert closed > 0
    assert name in [item.name for item in await snapshot.list_all(database)]


async def test_role_that_may_not_close_connections_is_told_so(database: str, name: str) -> None:
    role = f"weak_{name.replace('-', '_')}"
    await execute(database, f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'weak'")
    parts = urlsplit(database)
    try:
        await execute(database, f"ALTER DATABASE {parts.path[1:]} OWNER TO {role}")
        conn = await asyncpg.connect(database)
        weak = parts._replace(netloc=f"{role}:weak@{parts.netloc.rpartition('@')[2]}").geturl()
        try:
            with pytest.raises(SnapshotError, match="cannot close the connections to"):
                await snapshot.create(weak, name, now=NOW, connections=OpenConnections(disconnect=True))
        finally:
            await conn.close()
    finally:
        await execute(database, f"ALTER DATABASE {parts.path[1:]} OWNER TO CURRENT_USER")
        await execute(database, f"DROP ROLE {role}")


async def test_existing_snapshot_is_not_overwritten_and_can_be_dropped(database: str, name: str) -> None:
    await snapshot.create(database, name, now=NOW)
    with pytest.raises(SnapshotError, match="exists"):
        await snapshot.create(database, name, now=NOW)
    await snapshot.drop(database, name)
    assert name not in [item.name for item in await snapshot.list_all(database)]


async def test_missing_snapshot_leaves_the_database(database: str, name: str) -> None:
    await execute(database, "CREATE TABLE thing AS SELECT 1 AS id")
    with pytest.raises(SnapshotError, match="no snapshot"):
        await snapshot.restore(database, name)
    assert len(await execute(database, "SELECT id FROM thing")) == 1


async def test_malformed_snapshot_name_is_refused(database: str) -> None:
    with pytest.raises(SnapshotError, match="a-z"):
        await snapshot.create(database, 'x"; DROP', now=NOW)


def test_command_requires_a_shadow_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    assert main(["snapshot", "--config", str(config), "ls"]) == 2
    assert "databases.shadow is empty" in capsys.readouterr().err


def test_shadow_equal_to_live_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("databases: {live: postgresql://u@h/scores, shadow: postgresql://other@h:5432/scores}")
    assert main(["snapshot", "--config", str(config), "restore", "x"]) == 2
    assert "the same database" in capsys.readouterr().err


def test_command_prints_its_result(
    database: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"databases: {{shadow: '{database}'}}\n")
    codes = [main(["snapshot", action, name, "--config", str(config)]) for action in ("create", "restore", "drop")]
    assert codes == [0, 0, 0]
    assert capsys.readouterr().out.splitlines() == [
        f"created {name}; restore it with: shadow snapshot restore {name}",
        f"restored {name} to the shadow database",
        f"dropped {name}",
    ]
