"""Convert recorded values to PostgreSQL's text format, in which the comparator compares rows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

Types = Mapping[str, str]


@cache
def schema() -> dict[str, dict[str, Any]]:
    """Return the legacy's tables: columns with their types, primary key, identity columns, references."""
    return json.loads((Path(__file__).parent / "schema.json").read_text())


def row_text(table: str, row: Mapping[str, Any]) -> dict[str, str | None]:
    """Return a recorded row in PostgreSQL's text format."""
    types: Types = schema()[table]["columns"]
    return {column: value_text(types[column], value) for column, value in row.items()}


def value_text(kind: str, value: Any) -> str | None:
    """Convert one value of a column of type `kind` (timezone UTC, datestyle ISO)."""
    if value is None:
        return None
    if kind == "jsonb":
        return json.dumps(value, ensure_ascii=False)
    if kind == "boolean":
        return "t" if value else "f"
    if kind == "timestamp with time zone":
        return time_text(datetime.fromisoformat(value))
    return str(value)


def time_text(when: datetime) -> str:
    """Return a time in PostgreSQL's text format: microseconds without trailing zeros, offset +00."""
    when = when.astimezone(UTC)
    fraction = f".{when.microsecond:06d}".rstrip("0") if when.microsecond else ""
    return f"{when:%Y-%m-%d %H:%M:%S}{fraction}+00"
