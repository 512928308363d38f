"""The drivers against a real server: what is committed comes out, whole, once and in order."""

import asyncio

import asyncpg
import pytest

from comparator.capture.driver import Capture
from comparator.capture.errors import CaptureClosedError, ChangeLogError, FenceTimeoutError, SlotTimeoutError
from comparator.capture.settings import Driver
from comparator.exchanges.row_changes import Op
from tests.support import captured_database

DRIVERS = [Driver.STREAM, Driver.SQL, Driver.TRIGGERS]


@pytest.fixture
async def published(database: str) -> str:
    await captured_database.create_tables(database)
    await captured_database.install_trigger_log(database)
    return database


@pytest.mark.parametrize("driver", DRIVERS)
async def test_fence_tells_a_time_that_is_no_earlier_than_its_call(published: str, driver: Driver) -> None:
    """Also where nothing has been committed since: what ended before the fence did not end by a clock that is ahead."""
    conn = await asyncpg.connect(published)
    async with captured_database.started_capture(published, captured_database.settings(driver)) as (capture, _):
        await conn.execute("INSERT INTO account (id, address, score) VALUES (7, '0xa', 1.5)")
        for _ in range(2):
            called_us = await conn.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            await capture.fence()
            assert capture.clock_us >= called_us
    await conn.close()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_fence_covers_what_was_committed_before_it(published: str, driver: Driver) -> None:
    conn = await asyncpg.connect(published)
    async with captured_database.started_capture(published, captured_database.settings(driver)) as (capture, collector):
        await conn.execute("INSERT INTO account (id, address, score) VALUES (7, '0xa', 1.5)")
        lsn = await capture.fence()
        (change,) = collector.changes
        (transaction,) = collector.transactions
        assert change.op is Op.INSERT
        assert change.after == {"id": "7", "address": "0xa", "score": "1.500000000"}
        assert transaction.end_lsn <= lsn
    await conn.close()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_fences_complete_under_many_committers(published: str, driver: Driver) -> None:
    pool = await asyncpg.create_pool(published, min_size=8, max_size=32)

    async def commit_and_fence(number: int) -> None:
        for turn in range(5):
            await pool.execute("INSERT INTO account (address) VALUES ($1)", f"{number}.{turn}")
            await capture.fence()
            assert f"{number}.{turn}" in {row["address"] for row in collector.rows("account")}

    async with captured_database.started_capture(published, captured_database.settings(driver)) as (capture, collector):
        async with asyncio.TaskGroup() as group:
            for number in range(32):
                group.create_task(commit_and_fence(number), name=f"committer-{number}")
        assert len(collector.transactions) == 160
        ends = [transaction.end_lsn for transaction in collector.transactions]
        assert ends == sorted(set(ends))
    await pool.close()


BULK = "INSERT INTO event (data) SELECT jsonb_build_object('n', n, 'text', repeat('x', 500)) FROM generate_series(1, 5000) n"


async def test_sql_driver_requests_snapshots_to_keep_little_log(published: str) -> None:
    conn = await asyncpg.connect(published)
    async with captured_database.started_capture(published, captured_database.settings(Driver.SQL)) as (
        capture,
        collector,
    ):
        await conn.execute(BULK)
        await capture.fence()
        assert len(collector.changes) == 5000
        async with asyncio.timeout(60):
            while not 0 < capture.wal_retained_bytes < 1_000_000:
                await capture.fence()
    await conn.close()


async def test_log_kept_beyond_the_limit_is_a_warning(published: str, caplog: pytest.LogCaptureFixture) -> None:
    conn = await asyncpg.connect(published)
    async with captured_database.started_capture(
        published, captured_database.settings(Driver.SQL, wal_warn_bytes=1)
    ) as (capture, _):
        await conn.execute(BULK)
        async with asyncio.timeout(60):
            while capture.wal_retained_bytes <= 1:
                await capture.fence()
    assert "capture_wal_retained" in {record.message for record in caplog.records}
    await conn.close()


async def test_blocked_fence_raises_fence_timeout(published: str) -> None:
    conn = await asyncpg.connect(published)
    chosen = captured_database.settings(Driver.TRIGGERS, fence_timeout_ms=200)
    async with captured_database.started_capture(published, chosen) as (capture, _), conn.transaction():
        await conn.execute("LOCK TABLE shadow_capture.log IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(FenceTimeoutError):
            await capture.fence()
    await conn.close()


async def test_second_reader_of_the_change_log_is_refused_while_the_first_runs(published: str) -> None:
    chosen = captured_database.settings(Driver.TRIGGERS, connect_timeout_ms=500)
    async with captured_database.started_capture(published, chosen):
        with pytest.raises(ChangeLogError, match="another reader"):
            async with captured_database.started_capture(published, chosen):
                pass
    async with captured_database.started_capture(published, captured_database.settings(Driver.TRIGGERS)) as (
        capture,
        _,
    ):
        assert await capture.fence() > 0


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL])
async def test_slot_that_cannot_be_created_in_time_raises_slot_timeout(published: str, driver: Driver) -> None:
    conn = await asyncpg.connect(published)
    async with conn.transaction():
        await conn.execute("INSERT INTO account (address) VALUES ('held open')")
        with pytest.raises(SlotTimeoutError, match="did not end"):
            async with captured_database.started_capture(
                published, captured_database.settings(driver, connect_timeout_ms=1000)
            ):
                pass
    await conn.close()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_closed_capture_raises_capture_closed(published: str, driver: Driver) -> None:
    async with captured_database.started_capture(published, captured_database.settings(driver)) as (capture, _):
        await capture.aclose()
        await capture.aclose()
        with pytest.raises(CaptureClosedError):
            await capture.fence()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_callers_error_is_not_wrapped(published: str, driver: Driver) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with captured_database.started_capture(published, captured_database.settings(driver)):
            raise KeyError("mine")


