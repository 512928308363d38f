"""Every row of a database's system catalogue, to compare the catalogue before and after a command."""

import asyncpg

CATALOGS = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pg_catalog' AND c.relkind = 'r' AND NOT c.relisshared
  AND c.relname NOT IN ('pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject') ORDER BY 1
"""
ROWS = "SELECT (to_jsonb(t) - $1::text[])::text FROM pg_catalog.{} t ORDER BY 1"
COUNTERS = (
    "relpages",
    "reltuples",
    "relallvisible",
    "relallfrozen",
    "relfilenode",
    "relfrozenxid",
    "relminmxid",
    "relhastriggers",
)
"""Columns that count and hint. The last says that a table has, or once had, triggers; VACUUM corrects it."""
SLOTS = "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"


async def catalogue(dsn: str) -> dict[str, list[str]]:
    """Return the rows of every catalogue table, and the replication slots of the database."""
    conn = await asyncpg.connect(dsn)
    try:
        names = [row["relname"] for row in await conn.fetch(CATALOGS)]
        rows = {name: [row[0] for row in await conn.fetch(ROWS.format(name), COUNTERS)] for name in names}
        return {**rows, "slots": [row["slot_name"] for row in await conn.fetch(SLOTS)]}
    finally:
        await conn.close()


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the rows that only one of both has, by catalogue table."""
    differing = {name: sorted(set(before[name]) ^ set(after[name])) for name in before}
    return {name: rows for name, rows in differing.items() if rows}
