"""Tables of which not every change arrives are named at the start: compared, they would match whatever is written to them."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from comparator.capture import trigger_log
from comparator.capture.capture_gaps import captured_tables, read_gaps
from comparator.capture.publication import prepare
from comparator.capture.settings import CaptureSettings, Driver
from proxy.config.databases import DatabasesSettings
from proxy.errors import SettingsError
from proxy.runner.databases import open_databases
from tests.support import postgres

SCHEMA = """
CREATE TABLE score (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY, v text);
CREATE TABLE visit (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (10);
"""
TABLES = ("score", "visit")
BOTH = (Driver.STREAM, Driver.TRIGGERS)
GAPS = {
    "a forgotten apply": (
        "ALTER PUBLICATION shadow DROP TABLE score",
        "score",
        "not in the publication",
        (Driver.STREAM,),
    ),
    "no publication": ("DROP PUBLICATION shadow", "score", "does not exist", (Driver.STREAM,)),
    "a forgotten trigger": (
        'DROP TRIGGER "!shadow_capture" ON score',
        "score",
        "trigger of the change log",
        (Driver.TRIGGERS,),
    ),
    "a disabled trigger": (
        'ALTER TABLE score DISABLE TRIGGER "!shadow_capture"',
        "score",
        "trigger of the change log",
        (Driver.TRIGGERS,),
    ),
    "dropped and created again": (
        "DROP TABLE score; CREATE TABLE score (id int PRIMARY KEY, v text)",
        "score",
        "",
        BOTH,
    ),
    "swapped": ("ALTER TABLE score RENAME TO score_old; ALTER TABLE other RENAME TO score", "score", "", BOTH),
    "dropped": ("DROP TABLE score", "score", "no such table", BOTH),
    "another identity": ("ALTER TABLE score REPLICA IDENTITY DEFAULT", "score", "FULL is required", (Driver.STREAM,)),
    "a partition that was created later": (
        "CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (10) TO (20)",
        "visit",
        '"visit_2"',
        (Driver.STREAM,),
    ),
    "a child that was created later": ("CREATE TABLE child () INHERITS (score)", "child", "", BOTH),
    "a filter": (
        "ALTER PUBLICATION shadow SET TABLE score WHERE (id > 5), visit",
        "score",
        "row filter",
        (Driver.STREAM,),
    ),
    "deletes that are left out": (
        "ALTER PUBLICATION shadow SET (publish = 'insert, update')",
        "score",
        "leaves out",
        (Driver.STREAM,),
    ),
    "unlogged": (
        "ALTER PUBLICATION shadow DROP TABLE score; ALTER TABLE score SET UNLOGGED",
        "score",
        "unlogged",
        (Driver.STREAM,),
    ),
}


@pytest.fixture
async def pair(postgres_dsn: str) -> AsyncIterator[tuple[str, str]]:
    """Live, prepared for the drivers that read its log and for triggers, and its clone."""
    async with postgres.temporary_database(postgres_dsn) as live:
        await run(live, SCHEMA)
        conn = await asyncpg.connect(live)
        await prepare(conn, CaptureSettings(), TABLES)
        await trigger_log.install(conn, CaptureSettings(), TABLES)
        await conn.close()
        async with postgres.temporary_database(postgres_dsn, template=urlsplit(live).path.lstrip("/")) as shadow:
            yield live, shadow


async def run(dsn: str, statements: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(statements)
    finally:
        await conn.close()


async def opened(pair: tuple[str, str], driver: Driver, *, may_differ: bool = False) -> None:
    databases = DatabasesSettings(live=pair[0], shadow=pair[1])
    capture = CaptureSettings(driver=driver, tables=TABLES)
    async with open_databases(databases, capture, shadow_connections=2, may_differ=may_differ):
        pass


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL, Driver.TRIGGERS])
async def test_databases_that_are_prepared_are_opened(pair: tuple[str, str], driver: Driver) -> None:
    await opened(pair, driver)


@pytest.mark.parametrize("driver", BOTH)
async def test_every_gap_is_found_with_its_reason(pair: tuple[str, str], driver: Driver) -> None:
    conn = await asyncpg.connect(pair[0])
    settings = CaptureSettings(driver=driver)
    assert await read_gaps(conn, settings, TABLES) == {}
    for name, (statements, table, reason, drivers) in GAPS.items():
        taken_back = conn.transaction()
        await taken_back.start()
        await conn.execute(statements)
        gaps = await read_gaps(conn, settings, TABLES)
        await taken_back.rollback()
        assert (table in gaps) == (driver in drivers), name
        assert driver in drivers or gaps == {}, name
        assert reason in gaps.get(table, reason), name
    await conn.close()


CLOSED = [name for name in GAPS if name not in ("dropped", "unlogged", "no publication")]


async def test_preparing_again_closes_the_gaps(pair: tuple[str, str]) -> None:
    conn = await asyncpg.connect(pair[0])
    for name in CLOSED:
        taken_back = conn.transaction()
        await taken_back.start()
        await conn.execute(GAPS[name][0])
        await prepare(conn, CaptureSettings(), TABLES)
        await trigger_log.install(conn, CaptureSettings(), TABLES)
        gaps = [await read_gaps(conn, CaptureSettings(driver=driver), TABLES) for driver in BOTH]
        await taken_back.rollback()
        assert gaps == [{}, {}], name
    await conn.close()


async def test_gap_in_live_is_refused_with_table_and_reason(pair: tuple[str, str]) -> None:
    await run(pair[0], "DROP TABLE score; CREATE TABLE score (id int PRIMARY KEY, v text)")
    for driver in BOTH:
        with pytest.raises(SettingsError, match=r"table score is not captured in databases\.live: it "):
            await opened(pair, driver)


async def test_gap_in_the_shadow_is_refused(pair: tuple[str, str]) -> None:
    await run(pair[1], "ALTER PUBLICATION shadow DROP TABLE score")
    with pytest.raises(
        SettingsError, match=r"table score is not captured in databases\.shadow: it is not in the publication"
    ):
        await opened(pair, Driver.STREAM)


async def test_gap_is_named_where_the_runner_pauses_the_table(
    pair: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    await run(pair[0], "ALTER TABLE score REPLICA IDENTITY DEFAULT")
    await opened(pair, Driver.STREAM, may_differ=True)
    assert [record.message for record in caplog.records if record.message == "table_not_captured"] == [
        "table_not_captured"
    ]
    conn = await asyncpg.connect(pair[0])
    assert await captured_tables(conn, CaptureSettings()) == ("visit",)
    assert await captured_tables(conn, CaptureSettings(driver=Driver.TRIGGERS)) == TABLES
    await conn.close()