async def test_transaction_that_ends_after_a_column_was_added_is_complete(published: str) -> None:
    conn = await asyncpg.connect(published)
    async with captured_database.started_capture(published, captured_database.settings(Driver.STREAM)) as (
        capture,
        collector,
    ):
        await conn.execute("INSERT INTO event (id, at) VALUES (1, '2026-01-01')")
        await conn.execute("ALTER TABLE event ADD COLUMN more int DEFAULT 5")
        await conn.execute("INSERT INTO event (id, at) VALUES (2, '2026-01-01')")
        await capture.fence()
        assert [row.get("more", "absent") for row in collector.rows("event")] == ["absent", "5"]
    await conn.close()


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL])
async def test_too_large_transaction_is_an_interruption(published: str, driver: Driver) -> None:
    conn = await asyncpg.connect(published)
    async with captured_database.started_capture(
        published, captured_database.settings(driver, transaction_changes_max=100)
    ) as (
        capture,
        collector,
    ):
        await conn.execute(BULK)
        await conn.execute("INSERT INTO account (address) VALUES ('after')")
        await capture.fence()
        assert [change.table for change in collector.changes] == ["account"]
        assert capture.interruptions == 1
    await conn.close()


LEGACY_NAMES = "UPDATE account SET address = 'before' WHERE id = 1"
REDEFINED = [
    "ALTER TABLE account RENAME COLUMN address TO owner",
    "UPDATE account SET owner = 'renamed' WHERE id = 1",
    "ALTER TABLE account DROP COLUMN score, ADD COLUMN email text",
    "UPDATE account SET email = 'e@x' WHERE id = 1",
    "ALTER TABLE account ALTER COLUMN email TYPE integer USING 7",
    "UPDATE account SET email = 8 WHERE id = 1",
    "BEGIN; UPDATE account SET owner = 'o' WHERE id = 1; ALTER TABLE account ADD COLUMN late int DEFAULT 3; UPDATE account SET late = 4; COMMIT",
    """BEGIN; UPDATE account SET late = 5; SAVEPOINT s; ALTER TABLE account RENAME late TO later; UPDATE account SET later = 6;
    ROLLBACK TO s; UPDATE account SET late = 7; COMMIT""",
    """DO $$ BEGIN
    UPDATE account SET late = 8; ALTER TABLE account RENAME late TO last; UPDATE account SET last = 9; END $$""",
    """BEGIN; SET LOCAL track_counts = off; UPDATE account SET last = 10; ALTER TABLE account RENAME last TO final;
    UPDATE account SET final = 11; COMMIT""",
]
ROWS = [
    {"id": "1", "address": "before", "score": "1.500000000"},
    {"id": "1", "owner": "renamed", "score": "1.500000000"},
    {"id": "1", "owner": "renamed", "email": "e@x"},
    {"id": "1", "owner": "renamed", "email": "8"},
    {"id": "1", "owner": "o", "email": "8"},
    *({"id": "1", "owner": "o", "email": "8", "late": late} for late in "4578"),
    *({"id": "1", "owner": "o", "email": "8", "last": last} for last in ("9", "10")),
    {"id": "1", "owner": "o", "email": "8", "final": "11"},
]


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL])
async def test_each_row_is_decoded_by_the_definition_it_was_written_under(published: str, driver: Driver) -> None:
    conn = await asyncpg.connect(published)
    await conn.execute("INSERT INTO account (id, address, score) VALUES (1, '0xa', 1.5)")
    # Nothing is read until the fence, so every row is decoded after every definition has changed.
    chosen = captured_database.settings(driver, poll_ms=60_000)
    async with captured_database.started_capture(published, chosen) as (capture, collector):
        for statement in (LEGACY_NAMES, *REDEFINED):
            await conn.execute(statement)
        await capture.fence()
        assert_redefined(capture, collector)
    await conn.close()


async def test_rows_of_the_change_log_are_decoded_by_the_definition_of_each_read(published: str) -> None:
    conn = await asyncpg.connect(published)
    await conn.execute("INSERT INTO account (id, address, score) VALUES (1, '0xa', 1.5)")
    chosen = captured_database.settings(Driver.TRIGGERS, poll_ms=60_000)
    async with captured_database.started_capture(published, chosen) as (capture, collector):
        for statement in (LEGACY_NAMES, *REDEFINED):
            await conn.execute(statement)
            await capture.fence()
        assert_redefined(capture, collector)
    await conn.close()


