"""The preflight names what is lacking and the SQL that mends it; preparation never breaks a table's writes."""

import argparse
import asyncio
import io
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from comparator.capture import removal
from comparator.capture import trigger_log as changelog
from comparator.capture import trigger_tags as tags
from comparator.capture.catalog import published_tables, read_catalog
from comparator.capture.errors import (
    CatalogError,
    ChangeLogError,
    LockTimeoutError,
    PublicationError,
    ReplicaIdentityError,
    RightsError,
    SlotRefusedError,
    WritesBrokenError,
)
from comparator.capture.preflight import Check, CheckLevel, judge, read_facts
from comparator.capture.publication import prepare, withdraw
from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind
from comparator.capture.table_shape import ReplicaIdentity
from proxy.cli import capture as command
from proxy.cli.exit_codes import Exit
from proxy.cli.main import main
from tests.support import captured_database
from tests.support.catalogue import catalogue, changed
from tests.support.waiting import until_awaited

PLAIN = CaptureSettings(tables=captured_database.TABLES)
KEYLESS = "CREATE TABLE keyless (a int, b int)"
GENERATED = "CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)"
FORBIDDING = """
CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no DDL by day''; END';
CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('{tag}') EXECUTE FUNCTION forbid()
"""
PLAIN_ROLE = """
DO $$ BEGIN CREATE ROLE plain_role LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE, CREATE ON SCHEMA public TO plain_role; GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain_role
"""


