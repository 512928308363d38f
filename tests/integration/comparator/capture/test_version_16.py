"""A run on PostgreSQL 16: preparation, the drivers, a clone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from comparator.capture.clone import CloneMethod, CloneOptions, clone
from comparator.capture.publication import prepare
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings, Driver
from comparator.capture.verify import DatabasePair, verify
from proxy.demo.embedded_postgres import EmbeddedPostgres
from tests.support import captured_database, postgres

GENERATED = "CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)"
TABLES = (*captured_database.TABLES, "made")


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    with postgres.own_cluster(version=16) as server:
        yield server


async def test_drivers_agree_and_a_clone_is_equal(cluster: EmbeddedPostgres) -> None:
    async with postgres.temporary_database(cluster.dsn()) as dsn, postgres.temporary_database(cluster.dsn()) as shadow:
        conn = await asyncpg.connect(dsn)
        await conn.execute(captured_database.SCHEMA)
        await conn.execute(GENERATED)
        await prepare(conn, CaptureSettings(), TABLES)
        await captured_database.install_trigger_log(dsn)
        async with (
            captured_database.started_capture(dsn, captured_database.settings(Driver.STREAM)) as (stream, from_stream),
            captured_database.started_capture(dsn, captured_database.settings(Driver.SQL)) as (by_sql, from_sql),
            captured_database.started_capture(dsn, captured_database.settings(Driver.TRIGGERS)) as (
                triggers,
                from_triggers,
            ),
        ):
            await conn.execute("INSERT INTO account (address, score) VALUES ('0xa', 1), ('0xb', 2)")
            await conn.execute("INSERT INTO stamp (account_id, provider, note) VALUES (1, 'Ens', repeat('x', 9000))")
            await conn.execute("UPDATE stamp SET provider = 'Google'; DELETE FROM account WHERE address = '0xb'")
            await conn.execute("TRUNCATE event")
            await asyncio.gather(stream.fence(), by_sql.fence(), triggers.fence())
            assert len(from_stream.changes) == 6
            assert from_stream.transactions == from_sql.transactions
            assert from_triggers.changes == from_stream.changes
        await conn.execute("INSERT INTO made (id) VALUES (1)")
        assert await conn.execute("UPDATE made SET id = 2") == "UPDATE 1"
        options = CloneOptions(method=CloneMethod.DUMP, replace=True, programs=cluster.bin_dir)
        await clone(dsn, shadow, options)
        other = await connect(shadow, timeout_s=60)
        one = await connect(dsn, timeout_s=60)
        reports = await verify(DatabasePair(one, other), TABLES)
        assert [report.table for report in reports if not report.equal] == []
        await one.close()
        await other.close()
        await conn.close()


async def test_shadow_on_another_server_and_version_is_equal(
    cluster: EmbeddedPostgres, postgres_dsn: str, tmp_path: Path
) -> None:
    programs = EmbeddedPostgres(tmp_path / "unused").bin_dir
    async with postgres.temporary_database(cluster.dsn()) as dsn, postgres.temporary_database(postgres_dsn) as shadow:
        await captured_database.create_tables(dsn)
        one = await connect(dsn, timeout_s=60)
        await one.execute("CREATE ROLE only_here; ALTER TABLE event OWNER TO only_here")
        await one.execute("INSERT INTO account (address, score) SELECT n, n FROM generate_series(1, 100) n")
        cloned = await clone(dsn, shadow, CloneOptions(replace=True, programs=programs))
        other = await connect(shadow, timeout_s=60)
        assert cloned.method is CloneMethod.DUMP
        assert all(report.equal for report in await verify(DatabasePair(one, other), captured_database.TABLES))
        assert await other.fetchval("SELECT count(*) FROM account") == 100
        await one.execute("DROP OWNED BY only_here; DROP ROLE only_here")
        await one.close()
        await other.close()
