"""The shadow is cloned from live and compared with it whole."""

import argparse
import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from comparator.capture.clone import SHADOW_START, CloneMethod, CloneOptions, ShadowSequence, clone, shadow_start
from comparator.capture.errors import CloneError
from comparator.capture.replication import environment
from comparator.capture.session import connect
from comparator.capture.settings import Driver
from comparator.capture.verify import (
    DatabasePair,
    Recheck,
    RowDifference,
    RowDifferenceKind,
    TableReport,
    differences,
    verify,
)
from proxy.cli import align as align_command
from proxy.cli.exit_codes import Exit
from proxy.cli.main import main
from proxy.demo.embedded_postgres import EmbeddedPostgres
from tests.support import captured_database, postgres

FILL = """
INSERT INTO account (address, score) SELECT '0x' || n, n FROM generate_series(1, 2500) n;
INSERT INTO stamp (account_id, provider, credential, note)
SELECT id, 'Ens', jsonb_build_object('id', id), repeat('x', 3000) FROM account WHERE id <= 300;
CREATE TABLE small (id smallserial PRIMARY KEY, of_int serial, body text);
CREATE TABLE keyless (a int);
CREATE SCHEMA other;
CREATE TABLE other."Odd name" ("Key A" text, "key b" uuid, at timestamptz, PRIMARY KEY ("Key A", "key b"));
INSERT INTO other."Odd name" SELECT n, md5(n::text)::uuid, '2026-01-01' FROM generate_series(1, 50) n
"""
TABLES = (*captured_database.TABLES, "small", "keyless", "other.Odd name")


@pytest.fixture
async def live(database: str) -> str:
    await captured_database.create_tables(database)
    await execute(database, FILL)
    return database


@pytest.fixture
async def shadow(postgres_dsn: str) -> AsyncIterator[str]:
    """DSN of a database that does not exist yet."""
    dsn = postgres.with_database(postgres_dsn, f"t_shadow_{uuid.uuid4().hex[:8]}")
    yield dsn
    await postgres.drop_database(dsn)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    return EmbeddedPostgres(tmp_path / "unused").bin_dir


