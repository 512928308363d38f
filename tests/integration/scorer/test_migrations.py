"""The migrated database has exactly the legacy's tables, and a legacy database is taken as it is."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scorer.db import migrate

EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "legacy_schema.json").read_text())

COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.atthasdef
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f', 'c')
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"


@pytest.fixture
async def connection(database: str):
    conn = await asyncpg.connect(database)
    await migrate.migrate(conn)
    yield conn
    await conn.close()


def expected_columns() -> list[tuple[Any, ...]]:
    return [
        (table, name, facts["type"], not facts["nullable"], facts["identity"] is not None, False)
        for table in sorted(EXPECTED)
        for name, facts in EXPECTED[table]["columns"].items()
    ]


def expected_constraints() -> set[tuple[str, str, str]]:
    found = set()
    for table, facts in EXPECTED.items():
        primary = next(index["name"] for index in facts["indexes"] if index["primary"])
        found.add((table, primary, f"PRIMARY KEY ({', '.join(facts['pk'])})"))
        for item in [*facts["unique"], *facts["fks"], *facts["checks"]]:
            found.add((table, item["name"], item["definition"]))
    # Partial unique indexes are listed as constraints there, and are indexes in the catalog.
    return {entry for entry in found if not entry[2].startswith("CREATE")}


async def test_columns_are_those_of_the_legacy(connection):
    rows = await connection.fetch(COLUMNS)
    found = [
        (table, name, kind, notnull, identity == b"d", default)
        for table, name, kind, notnull, identity, default in rows
        if table in EXPECTED
    ]
    assert found == expected_columns()


async def test_constraints_are_those_of_the_legacy(connection):
    rows = await connection.fetch(CONSTRAINTS)
    assert {tuple(row) for row in rows if row[0] in EXPECTED} == expected_constraints()


async def test_indexes_are_those_of_the_legacy(connection):
    rows = await connection.fetch(INDEXES)
    found = {(table, name, text) for table, name, text in rows if table in EXPECTED}
    assert found == {(t, i["name"], i["definition"]) for t, facts in EXPECTED.items() for i in facts["indexes"]}


async def test_second_run_does_nothing(connection):
    assert await migrate.migrate(connection) == []


async def test_legacy_database_is_adopted(database: str):
    conn = await asyncpg.connect(database)
    await conn.execute(migrate.available()[0].sql)
    await migrate.migrate(conn)
    adopted = await conn.fetchval("SELECT adopted FROM scorer_migrations WHERE name LIKE '0001%'")
    await conn.close()
    assert adopted is True


async def test_changed_migration_is_refused(connection):
    await connection.execute("UPDATE scorer_migrations SET digest = 'other' WHERE name LIKE '0001%'")
    with pytest.raises(migrate.MigrationError):
        await migrate.migrate(connection)
