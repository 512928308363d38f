"""The database of a scenario: seed it, and take snapshots of all rows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from comparator.exchanges.row_changes import Op, RowChange
from tests.golden.scenario import Row, Scenario
from tests.golden.textual import schema

Image = dict[str, str | None]
Snapshot = dict[str, dict[tuple[str | None, ...], Image]]
"""Every row of every table by primary key, in PostgreSQL's text format."""

UNTOUCHED_TABLES = frozenset({"django_migrations", "django_content_type", "auth_permission"})
"""Tables that seeding does not empty: they describe the schema, and no request reads them."""


async def seed(conn: asyncpg.Connection, scenario: Scenario) -> None:
    """Empty the database, insert the scenario's rows, and set every identity to continue after the largest id.

    One database serves a whole run: emptying it is ten times cheaper than cloning a template of 88 indexed tables.
    Tables are truncated, so that their rows are stored in the order of insertion: after a DELETE, a vacuum frees space
    that later rows fill first, and the recordings were made in order of insertion.

    Raises:
        LookupError: the scenario has rows for a table that the scorer's migrations do not create.
    """
    tables = await recorded_tables(conn)
    absent = sorted(set(scenario.seed) - set(tables))
    if absent:
        raise LookupError(f"the scorer's migrations make no table {', '.join(absent)}")
    async with conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        filled = [row[0] for row in await conn.fetch(_filled_sql(tables))]
        if filled:
            # CASCADE adds the tables that refer to these: PostgreSQL truncates them together or not at all.
            await conn.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
        for table, rows in scenario.seed.items():
            await _insert(conn, table, rows)
        await conn.execute(_identities_sql(tables))


async def patch(conn: asyncpg.Connection, change: Mapping[str, Any]) -> None:
    """Update rows directly: `set` where the columns of `where` are equal."""
    table, types = change["table"], schema()[change["table"]]["columns"]
    wanted, given = list(change["set"].items()), list(change["where"].items())
    assignments = ", ".join(f'"{name}" = ${index}::text::{types[name]}' for index, (name, _) in enumerate(wanted, 1))
    start = len(wanted) + 1
    conditions = " AND ".join(
        f'"{name}" = ${index}::text::{types[name]}' for index, (name, _) in enumerate(given, start)
    )
    values = [_parameter(types[name], value) for name, value in [*wanted, *given]]
    await conn.execute(f"UPDATE {table} SET {assignments} WHERE {conditions}", *values)


async def recorded_tables(conn: asyncpg.Connection) -> list[str]:
    """Return the legacy's tables that this database has and that recordings contain."""
    existing = {row[0] for row in await conn.fetch("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")}
    return [table for table in schema() if table in existing and table not in UNTOUCHED_TABLES]


async def snapshot(conn: asyncpg.Connection, tables: Sequence[str]) -> Snapshot:
    """Read all rows of `tables` in one round trip, in PostgreSQL's text format."""
    found: Snapshot = {}
    for table, values in await conn.fetch(_snapshot_sql(tables)):
        facts = schema()[table]
        columns = facts["columns"]
        row = {name: _as_output(columns[name], value) for name, value in zip(columns, values, strict=True)}
        found.setdefault(table, {})[tuple(row[name] for name in facts["primary_key"])] = row
    return found


def changes_between(before: Snapshot, after: Snapshot) -> list[RowChange]:
    """Return the net difference of two snapshots by table, in order of the primary keys."""
    changes: list[RowChange] = []
    for table in sorted(before.keys() | after.keys()):
        old, new = before.get(table, {}), after.get(table, {})
        changes += [RowChange(table, Op.DELETE, old[key], None) for key in _ordered(old.keys() - new.keys())]
        changes += [
            RowChange(table, Op.UPDATE, old[key], new[key])
            for key in _ordered(old.keys() & new.keys())
            if old[key] != new[key]
        ]
        changes += [RowChange(table, Op.INSERT, None, new[key]) for key in _ordered(new.keys() - old.keys())]
    return changes


def _ordered(keys: set[tuple[str | None, ...]]) -> list[tuple[str | None, ...]]:
    return sorted(keys, key=lambda key: [(len(part or ""), part or "") for part in key])


def _snapshot_sql(tables: Sequence[str]) -> str:
    selects: list[str] = []
    for table in tables:
        columns = ", ".join(f'"{name}"::text' for name in schema()[table]["columns"])
        selects.append(f"SELECT '{table}' AS name, ARRAY[{columns}] AS columns FROM {table}")
    return " UNION ALL ".join(selects)


def _as_output(kind: str, value: str | None) -> str | None:
    if kind == "boolean" and value is not None:
        return value[0]
    return value


async def _insert(conn: asyncpg.Connection, table: str, rows: Sequence[Row]) -> None:
    columns = ", ".join(f'"{name}"' for name in schema()[table]["columns"])
    await conn.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::text::json)",
        json.dumps(rows),
    )


def _filled_sql(tables: Sequence[str]) -> str:
    # Also a table that a request has emptied: its pages are still there, and would be filled in another order.
    return " UNION ALL ".join(f"SELECT '{table}' WHERE pg_relation_size('{table}') > 0" for table in tables)


def _identities_sql(tables: Sequence[str]) -> str:
    """Return SQL that sets every identity to its largest value plus one, to 1 in an empty table."""
    parts = [
        f"setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, FALSE) FROM {table}"
        for table in tables
        for column in schema()[table]["identity"]
    ]
    return " UNION ALL ".join(f"SELECT {part}" for part in parts)


def _parameter(kind: str, value: Any) -> str | None:
    if value is None:
        return None
    return json.dumps(value) if kind == "jsonb" else str(value)