@pytest.fixture
async def conn(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute(captured_database.SCHEMA)
    yield connection
    await connection.close()


async def checks(conn: asyncpg.Connection, settings: CaptureSettings) -> dict[str, Check]:
    return {check.name: check for check in judge(await read_facts(conn, settings), settings)}


async def failing(conn: asyncpg.Connection, settings: CaptureSettings) -> set[str]:
    return {name for name, check in (await checks(conn, settings)).items() if check.level is CheckLevel.FAILED}


async def test_prepared_database_passes_the_checks(conn: asyncpg.Connection) -> None:
    assert await failing(conn, PLAIN) >= {"publication", "captured account"}
    await prepare(conn, PLAIN, captured_database.TABLES)
    assert await failing(conn, PLAIN) == set()


async def test_preparing_again_runs_nothing(conn: asyncpg.Connection) -> None:
    assert len(await prepare(conn, PLAIN, captured_database.TABLES)) == 3 * len(captured_database.TABLES) + 1
    assert await prepare(conn, PLAIN, captured_database.TABLES) == ()


async def test_preparing_fewer_tables_unpublishes_the_others(conn: asyncpg.Connection) -> None:
    await prepare(conn, PLAIN, captured_database.TABLES)
    ran = await prepare(conn, PLAIN, ["event"])
    assert 'ALTER PUBLICATION "shadow" DROP TABLE "public"."account";' in ran
    assert 'ALTER TABLE "public"."account" REPLICA IDENTITY DEFAULT;' in ran
    assert await published_tables(conn, "shadow") == ("event",)


async def test_remedies_of_the_preflight_fix_the_database(conn: asyncpg.Connection) -> None:
    await conn.execute(GENERATED)
    settings = msgspec.structs.replace(PLAIN, tables=(*captured_database.TABLES, "made"))
    for check in (await checks(conn, settings)).values():
        for statement in check.remedy:
            await conn.execute(statement)
    assert await failing(conn, settings) == set()


async def test_table_without_a_key_is_published_with_a_full_identity(conn: asyncpg.Connection) -> None:
    await conn.execute(KEYLESS)
    await prepare(conn, PLAIN, ["keyless"])
    await conn.execute("INSERT INTO keyless VALUES (1, 2)")
    assert await conn.execute("UPDATE keyless SET b = 3") == "UPDATE 1"


async def test_capture_refuses_a_publication_that_breaks_writes(database: str, conn: asyncpg.Connection) -> None:
    await conn.execute(KEYLESS)
    await conn.execute("CREATE PUBLICATION shadow FOR TABLE keyless")
    with pytest.raises(ReplicaIdentityError, match="REPLICA IDENTITY FULL"):
        async with captured_database.started_capture(database, captured_database.settings(Driver.STREAM)):
            pass


async def test_capture_without_a_publication_is_refused(database: str, conn: asyncpg.Connection) -> None:
    with pytest.raises(PublicationError, match="does not exist"):
        async with captured_database.started_capture(database, captured_database.settings(Driver.SQL)):
            pass


async def test_capture_without_a_change_log_is_refused(database: str, conn: asyncpg.Connection) -> None:
    with pytest.raises(ChangeLogError, match="shadow capture install"):
        async with captured_database.started_capture(database, captured_database.settings(Driver.TRIGGERS)):
            pass


async def test_writes_work_after_publishing_a_generated_column(conn: asyncpg.Connection) -> None:
    await conn.execute(GENERATED)
    await prepare(conn, PLAIN, ["made"])
    await conn.execute("INSERT INTO made (id) VALUES (1)")
    assert await conn.execute("UPDATE made SET id = 2") == "UPDATE 1"


async def test_writes_work_after_adding_a_published_generated_column(conn: asyncpg.Connection) -> None:
    await prepare(conn, PLAIN, ["account"])
    await conn.execute(GENERATED)
    await conn.execute("INSERT INTO made (id) VALUES (1)")
    await prepare(conn, PLAIN, ["account", "made"])
    assert await conn.execute("UPDATE made SET id = 2") == "UPDATE 1"


async def test_table_whose_writes_already_fail_is_reported(conn: asyncpg.Connection) -> None:
    await conn.execute(GENERATED)
    await conn.execute("ALTER TABLE made REPLICA IDENTITY FULL")
    await conn.execute("CREATE PUBLICATION shadow FOR TABLE made")
    settings = msgspec.structs.replace(PLAIN, tables=("made",))
    assert (
        "writes of published tables fail because of generated columns: made"
        in (await checks(conn, settings))["publication"].message
    )
    assert await prepare(conn, settings, ["made"]) == (
        'ALTER PUBLICATION "shadow" SET (publish_generated_columns = stored);',
    )
    assert await failing(conn, settings) == set()


async def test_publication_for_all_tables_is_refused(conn: asyncpg.Connection) -> None:
    await conn.execute("CREATE PUBLICATION shadow FOR ALL TABLES")
    with pytest.raises(PublicationError, match="FOR ALL TABLES"):
        await prepare(conn, PLAIN, captured_database.TABLES)
    assert "publication" in await failing(conn, PLAIN)


async def test_missing_table_is_named(conn: asyncpg.Connection) -> None:
    with pytest.raises(CatalogError, match="nowhere"):
        await prepare(conn, PLAIN, ["account", "nowhere"])


async def test_busy_table_raises_lock_timeout(database: str, conn: asyncpg.Connection) -> None:
    other = await asyncpg.connect(database)
    async with other.transaction():
        await other.execute("LOCK TABLE account IN ROW EXCLUSIVE MODE")
        with pytest.raises(LockTimeoutError, match="account"):
            await prepare(conn, msgspec.structs.replace(PLAIN, lock_timeout_ms=50), ["account"])
    await other.close()


async def test_live_writers_do_not_queue_behind_a_table_that_is_being_prepared(
    database: str, conn: asyncpg.Connection
) -> None:
    holder, writer = await asyncpg.connect(database), await asyncpg.connect(database)
    patient = msgspec.structs.replace(PLAIN, lock_timeout_ms=600_000)
    async with asyncio.TaskGroup() as tasks, holder.transaction():
        await holder.execute("LOCK TABLE account IN ROW EXCLUSIVE MODE")
        preparing = tasks.create_task(prepare(conn, patient, ["account"]), name="prepare")
        for number in range(20):
            await writer.execute("INSERT INTO account (address) VALUES ($1)", f"0x{number}", timeout=60)
        assert not preparing.done()
    assert 'ALTER TABLE "public"."account" REPLICA IDENTITY FULL;' in preparing.result()
    await holder.close()
    await writer.close()


@pytest.mark.parametrize(("driver", "tag"), [(Driver.STREAM, "ALTER TABLE"), (Driver.TRIGGERS, "CREATE TRIGGER")])
async def test_statement_that_the_database_forbids_leaves_the_table_as_it_was(
    database: str, conn: asyncpg.Connection, driver: Driver, tag: str
) -> None:
    await conn.execute(FORBIDDING.replace("{tag}", tag))
    before = await catalogue(database)
    settings = CaptureSettings(driver=driver, tables=("account",))
    out = io.StringIO()
    assert await command.check(database, settings, apply=True, out=out) is Exit.NEGATIVE
    assert re.search(r"left as it was: account: .*: no DDL by day", out.getvalue())
    assert changed(before, await catalogue(database)) == {}


WRITER_ROLES = """
DO $$ BEGIN CREATE ROLE writing_app; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA public TO writing_app; GRANT INSERT, DELETE, UPDATE (score) ON account TO writing_app;
"""


async def test_writes_are_tried_as_the_roles_that_write(database: str, conn: asyncpg.Connection) -> None:
    await conn.execute(WRITER_ROLES)
    await conn.execute("REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean) FROM PUBLIC")
    with pytest.raises(
        WritesBrokenError, match=r"as writing_app: permission denied for function pg_logical_emit_message"
    ):
        await tags.install(conn, PLAIN, ["account"])
    assert await conn.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname = 'aa_shadow_tag'") == 0
    await conn.execute("GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean) TO PUBLIC")
    await tags.install(conn, PLAIN, ["account"])
    await conn.execute("SET ROLE writing_app")
    assert await conn.execute("UPDATE account SET score = 1") == "UPDATE 0"
    await conn.execute("RESET ROLE; DROP OWNED BY writing_app")


async def test_change_log_whose_function_may_not_do_its_work_is_not_installed(
    database: str, conn: asyncpg.Connection
) -> None:
    await conn.execute(WRITER_ROLES)
    await conn.execute(
        "ALTER TABLE event OWNER TO writing_app; REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM PUBLIC"
    )
    await conn.execute(
        f'GRANT CREATE ON DATABASE "{urlsplit(database).path.lstrip("/")}" TO writing_app; SET ROLE writing_app'
    )
    settings = CaptureSettings(driver=Driver.TRIGGERS, tables=("event",))
    with pytest.raises(WritesBrokenError, match="permission denied for function pg_current_wal_insert_lsn"):
        await changelog.install(conn, settings, ["event"])
    assert await conn.fetchval("SELECT to_regnamespace('shadow_capture')") is None
    await conn.execute(
        "RESET ROLE; GRANT EXECUTE ON FUNCTION pg_current_wal_insert_lsn() TO PUBLIC; SET ROLE writing_app"
    )
    await changelog.install(conn, settings, ["event"])
    assert await conn.execute("DELETE FROM event") == "DELETE 0"
    await conn.execute("RESET ROLE; ALTER TABLE event OWNER TO CURRENT_USER; DROP OWNED BY writing_app CASCADE")


async def test_removal_restores_what_was_there_before(database: str, conn: asyncpg.Connection) -> None:
    settings = msgspec.structs.replace(PLAIN, slot=Slot(kind=SlotKind.PERSISTENT, name="removed_here"))
    before = await catalogue(database)
    await prepare(conn, settings, captured_database.TABLES)
    await changelog.install(conn, settings, captured_database.TABLES)
    await tags.install(conn, settings, captured_database.TABLES)
    await conn.execute("SELECT pg_create_logical_replication_slot('removed_here', 'pgoutput')")
    assert changed(before, await catalogue(database)) != {}
    assert await command.remove(database, settings, out=io.StringIO()) is Exit.DONE
    assert changed(before, await catalogue(database)) == {}
    assert await removal.remove(conn, settings) == ()


async def test_removal_refuses_while_a_reader_uses_the_slot(database: str, conn: asyncpg.Connection) -> None:
    await prepare(conn, PLAIN, captured_database.TABLES)
    chosen = captured_database.settings(Driver.STREAM, persistent="in_use_here")
    async with captured_database.started_capture(database, chosen):
        with pytest.raises(SlotRefusedError, match="stop the runner"):
            await removal.remove(conn, chosen, release_s=0.0)
        assert await published_tables(conn, "shadow") != ()


ASKED = "SELECT query = $1 AND state = 'idle' FROM pg_stat_activity WHERE pid = $2"


async def test_removal_waits_for_a_reader_that_has_just_stopped(database: str, conn: asyncpg.Connection) -> None:
    await prepare(conn, PLAIN, captured_database.TABLES)
    chosen = captured_database.settings(Driver.STREAM, persistent="in_use_here")
    async with captured_database.started_capture(database, chosen):
        removing = asyncio.ensure_future(removal.remove(conn, chosen, release_s=60.0))
        # Its connection has asked for the slot, and got the answer that a reader uses it.
        observer = await asyncpg.connect(database)
        try:
            await until_awaited(lambda: observer.fetchval(ASKED, removal.SLOT, conn.get_server_pid()))
        finally:
            await observer.close()
        assert not removing.done()
    # The server notices a moment later that its reader has gone.
    await removing
    assert await conn.fetchval("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'in_use_here'") == 0


async def test_publication_of_others_keeps_its_comment_and_tables_keep_their_identity(
    database: str, conn: asyncpg.Connection
) -> None:
    await conn.execute("CREATE PUBLICATION shadow; COMMENT ON PUBLICATION shadow IS 'ask the DBA'")
    await conn.execute("ALTER TABLE event REPLICA IDENTITY NOTHING; ALTER TABLE kinds REPLICA IDENTITY FULL")
    before = await catalogue(database)
    await prepare(conn, PLAIN, captured_database.TABLES)
    await withdraw(conn, PLAIN)
    assert changed(before, await catalogue(database)) == {}


async def test_role_without_ownership_gets_the_statements_for_the_owner(conn: asyncpg.Connection) -> None:
    await conn.execute(PLAIN_ROLE)
    await conn.execute("SET ROLE plain_role")
    with pytest.raises(RightsError) as error:
        await prepare(conn, PLAIN, ["account"])
    assert 'ALTER TABLE "public"."account" REPLICA IDENTITY FULL;' in error.value.remedy
    assert {"rights", "publication"} <= await failing(conn, PLAIN)


async def test_persistent_slot_without_log_limit_is_refused(conn: asyncpg.Connection) -> None:
    settings = msgspec.structs.replace(PLAIN, slot=Slot(kind=SlotKind.PERSISTENT))
    assert "max_slot_wal_keep_size" in (await checks(conn, settings))["slot"].message


async def test_feedback_slower_than_wal_sender_timeout_is_refused(conn: asyncpg.Connection) -> None:
    settings = msgspec.structs.replace(PLAIN, feedback_ms=40_000)
    assert "wal_sender_timeout" in (await checks(conn, settings))["slots"].message


async def test_catalog_has_keys_types_and_references(conn: asyncpg.Connection) -> None:
    await conn.execute(GENERATED)
    catalog = await read_catalog(conn, ["account", "stamp", "made"])
    account, stamp, made = (catalog.tables[name] for name in ("account", "stamp", "made"))
    assert account.primary_key == ("id",)
    assert account.types == {"id": "bigint", "address": "text", "score": "numeric(18,9)"}
    assert account.columns[0].identity == "default"
    assert account.replica_identity is ReplicaIdentity.DEFAULT
    (reference,) = stamp.foreign_keys
    assert (reference.columns, reference.references, reference.referenced) == (("account_id",), "account", ("id",))
    assert reference.deferrable
    assert made.column_names == ("id", "twice")
    assert made.writable == ("id",)


async def test_change_log_is_installed_and_removed(conn: asyncpg.Connection) -> None:
    settings = captured_database.settings(Driver.TRIGGERS)
    assert "change log" in await failing(conn, settings)
    await changelog.install(conn, settings, captured_database.TABLES)
    await changelog.install(conn, settings, captured_database.TABLES)
    assert await failing(conn, settings) == set()
    assert await changelog.logged_tables(conn) == tuple(sorted(captured_database.TABLES))
    await changelog.remove(conn, settings)
    assert await changelog.logged_tables(conn) == ()
    assert await conn.fetchval("SELECT to_regnamespace('shadow_capture')") is None


async def test_nothing_is_logged_without_a_reader(conn: asyncpg.Connection) -> None:
    await changelog.install(conn, captured_database.settings(Driver.TRIGGERS), captured_database.TABLES)
    await conn.execute("INSERT INTO event (data) VALUES ('{}')")
    assert await conn.fetchval("SELECT count(*) FROM shadow_capture.log") == 0


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


async def test_check_command_changes_nothing_by_itself(database: str, conn: asyncpg.Connection) -> None:
    out = io.StringIO()
    (target,) = command.targets_of(arguments("check", "--dsn", database))
    assert await command.check(database, target.settings, apply=False, out=out) == Exit.NEGATIVE
    assert 'ALTER TABLE "public"."account" REPLICA IDENTITY FULL;' in out.getvalue()
    assert await conn.fetchval("SELECT count(*) FROM pg_publication") == 0


async def test_check_command_applies_with_the_option(
    database: str, conn: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    told = await asyncio.to_thread(command.run, arguments("check", "--dsn", database, "--apply"))
    assert told == Exit.DONE
    assert 'ran: ALTER TABLE "public"."account" REPLICA IDENTITY FULL;' in capsys.readouterr().out


async def test_tables_that_nobody_named_and_that_cannot_be_captured_are_listed_with_what_that_means(
    database: str, conn: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await conn.execute(
        "CREATE TABLE price (id int PRIMARY KEY, net int, gross int GENERATED ALWAYS AS (net * 2) VIRTUAL)"
    )
    await conn.execute("CREATE UNLOGGED TABLE cache (id int PRIMARY KEY)")
    assert await asyncio.to_thread(command.run, arguments("check", "--dsn", database, "--apply")) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    for name, reason in (("price", "gross is a virtual generated column"), ("cache", "cache is unlogged")):
        (line,) = [line for line in lines if line.startswith(f"warning  table {name} ")]
        assert "not_capturable" in line
        assert reason in line
        assert "responses of requests that write it are compared, its rows are not" in line
    assert (
        await asyncio.to_thread(command.run, arguments("check", "--dsn", database, "--table", "price")) == Exit.NEGATIVE
    )


async def test_install_and_remove_commands_name_what_they_ran(
    database: str, conn: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(command.run, arguments("install", "--dsn", database)) == Exit.DONE
    assert await asyncio.to_thread(command.run, arguments("remove", "--dsn", database)) == Exit.DONE
    assert "ran: DROP TRIGGER IF EXISTS aa_shadow_tag" in capsys.readouterr().out
    assert await conn.fetchval("SELECT to_regnamespace('shadow_capture')") is None


async def test_command_without_a_database_is_an_error(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    dsn = f"postgresql://postgres@/none?host={tmp_path}"
    assert await asyncio.to_thread(main, ["capture", "check", "--dsn", dsn]) == 3
    assert "FileNotFoundError" in capsys.readouterr().err
