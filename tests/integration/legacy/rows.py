"""Rows in the format of the recordings, and the changes between two readings."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg

Rows = dict[str, dict[Any, dict[str, Any]]]
MASK = "(varies)"
MISSING = "(missing)"


async def read(conn: asyncpg.Connection, tables: Sequence[str]) -> Rows:
    """Read every row of the tables by primary key: numerics as text, times in UTC ISO format, jsonb as JSON."""
    found: Rows = {}
    for table in tables:
        records = await conn.fetch(f"SELECT * FROM {table}")
        found[table] = {record["id"]: {name: _plain(value) for name, value in record.items()} for record in records}
    return found


def changes(before: Rows, after: Rows) -> dict[str, dict[str, list[Any]]]:
    """Return the net difference in the format of a recording: inserted, updated and deleted rows of each table by primary key."""
    difference = {table: _table_changes(before[table], after[table]) for table in after}
    return {table: kinds for table, kinds in difference.items() if kinds}


def masked(document: Any, pointers: Sequence[str]) -> Any:
    """Return a copy of the document with MASK at each JSON pointer."""
    copy = json.loads(json.dumps(document))
    for pointer in pointers:
        *path, last = [int(part) if part.isdigit() else part for part in pointer.split("/")[1:]]
        place = copy
        for part in path:
            place = place[part]
        place[last] = MASK
    return copy


async def prepare_jsonb(conn: asyncpg.Connection) -> None:
    """Make the connection decode jsonb."""
    await conn.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def _table_changes(before: dict[Any, dict[str, Any]], after: dict[Any, dict[str, Any]]) -> dict[str, list[Any]]:
    kinds = {
        "inserted": [after[key] for key in sorted(after.keys() - before.keys())],
        "updated": [
            {"before": before[key], "after": after[key]}
            for key in sorted(before.keys() & after.keys())
            if before[key] != after[key]
        ],
        "deleted": [before[key] for key in sorted(before.keys() - after.keys())],
    }
    return {kind: rows for kind, rows in kinds.items() if rows}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value


def differences(observed: Any, expected: Any, pointer: str = "") -> list[str]:
    """Describe the differences of two documents in lines; empty if they are equal."""
    if isinstance(observed, dict) and isinstance(expected, dict):
        names = sorted(observed.keys() | expected.keys())
        return [
            line
            for name in names
            for line in differences(observed.get(name, MISSING), expected.get(name, MISSING), f"{pointer}/{name}")
        ]
    if isinstance(observed, list) and isinstance(expected, list) and len(observed) == len(expected):
        pairs = enumerate(zip(observed, expected, strict=True))
        return [line for index, pair in pairs for line in differences(*pair, f"{pointer}/{index}")]
    same = type(observed) is type(expected) and observed == expected
    return [] if same else [f"{pointer}: {observed!r}, recorded {expected!r}"]