def assert_redefined(capture: Capture, collector: captured_database.Collector) -> None:
    assert collector.rows("account") == ROWS
    assert capture.interruptions == 0
    described = [change.description for change in collector.changes]
    assert [d is not None and dict(zip(d.columns, d.types, strict=True))["id"] for d in described] == [(20, -1)] * len(
        ROWS
    )
    assert len({id(d) for d in described}) == 7


SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM event"


@pytest.mark.parametrize(
    ("redefinition", "column"),
    [
        ("ALTER TABLE account RENAME address TO owner", "owner"),
        ("ALTER TABLE account ADD COLUMN owner text", "owner"),
        ("ALTER TABLE account DROP COLUMN score", "address"),
    ],
)
@pytest.mark.parametrize("driver", DRIVERS)
async def test_definition_is_newer_than_the_snapshot_of_a_transaction(
    published: str, driver: Driver, redefinition: str, column: str
) -> None:
    writer, other = await asyncpg.connect(published), await asyncpg.connect(published)
    await other.execute("ALTER TABLE account ALTER COLUMN address DROP NOT NULL")
    chosen = captured_database.settings(driver, poll_ms=60_000)
    async with captured_database.started_capture(published, chosen) as (capture, collector):
        await writer.execute(SNAPSHOT)
        await other.execute(redefinition)
        await writer.execute(f"INSERT INTO account (id, {column}) VALUES (1, 'a'); COMMIT")
        await capture.fence()
        (row,) = collector.rows("account")
        assert row[column] == "a"
        assert capture.interruptions == 0
    await writer.close()
    await other.close()


async def test_rows_that_were_written_before_the_last_redefinition_are_told_by_their_columns(published: str) -> None:
    conn, other = await asyncpg.connect(published), await asyncpg.connect(published)
    chosen = captured_database.settings(Driver.TRIGGERS, poll_ms=60_000)
    async with captured_database.started_capture(published, chosen) as (capture, collector):
        await conn.execute("INSERT INTO account (id, address, score) VALUES (1, 'a', 1)")
        await other.execute("ALTER TABLE account ADD COLUMN email text")
        await conn.execute("UPDATE account SET email = 'e@x'")
        await capture.fence()
        assert collector.rows("account") == [
            {"id": "1", "address": "a", "score": "1.000000000"},
            {"id": "1", "address": "a", "score": "1.000000000", "email": "e@x"},
        ]
        assert capture.interruptions == 0

        await other.execute("ALTER TABLE account ADD COLUMN one text")
        await conn.execute("UPDATE account SET one = '1'")
        await conn.execute("INSERT INTO event (id) VALUES (1)")
        await other.execute("ALTER TABLE account ADD COLUMN two text")
        await capture.fence()
        assert len(collector.rows("account")) == 2
        assert len(collector.rows("event")) == 1
        assert capture.interruptions == 1
    await conn.close()
    await other.close()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_table_that_was_created_again_is_described_by_another_oid(published: str, driver: Driver) -> None:
    conn, other = await asyncpg.connect(published), await asyncpg.connect(published)
    async with captured_database.started_capture(published, captured_database.settings(driver)) as (capture, collector):
        await conn.execute("INSERT INTO event (id) VALUES (1)")
        await conn.execute("DROP TABLE event; CREATE TABLE event (LIKE kinds INCLUDING ALL)")
        await other.execute("ALTER TABLE event REPLICA IDENTITY FULL; ALTER PUBLICATION shadow ADD TABLE event")
        await captured_database.install_trigger_log(published)
        await conn.execute("INSERT INTO event (id, body) VALUES (1, 'b')")
        await capture.fence()
        first, second = (change.description for change in collector.changes)
        assert first is not None
        assert second is not None
        assert first.oid != second.oid
    await conn.close()
    await other.close()


async def test_rows_of_a_partition_attached_later_are_logged_under_the_root(published: str) -> None:
    conn = await asyncpg.connect(published)
    await conn.execute("CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    await conn.execute("CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10)")
    await captured_database.install_trigger_log(published, *captured_database.TABLES, "part")
    async with captured_database.started_capture(published, captured_database.settings(Driver.TRIGGERS)) as (
        capture,
        collector,
    ):
        await conn.execute("CREATE TABLE part_2 (v text, id int NOT NULL)")
        await conn.execute("ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20)")
        await conn.execute("INSERT INTO part VALUES (1, 'a'), (11, 'b'), (2, 'c')")
        await conn.execute("UPDATE part SET id = 12 WHERE id = 1")
        await capture.fence()
        assert [tuple(row[column] for column in ("id", "v")) for row in collector.rows("part")] == [
            ("1", "a"),
            ("11", "b"),
            ("2", "c"),
            ("12", "a"),
        ]
    await conn.close()
