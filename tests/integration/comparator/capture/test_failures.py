"""What the drivers do when connections are cut, processes killed, servers restarted."""

import asyncio
import signal
import sys
from collections.abc import Iterator

import asyncpg
import pytest

from comparator.capture.errors import SlotLostError
from comparator.capture.settings import CaptureSettings, Driver
from proxy.demo.embedded_postgres import EmbeddedPostgres
from tests.support import captured_database, postgres

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'shadow-capture' AND datname = current_database()
"""
# The pause leaves the processor to the sender that is to let go of the slot; without the loop the capture is back before the drop.
CUT_AND_DROP = """
DO $$
BEGIN
    LOOP
        BEGIN
            PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'dropped' AND active;
            PERFORM pg_drop_replication_slot('dropped');
            EXIT;
        EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.0002);
        END;
    END LOOP;
END
$$
"""
DROP_SLOTS = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()
"""
SLOTS = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
ADDRESSES = "INSERT INTO account (address) SELECT $1 || n FROM generate_series(1, $2::int) n"

KILLED = """
import asyncio, sys
from comparator.capture.settings import CaptureSettings, Driver
from tests.support import captured_database

async def main():
    async with captured_database.started_capture(sys.argv[1], captured_database.settings(Driver(sys.argv[2]))) as (capture, _):
        await capture.fence()
        print("capturing", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def published(database: str) -> str:
    await captured_database.create_tables(database)
    await captured_database.install_trigger_log(database)
    return database


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    with postgres.own_cluster() as server:
        yield server


async def execute(dsn: str, statement: str, *values: object) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(statement, *values)
    finally:
        await conn.close()


async def until(dsn: str, query: str, expected: object) -> None:
    """Ask until the server gives this answer."""
    conn = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(60):
            while await conn.fetchval(query) != expected:
                await asyncio.sleep(0.02)
    finally:
        await conn.close()


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL])
async def test_lost_connection_of_a_temporary_slot_is_one_interruption(published: str, driver: Driver) -> None:
    async with captured_database.started_capture(published, captured_database.settings(driver)) as (capture, collector):
        await execute(published, ADDRESSES, "before", 1)
        await capture.fence()
        await execute(published, CUT)
        await capture.fence()
        await execute(published, ADDRESSES, "after", 1)
        await capture.fence()
        assert [row["address"] for row in collector.rows("account")] == ["before1", "after1"]
        assert capture.interruptions == 1


async def test_lost_connection_of_a_persistent_slot_loses_nothing(published: str) -> None:
    chosen = captured_database.settings(Driver.STREAM, persistent="keeps_all")
    async with captured_database.started_capture(published, chosen) as (capture, collector):
        for turn in range(5):
            await execute(published, ADDRESSES, f"{turn}.", 1)
            await execute(published, CUT)
        await capture.fence()
        assert [row["address"] for row in collector.rows("account")] == [f"{turn}.1" for turn in range(5)]
        assert capture.interruptions == 0
    await execute(published, "SELECT pg_drop_replication_slot('keeps_all')")


async def test_connection_of_fences_is_reopened_without_interruption(published: str) -> None:
    async with captured_database.started_capture(published, captured_database.settings(Driver.STREAM)) as (
        capture,
        collector,
    ):
        for turn in range(3):
            await execute(published, ADDRESSES, f"{turn}.", 1)
            await execute(published, f"{CUT} AND backend_type = 'client backend'")
            await capture.fence()
        assert [row["address"] for row in collector.rows("account")] == [f"{turn}.1" for turn in range(3)]
        assert capture.interruptions == 0


async def test_lost_connection_loses_nothing_of_the_change_log(published: str) -> None:
    async with captured_database.started_capture(published, captured_database.settings(Driver.TRIGGERS)) as (
        capture,
        collector,
    ):
        for turn in range(5):
            await execute(published, ADDRESSES, f"{turn}.", 1)
            await execute(published, CUT)
        await capture.fence()
        assert [row["address"] for row in collector.rows("account")] == [f"{turn}.1" for turn in range(5)]
        assert capture.interruptions == 0


@pytest.mark.parametrize(
    "chosen",
    [captured_database.settings(Driver.STREAM, persistent="under_fire"), captured_database.settings(Driver.TRIGGERS)],
)
async def test_each_change_is_delivered_once_while_connections_are_lost_repeatedly(
    published: str, chosen: CaptureSettings
) -> None:
    pool = await asyncpg.create_pool(published, min_size=8, max_size=8)

    committed: list[str] = []
    done = asyncio.Event()

    async def commit(number: int) -> None:
        while not done.is_set():
            name = f"{number}.{len(committed)}."
            await pool.execute(ADDRESSES, name, 2)
            committed.extend([f"{name}1", f"{name}2"])

    async with captured_database.started_capture(published, chosen) as (capture, collector):
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(commit(number), name=f"committer-{number}")
            for _ in range(6):
                await pool.execute(CUT)
                await capture.fence()
            done.set()
        await capture.fence()
        told = [row["address"] or "" for row in collector.rows("account")]
        assert sorted(told) == sorted(committed)
        assert len(committed) > 100
        assert capture.interruptions == 0
    await pool.close()
    await execute(published, DROP_SLOTS)


async def test_restarted_reader_gets_unconfirmed_transactions(published: str) -> None:
    chosen = captured_database.settings(Driver.STREAM, persistent="restarted")
    async with captured_database.started_capture(published, chosen) as (capture, _):
        await execute(published, ADDRESSES, "confirmed", 1)
        capture.confirm(await capture.fence())
        await execute(published, ADDRESSES, "unconfirmed", 1)
        await capture.fence()
    await execute(published, ADDRESSES, "meanwhile", 1)
    async with captured_database.started_capture(published, chosen) as (capture, collector):
        await capture.fence()
        assert [row["address"] for row in collector.rows("account")] == ["unconfirmed1", "meanwhile1"]
    await execute(published, "SELECT pg_drop_replication_slot('restarted')")


async def test_reader_with_a_position_gets_only_later_transactions(published: str) -> None:
    chosen = captured_database.settings(Driver.STREAM, persistent="positioned")
    async with captured_database.started_capture(published, chosen) as (capture, _):
        await execute(published, ADDRESSES, "handled", 1)
        handled = await capture.fence()
    await execute(published, ADDRESSES, "new", 1)
    collector = captured_database.Collector()
    async with captured_database.open_capture(published, chosen) as capture:
        await capture.start(collector, after=handled)
        await capture.fence()
        assert [row["address"] for row in collector.rows("account")] == ["new1"]
    await execute(published, "SELECT pg_drop_replication_slot('positioned')")


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL])
async def test_no_slot_is_left_when_the_capture_closes(published: str, driver: Driver) -> None:
    async with captured_database.started_capture(published, captured_database.settings(driver)) as (capture, _):
        await capture.fence()
        await until(published, SLOTS, 1)
    await until(published, SLOTS, 0)


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL])
async def test_no_slot_is_left_when_the_process_is_killed(published: str, driver: Driver) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, published, driver.value, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"capturing\n"
    await until(published, SLOTS, 1)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(published, SLOTS, 0)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_persistent_slot_delivers_all_once_across_a_server_restart(cluster: EmbeddedPostgres, mode: str) -> None:
    async with postgres.temporary_database(cluster.dsn()) as dsn:
        await captured_database.create_tables(dsn)
        name = f"survives_{mode}"
        async with captured_database.started_capture(
            dsn, captured_database.settings(Driver.STREAM, persistent=name)
        ) as (capture, collector):
            for turn in range(50):
                await execute(dsn, ADDRESSES, f"a{turn}.", 1)
            capture.confirm(await capture.fence())
            await execute(dsn, ADDRESSES, "b", 1)
            await asyncio.to_thread(cluster.restart, mode=mode)
            await execute(dsn, ADDRESSES, "c", 1)
            await capture.fence()
            expected = [*(f"a{turn}.1" for turn in range(50)), "b1", "c1"]
            assert [row["address"] for row in collector.rows("account")] == expected
            assert capture.interruptions == 0
        await execute(dsn, f"SELECT pg_drop_replication_slot('{name}')")


async def test_transactions_sent_again_after_a_crash_are_dropped(cluster: EmbeddedPostgres) -> None:
    chosen = captured_database.settings(Driver.STREAM, persistent="again")
    async with postgres.temporary_database(cluster.dsn()) as dsn:
        await captured_database.create_tables(dsn)
        collector = captured_database.Collector()
        async with captured_database.open_capture(dsn, chosen) as capture:
            await capture.start(collector)
            await execute(dsn, ADDRESSES, "once", 1)
            handled = await capture.fence()
            capture.confirm(handled)
        await asyncio.to_thread(cluster.restart, mode="immediate")
        async with captured_database.open_capture(dsn, chosen) as capture:
            await capture.start(collector, after=handled)
            await capture.fence()
        assert [row["address"] for row in collector.rows("account")] == ["once1"]
        await execute(dsn, "SELECT pg_drop_replication_slot('again')")


async def test_crash_that_empties_the_change_log_is_an_interruption(cluster: EmbeddedPostgres) -> None:
    async with postgres.temporary_database(cluster.dsn()) as dsn:
        await captured_database.create_tables(dsn)
        await captured_database.install_trigger_log(dsn)
        async with captured_database.started_capture(dsn, captured_database.settings(Driver.TRIGGERS)) as (
            capture,
            collector,
        ):
            await execute(dsn, ADDRESSES, "before", 1)
            await capture.fence()
            await asyncio.to_thread(cluster.restart, mode="immediate")
            await execute(dsn, ADDRESSES, "after", 1)
            await capture.fence()
            assert [row["address"] for row in collector.rows("account")] == ["before1", "after1"]
            assert capture.interruptions == 1


async def test_dropped_persistent_slot_is_an_error_and_not_created_again(published: str) -> None:
    chosen = captured_database.settings(Driver.STREAM, persistent="dropped")
    async with captured_database.started_capture(published, chosen) as (capture, _):
        await capture.fence()
        await execute(published, CUT_AND_DROP)
        with pytest.raises(SlotLostError, match="dropped while it was in use"):
            await capture.fence()
    await until(published, SLOTS, 0)
