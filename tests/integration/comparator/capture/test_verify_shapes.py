"""Verification of tables of every type, key and shape: one row that differs is found, and rows that nobody may see are not called equal."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from comparator.capture.capturability import unreadable
from comparator.capture.catalog import read_catalog
from comparator.capture.session import connect
from comparator.capture.verify import DatabasePair, Recheck, RowDifference, RowDifferenceKind, TableReport, verify
from proxy.cli.main import main
from tests.support import postgres

PREAMBLE = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE SCHEMA "s.1"; CREATE SCHEMA other;
"""
SORTED_TYPES = {
    "smallint": ("1", "-2", "3"),
    "bigint": ("1", "9223372036854775807", "3"),
    "numeric": ("1.10", "NaN", "Infinity"),
    "real": ("1.1", "-Infinity", "1e-40"),
    "double precision": ("0.1", "NaN", "1e300"),
    "text": ("Zebra", "apple", 'ä \\ \n,()"'),
    "character varying(9)": ("b", "B", "a b"),
    "character(5)": ("a", "b", "c"),
    "name": ("one", "Two", "three"),
    '"char"': ("a", "b", "c"),
    "bytea": (r"\x00ff", r"\x", r"\x20"),
    "boolean": ("t", "f"),
    "date": ("2026-01-01", "infinity", "0044-03-15 BC"),
    "time": ("12:00", "00:00:00.000001", "24:00"),
    "time with time zone": ("12:00+02", "12:00-11", "00:00+00"),
    "timestamp": ("2026-01-01 00:00:00.000001", "-infinity", "2026-02-01"),
    "timestamp with time zone": ("2026-01-01 00:00:00+05", "infinity", "2026-02-01"),
    "interval": ("1 mon", "-1 day 2 hours", "3 years 00:00:00.5"),
    "uuid": ("00000000-0000-0000-0000-000000000001", "ffffffff-0000-0000-0000-000000000001"),
    "inet": ("10.0.0.1", "::1", "10.0.0.0/8"),
    "macaddr": ("08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "bit(3)": ("101", "111"),
    "bit varying": ("1", "10101", ""),
    "money": ("$1.50", "-$2.00"),
    "pg_lsn": ("0/1", "16/B374D848"),
    "tsvector": ("a b", "c"),
    "jsonb": ('{"b": 1, "a": [1, null]}', "1.0", "null"),
    "integer[]": ("{}", "{1,NULL}", "[0:1]={1,2}"),
    "text[]": ('{"a,b","NULL",NULL}', "{}", "{x}"),
    "int4range": ("[1,5)", "empty", "(,3)"),
    "nummultirange": ("{[1,2),(5,)}", "{}"),
    "mood": ("happy", "sad", "ok"),
    "pair": ('(1,"a,b")', "(,)", "(2,)"),
    "positive": ("1", "2.50"),
}
"""Values by type that has an order, so that it can be a primary key."""
UNSORTED_TYPES = {
    "json": ('{"a":1}', '{"a": 1}'),
    "point": ("(1,2)", "(1.5,-2)"),
    "polygon": ("((0,0),(1,1))", "((0,0),(2,2))"),
    "xid": ("1", "2"),
    "jsonpath": ("$.a", "$.b[*]"),
}
SHAPES = {
    "keyless": "CREATE TABLE keyless (a int, b text); INSERT INTO keyless SELECT n % 7, NULL FROM generate_series(1, 40) n",
    "without_columns": "CREATE TABLE without_columns (); INSERT INTO without_columns DEFAULT VALUES",
    "other.Odd name": 'CREATE TABLE other."Odd name" ("Key A" text, "key b" int, PRIMARY KEY ("Key A", "key b"));'
    """INSERT INTO other."Odd name" SELECT 'k' || n, n FROM generate_series(1, 40) n""",
    '"s.1"."t.x"': 'CREATE TABLE "s.1"."t.x" (id int PRIMARY KEY); INSERT INTO "s.1"."t.x" SELECT generate_series(1, 40)',
    '"say ""x"""': 'CREATE TABLE "say ""x""" (id int PRIMARY KEY); INSERT INTO "say ""x""" SELECT generate_series(1, 40)',
    "parts": "CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
    "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (20); CREATE TABLE parts_2 (v text, id int NOT NULL);"
    "ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (20) TO (99);"
    "INSERT INTO parts SELECT generate_series(1, 40), 'x'",
    "parent": "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (x int) INHERITS (parent);"
    "INSERT INTO parent VALUES (1); INSERT INTO child SELECT n, n FROM generate_series(1, 40) n; INSERT INTO child VALUES (1, 1)",
    "put_off": "CREATE TABLE put_off (id int PRIMARY KEY DEFERRABLE); INSERT INTO put_off VALUES (1), (2)",
    "unlogged": "CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); INSERT INTO unlogged VALUES (1), (2)",
    "generated": "CREATE TABLE generated (id int PRIMARY KEY, n int, t int GENERATED ALWAYS AS (n * 2) STORED);"
    "INSERT INTO generated VALUES (1, 2)",
    "virtual": "CREATE TABLE virtual (id int PRIMARY KEY, n int, t int GENERATED ALWAYS AS (n * 2) VIRTUAL); INSERT INTO virtual VALUES (1, 2)",
    "included": "CREATE TABLE included (id int, v text, PRIMARY KEY (id) INCLUDE (v)); INSERT INTO included VALUES (1, 'a'), (2, 'b')",
    "collated": """CREATE TABLE collated (id text COLLATE "C" PRIMARY KEY); INSERT INTO collated VALUES ('a'), ('B'), ('ä')""",
}


def typed(types: Mapping[str, tuple[str, ...]], prefix: str, key: str) -> dict[str, str]:
    """Tables of one type each, with its values."""
    tables: dict[str, str] = {}
    for number, (name, values) in enumerate(types.items()):
        rows = ", ".join("('{}')".format(value.replace("'", "''")) for value in values)
        tables[f"{prefix}{number}"] = (
            f"CREATE TABLE {prefix}{number} (v {name} {key}); INSERT INTO {prefix}{number} VALUES {rows}"
        )
    return tables


TABLES = {
    **SHAPES,
    **typed(SORTED_TYPES, "keyed_by_", "PRIMARY KEY"),
    **typed({**SORTED_TYPES, **UNSORTED_TYPES}, "holds_", ""),
}


@pytest.fixture
async def pair(postgres_dsn: str) -> AsyncIterator[tuple[str, str]]:
    """Two databases with the same tables and rows."""
    async with postgres.temporary_database(postgres_dsn) as live:
        conn = await asyncpg.connect(live)
        await conn.execute(PREAMBLE)
        for ddl in TABLES.values():
            await conn.execute(ddl)
        await conn.close()
        async with postgres.temporary_database(postgres_dsn, template=urlsplit(live).path.lstrip("/")) as shadow:
            yield live, shadow


async def reports(pair: tuple[str, str], tables: tuple[str, ...], *, rechecks: int = 0) -> dict[str, TableReport]:
    live, shadow = [await connect(dsn, timeout_s=60) for dsn in pair]
    try:
        done = await verify(
            DatabasePair(live, shadow), tables, chunk_rows=7, recheck=Recheck(times=rechecks, pause_s=0.01)
        )
        return {report.table: report for report in done}
    finally:
        await live.close()
        await shadow.close()


async def test_tables_of_every_type_and_shape_are_equal_until_one_row_is_deleted(pair: tuple[str, str]) -> None:
    before = await reports(pair, tuple(TABLES))
    assert {name: report for name, report in before.items() if not report.equal} == {}
    assert set(before) == {*TABLES, "child"}
    assert before["keyless"].rows_live == before["parts"].rows_live == 40
    assert (before["parent"].rows_live, before["child"].rows_live) == (1, 41)
    conn = await asyncpg.connect(pair[1])
    for report in before.values():
        name = report.table if '"' in report.table else ".".join(f'"{part}"' for part in report.table.split("."))
        await conn.execute(
            f"DELETE FROM ONLY {name} WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM ONLY {name} LIMIT 1)"
            if report.table != "parts"
            else "DELETE FROM parts WHERE id = 30"
        )
    await conn.close()
    after = await reports(pair, tuple(TABLES), rechecks=1)
    assert {name: report.differing for name, report in after.items()} == dict.fromkeys(before, 1)
    assert {row.kind for report in after.values() for row in report.first} == {RowDifferenceKind.MISSING}


async def test_command_compares_all_tables_that_hold_rows_by_default(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    conn = await asyncpg.connect(pair[0])
    await conn.execute(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER w FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f () SERVER w"
    )
    await conn.execute("CREATE VIEW v AS SELECT 1; CREATE TEMP TABLE passing (id int)")
    await conn.close()
    assert await asyncio.to_thread(main, ["align", "verify", "--live", pair[0], "--shadow", pair[1]]) == 0
    assert f"{len(TABLES) + 1} of {len(TABLES) + 1} tables are equal" in capsys.readouterr().out


async def test_rows_without_a_key_are_counted(pair: tuple[str, str]) -> None:
    conn = await asyncpg.connect(pair[1])
    await conn.execute("INSERT INTO keyless VALUES (3, NULL), (3, NULL), (9, 'x'); DELETE FROM keyless WHERE a = 0")
    await conn.close()
    report = (await reports(pair, ("keyless",), rechecks=2))["keyless"]
    assert report.differing == 8
    assert set(report.first) == {
        RowDifference(("(3,)",), RowDifferenceKind.EXTRA),
        RowDifference(("(9,x)",), RowDifferenceKind.EXTRA),
        RowDifference(("(0,)",), RowDifferenceKind.MISSING),
    }


@pytest.fixture
async def restricted(pair: tuple[str, str]) -> AsyncIterator[tuple[str, str]]:
    """The same databases, as a role that may read what row level security shows it."""
    role = f"t_reader_{uuid.uuid4().hex[:8]}"
    for dsn in pair:
        conn = await asyncpg.connect(dsn)
        if dsn == pair[0]:
            await conn.execute(f"CREATE ROLE {role} LOGIN")
        await conn.execute(
            f"GRANT SELECT ON parts, put_off, unlogged TO {role}; GRANT SELECT (id) ON generated TO {role}"
        )
        await conn.execute("ALTER TABLE put_off ENABLE ROW LEVEL SECURITY")
        await conn.close()
    as_role = [
        urlunsplit((parts := urlsplit(dsn))._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))
        for dsn in pair
    ]
    yield as_role[0], as_role[1]
    for dsn in pair:
        conn = await asyncpg.connect(dsn)
        await conn.execute(f"DROP OWNED BY {role}")
        if dsn == pair[1]:
            await conn.execute(f"DROP ROLE {role}")
        await conn.close()


async def test_rows_that_the_role_may_not_see_are_never_called_equal(restricted: tuple[str, str]) -> None:
    found = await reports(restricted, ("put_off", "unlogged", "generated", "keyless"))
    assert "row level security hides rows" in found["put_off"].problem
    assert "may not read every column" in found["generated"].problem
    assert "may not read every column" in found["keyless"].problem
    assert (found["unlogged"].equal, found["unlogged"].rows_live) == (True, 2)


async def test_rows_that_the_role_may_not_copy_are_named(restricted: tuple[str, str]) -> None:
    conn = await connect(restricted[0], timeout_s=60)
    shapes = {"put_off": "row level security", "generated": "every column", "unlogged": ""}
    catalog = await read_catalog(conn, shapes)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await conn.fetch("SELECT * FROM put_off")
    await conn.close()
    assert [reason in unreadable(catalog.tables[name]) for name, reason in shapes.items()] == [True] * 3
    assert unreadable(catalog.tables["unlogged"]) == ""


async def test_command_refuses_what_it_cannot_see_and_compares_named_tables(
    restricted: tuple[str, str], pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["--table", '"s.1"."t.x"', "--table", "public.parts", "--table", "other.Odd name"]
    databases = ["--live", pair[0], "--shadow", pair[1]]
    assert await asyncio.to_thread(main, ["align", "verify", *databases, *names]) == 0
    assert "3 of 3 tables are equal" in capsys.readouterr().out
    hidden = ["--live", restricted[0], "--shadow", restricted[1], "--table", "put_off"]
    assert await asyncio.to_thread(main, ["align", "verify", *hidden]) == 1
    assert "0 of 1 tables are equal" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["align", "verify", *databases, "--table", "a.b.c"])
    assert "does not name a table" in capsys.readouterr().err
