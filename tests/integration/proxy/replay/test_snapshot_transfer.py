"""Snapshots on another server, of another version: copied there and back with pg_dump and psql."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from comparator.capture.replication import environment
from proxy.replay import snapshot
from proxy.replay.errors import SnapshotError
from proxy.replay.snapshot_transfer import transfer
from tests.support import postgres

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
SCHEMA = r"""
CREATE TABLE thing (id int PRIMARY KEY, note text);
ALTER TABLE thing REPLICA IDENTITY FULL;
CREATE PUBLICATION p FOR TABLE thing;
INSERT INTO thing SELECT n, E'tab\there, 100 % of ' || n FROM generate_series(1, 2000) n;
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The DSN of a server of an older version."""
    with postgres.own_cluster(version=16) as server:
        yield server.dsn()


async def execute(dsn: str, sql: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(sql)
    finally:
        await conn.close()


async def state(dsn: str) -> tuple[int, str, str, str]:
    """Return number of rows, one row, replica identity and publications."""
    conn = await asyncpg.connect(dsn)
    try:
        row = await conn.fetchrow(
            """SELECT (SELECT count(*) FROM thing) AS count, (SELECT note FROM thing WHERE id = 7) AS note,
                      (SELECT relreplident::text FROM pg_class WHERE relname = 'thing') AS identity,
                      (SELECT string_agg(pubname, ',') FROM pg_publication) AS publications"""
        )
    finally:
        await conn.close()
    assert row is not None
    return tuple(row)


async def test_snapshot_round_trips_through_an_older_server(database: str, elsewhere: str) -> None:
    await execute(database, SCHEMA)
    before = await state(database)
    await snapshot.create(database, "far", now=NOW, server=elsewhere)
    assert [item.name for item in await snapshot.list_all(elsewhere)] == ["far"]
    await execute(database, "DELETE FROM thing; DROP PUBLICATION p")
    await snapshot.restore(database, "far", server=elsewhere)
    assert await state(database) == before == (2000, "tab\there, 100 % of 7", "f", "p")
    await snapshot.drop(elsewhere, "far")
    assert await snapshot.list_all(elsewhere) == []


async def test_failed_transfer_leaves_nothing_on_the_other_server(database: str, elsewhere: str) -> None:
    # Virtual generated columns need version 18.
    await execute(database, "CREATE TABLE thing (id int, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)")
    with pytest.raises(SnapshotError, match=r"psql failed: ERROR: +syntax"):
        await snapshot.create(database, "newer", now=NOW, server=elsewhere)
    assert await snapshot.list_all(elsewhere) == []


async def test_missing_snapshot_on_another_server_leaves_the_database(database: str, elsewhere: str) -> None:
    await execute(database, SCHEMA)
    with pytest.raises(SnapshotError, match="no snapshot named 'other'"):
        await snapshot.restore(database, "other", server=elsewhere)
    assert (await state(database))[0] == 2000


async def test_missing_programs_are_reported_with_what_to_install(database: str, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="postgresql-client"):
        await transfer(environment(database), environment(database), folder=tmp_path, timeout_s=5)


async def test_failed_dump_is_reported_with_its_error(database: str) -> None:
    missing = {**environment(database), "PGDATABASE": "not-there"}
    with pytest.raises(SnapshotError, match=r"pg_dump failed: .*not-there"):
        await transfer(missing, environment(database), folder=None, timeout_s=30)