async def execute(dsn: str, statement: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()


async def compared(
    live: str, shadow: str, *, tables: tuple[str, ...] = TABLES, chunk_rows: int = 1000
) -> dict[str, TableReport]:
    one, other = await connect(live, timeout_s=60), await connect(shadow, timeout_s=5)
    try:
        return {
            report.table: report for report in await verify(DatabasePair(one, other), tables, chunk_rows=chunk_rows)
        }
    finally:
        await one.close()
        await other.close()


def unequal(reports: dict[str, TableReport]) -> dict[str, TableReport]:
    return {name: report for name, report in reports.items() if not report.equal}


async def test_template_clone_is_equal(live: str, shadow: str) -> None:
    cloned = await clone(live, shadow, CloneOptions())
    reports = await compared(live, shadow)
    assert cloned.method is CloneMethod.TEMPLATE
    assert unequal(reports) == {}
    assert reports["account"].rows_live == reports["account"].rows_shadow == 2500


async def test_live_database_in_use_is_dumped(live: str, shadow: str, programs: Path) -> None:
    conn = await asyncpg.connect(live)
    cloned = await clone(live, shadow, CloneOptions(programs=programs))
    assert cloned.method is CloneMethod.DUMP
    assert unequal(await compared(live, shadow)) == {}
    await conn.close()


async def test_template_of_a_database_in_use_is_refused(live: str, shadow: str) -> None:
    conn = await asyncpg.connect(live)
    with pytest.raises(CloneError, match="live has connections"):
        await clone(live, shadow, CloneOptions(method=CloneMethod.TEMPLATE))
    await conn.close()


@pytest.mark.parametrize("method", [CloneMethod.TEMPLATE, CloneMethod.DUMP])
async def test_ids_of_the_shadow_never_equal_those_of_live(
    live: str, shadow: str, programs: Path, method: CloneMethod
) -> None:
    await execute(live, "INSERT INTO small (body) VALUES ('a'), ('b')")
    await clone(live, shadow, CloneOptions(method=method, programs=programs))
    conn = await asyncpg.connect(shadow)
    born = await conn.fetchval("INSERT INTO account (address) VALUES ('new') RETURNING id")
    small = await conn.fetchrow("INSERT INTO small (body) VALUES ('new') RETURNING id, of_int")
    assert born == SHADOW_START
    assert small is not None
    assert tuple(small) == (24576, 1610612736)
    await conn.close()


async def test_clone_has_no_publication_and_no_change_log(live: str, shadow: str) -> None:
    await captured_database.install_trigger_log(live)
    await clone(live, shadow, CloneOptions(method=CloneMethod.TEMPLATE))
    conn = await asyncpg.connect(shadow)
    assert await conn.fetchval("SELECT count(*) FROM pg_publication") == 0
    assert await conn.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    assert await conn.fetchval("SELECT to_regnamespace('shadow_capture')") is None
    await conn.close()


async def test_clone_at_a_slot_misses_nothing_and_sees_nothing_twice(live: str, shadow: str, programs: Path) -> None:
    slot = f"clone_{uuid.uuid4().hex[:8]}"
    stop = asyncio.Event()

    async def write() -> int:
        conn = await asyncpg.connect(live)
        count = 0
        while not stop.is_set():
            count += 1
            await conn.execute("INSERT INTO event (data) VALUES (to_jsonb($1::int))", count)
        await conn.close()
        return count

    async with asyncio.TaskGroup() as group:
        writer = group.create_task(write(), name="writer")
        cloned = await clone(live, shadow, CloneOptions(programs=programs, slot=slot))
        stop.set()
    conn = await asyncpg.connect(shadow)
    copied = {row["data"] for row in await conn.fetch("SELECT data FROM event")}
    await conn.close()
    async with captured_database.started_capture(live, captured_database.settings(Driver.STREAM, persistent=slot)) as (
        capture,
        collector,
    ):
        await capture.fence()
        streamed = {row["data"] for row in collector.rows("event")}
        assert all(transaction.end_lsn > cloned.lsn for transaction in collector.transactions)
    assert copied | streamed == {str(number) for number in range(1, writer.result() + 1)}
    assert copied & streamed == set()
    await execute(live, f"SELECT pg_drop_replication_slot('{slot}')")


async def test_failed_clone_leaves_no_slot(live: str, shadow: str, tmp_path: Path) -> None:
    with pytest.raises(CloneError, match="pg_dump was not found"):
        await clone(live, shadow, CloneOptions(programs=tmp_path, slot="left_over"))
    conn = await asyncpg.connect(live)
    assert await conn.fetchval("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'left_over'") == 0
    await conn.close()


DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE $1 || '%'"


@pytest.mark.parametrize("method", list(CloneMethod))
async def test_failed_clone_leaves_no_database(live: str, shadow: str, tmp_path: Path, method: CloneMethod) -> None:
    name = urlsplit(shadow).path.lstrip("/")
    conn = await asyncpg.connect(live)
    # (a connection, so that nothing can be copied by template, and a folder without pg_dump)
    with pytest.raises(CloneError):
        await clone(live, shadow, CloneOptions(method=method, programs=tmp_path))
    assert await conn.fetch(DATABASES, name) == []
    await conn.close()


async def test_clone_appears_when_it_is_complete(live: str, shadow: str, programs: Path) -> None:
    """Something waits for the database, and reads the last table that is restored as soon as it can connect."""
    conn = await asyncpg.connect(live)
    async with asyncio.TaskGroup() as group:
        group.create_task(clone(live, shadow, CloneOptions(programs=programs)), name="clone")
        waiting = None
        while waiting is None:
            with contextlib.suppress(asyncpg.InvalidCatalogNameError):
                waiting = await asyncpg.connect(shadow)
        rows = await waiting.fetchval("SELECT count(*) FROM account")
        born = await waiting.fetchval("INSERT INTO account (address) VALUES ('new') RETURNING id")
        await waiting.close()
    assert (rows, born) == (2500, SHADOW_START)
    await conn.close()


async def test_existing_shadow_is_replaced_only_with_replace(live: str, shadow: str) -> None:
    await clone(live, shadow, CloneOptions())
    with pytest.raises(CloneError, match="--replace"):
        await clone(live, shadow, CloneOptions())
    await execute(shadow, "DELETE FROM event")
    await clone(live, shadow, CloneOptions(replace=True))
    assert unequal(await compared(live, shadow)) == {}


async def test_live_is_never_replaced_by_itself(live: str) -> None:
    with pytest.raises(CloneError, match="are the same database"):
        await clone(live, live, CloneOptions(replace=True))


async def test_each_row_that_differs_is_named_by_its_key(live: str, shadow: str) -> None:
    await clone(live, shadow, CloneOptions())
    await execute(
        shadow,
        """
        UPDATE account SET score = score + 0.000000001 WHERE id = 1500;
        DELETE FROM account WHERE id = 2500;
        INSERT INTO account (id, address) VALUES (7000, 'extra');
        UPDATE other."Odd name" SET at = at + interval '1 microsecond' WHERE "Key A" = '7'
        """,
    )
    found = unequal(await compared(live, shadow))
    assert set(found) == {"account", "other.Odd name"}
    assert found["account"].first == (
        RowDifference(("1500",), RowDifferenceKind.CHANGED),
        RowDifference(("2500",), RowDifferenceKind.MISSING),
        RowDifference(("7000",), RowDifferenceKind.EXTRA),
    )
    (odd,) = found["other.Odd name"].first
    assert odd == RowDifference(("7", "8f14e45f-ceea-167a-5a36-dedd4bea2543"), RowDifferenceKind.CHANGED)


async def test_only_the_first_rows_are_named_and_all_are_counted(live: str, shadow: str) -> None:
    await clone(live, shadow, CloneOptions())
    await execute(shadow, "UPDATE account SET score = 0")
    report = (await compared(live, shadow))["account"]
    assert report.differing == 2500
    assert [row.key for row in report.first] == [(str(number),) for number in range(1, 21)]


async def test_table_without_a_key_has_differences_and_one_with_other_columns_is_a_problem(
    live: str, shadow: str
) -> None:
    await clone(live, shadow, CloneOptions())
    await execute(shadow, "INSERT INTO keyless VALUES (1); ALTER TABLE event ADD COLUMN more int; DROP TABLE small")
    reports = unequal(await compared(live, shadow))
    assert (reports["keyless"].differing, reports["keyless"].first) == (
        1,
        (RowDifference(("(1)",), RowDifferenceKind.EXTRA),),
    )
    assert {name: report.problem for name, report in reports.items() if report.problem} == {
        "event": "columns differ: more",
        "small": "absent from the shadow",
    }


async def test_row_that_lags_behind_is_not_reported(live: str, shadow: str) -> None:
    await clone(live, shadow, CloneOptions())
    await execute(shadow, "DELETE FROM event; UPDATE account SET score = 0 WHERE id = 1")
    one, other = await connect(live, timeout_s=60), await connect(shadow, timeout_s=5)
    mended = "UPDATE account SET score = 1 WHERE id = 1"
    async with asyncio.TaskGroup() as group:
        recheck = Recheck(times=3, pause_s=0.5)
        checking = group.create_task(verify(DatabasePair(one, other), ["account"], recheck=recheck), name="verify")
        group.create_task(execute(shadow, mended), name="mend")
    assert [report.equal for report in checking.result()] == [True]
    await one.close()
    await other.close()


def test_sequence_near_its_end_advances_by_half_of_the_rest() -> None:
    assert shadow_start(ShadowSequence("s", 2**31 - 1, 2_000_000_000)) == 2_073_741_823
    assert shadow_start(ShadowSequence("s", 2**63 - 1, 2**41)) > 2**41


def test_differences_mirror_when_the_sides_are_swapped() -> None:
    live, shadow = {("1",): "a", ("2",): "b"}, {("2",): "c", ("3",): "d"}
    swapped = {RowDifferenceKind.MISSING: RowDifferenceKind.EXTRA, RowDifferenceKind.EXTRA: RowDifferenceKind.MISSING}
    forth = {(one.key, one.kind) for one in differences(live, shadow)}
    back = {(one.key, swapped.get(one.kind, one.kind)) for one in differences(shadow, live)}
    assert forth == back
    assert differences(live, live) == []


async def test_commands_clone_and_verify(live: str, shadow: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    align_command.configure(parser)
    cloned = parser.parse_args(["clone", "--live", live, "--shadow", shadow])
    assert await asyncio.to_thread(align_command.run, cloned) == Exit.DONE
    asked = parser.parse_args(["verify", "--live", live, "--shadow", shadow, "--rechecks", "0"])
    assert await asyncio.to_thread(align_command.run, asked) == Exit.DONE
    await execute(shadow, "DELETE FROM account WHERE id = 2000")
    assert await asyncio.to_thread(align_command.run, asked) == Exit.NEGATIVE
    said = capsys.readouterr().out
    assert "cloned by template" in said
    assert "missing 2000" in said
    assert "6 of 7 tables are equal" in said


async def test_verifying_a_database_without_tables_fails(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["align", "verify", "--live", database, "--shadow", database]) == 1
    assert "live has no tables" in capsys.readouterr().out


async def test_programs_get_what_the_dsn_leaves_open_from_the_environment(
    postgres_dsn: str, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = await postgres.create_database(postgres_dsn), f"t_{uuid.uuid4().hex[:12]}"
    for name, value in environment(source).items():
        monkeypatch.setenv(name, value)
    live, shadow = (f"postgresql:///{urlsplit(dsn).path.lstrip('/')}" for dsn in (source, f"//x/{target}"))
    conn = await asyncpg.connect(live)  # (so that nothing can be copied by template)
    try:
        await conn.execute("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)")
        await clone(live, shadow, CloneOptions(method=CloneMethod.DUMP, programs=programs))
        copied = await asyncpg.connect(shadow)
        assert await copied.fetchval("SELECT count(*) FROM item") == 1
        await copied.close()
    finally:
        await conn.close()
        for database in (source, postgres.with_database(postgres_dsn, target)):
            await postgres.drop_database(database)
