"""Refuse to start when the configured shadow may be live: everything that the runner writes goes to the shadow.

Two mistakes are detected: both DSNs lead to one database, and the DSNs are swapped (or the shadow was not made by
`shadow align clone`). The sequences of a shadow are far ahead of live's:

    live    registry_score_id_seq at 81,204        shadow    registry_score_id_seq at 1,099,511,627,903
"""

import secrets
from collections.abc import Iterator

import asyncpg

from comparator.capture.table_shape import Catalog, TableShape
from comparator.capture.write_obstacles import ShadowWriteFacts, write_obstacles
from proxy.errors import SettingsError

TIMEOUT_S = 10.0
LOCK = "SELECT pg_try_advisory_lock($1)"
UNLOCK = "SELECT pg_advisory_unlock($1)"
SEQUENCES = """
SELECT s.oid::regclass::text AS name
FROM pg_depend d JOIN pg_class s ON s.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND s.relkind = 'S' AND d.refobjid = ANY ($1::text[]::regclass[])
ORDER BY 1
"""


async def refuse_unsafe(live: asyncpg.Pool, shadow: asyncpg.Pool, catalog: Catalog) -> None:
    """Check that writing to the shadow cannot reach live.

    Raises:
        SettingsError: both are one database, or the shadow's sequences are not ahead of live's.
    """
    async with live.acquire(timeout=TIMEOUT_S) as of_live, shadow.acquire(timeout=TIMEOUT_S) as of_shadow:
        if await _one_database(of_live, of_shadow):
            raise SettingsError(
                "databases.live and databases.shadow are the same database: the runner would write to live"
            )
        tables = [shape.quoted for shape in catalog.tables.values()]
        for record in await of_shadow.fetch(SEQUENCES, tables, timeout=TIMEOUT_S):
            shadow_value, live_value = [await _last_value(conn, record["name"]) for conn in (of_shadow, of_live)]
            if shadow_value is not None and live_value is not None and shadow_value <= live_value:
                raise SettingsError(
                    f"databases.shadow: its sequence {record['name']} is not ahead of live's. Either databases.live and "
                    "databases.shadow are swapped, or the shadow was not made by `shadow align clone`"
                )


def refuse_different_tables(live: Catalog, shadow: Catalog) -> None:
    """Check that both databases define the captured tables alike: rows of different tables cannot be compared, nor copied.

    Raises:
        SettingsError: a table is missing in live, or a column, a type or the primary key differs; all of it is named.
    """
    problems = [problem for name, shape in shadow.tables.items() for problem in _of_table(live.tables.get(name), shape)]
    if problems:
        raise SettingsError(
            f"databases.live and databases.shadow differ: {'; '.join(problems)}. Run the same migration on both, or make the "
            "shadow again with `shadow align clone`"
        )


def refuse_unwritable(facts: ShadowWriteFacts, catalog: Catalog) -> None:
    """Check that every captured table of the shadow becomes exactly what the runner writes.

    Raises:
        SettingsError: triggers, rules, privileges or row level security are in the way; all tables are named, with the remedies.
    """
    obstacles = write_obstacles(facts, catalog)
    if obstacles:
        problems = "; ".join(f"table {obstacle.table}: {obstacle.problem}" for obstacle in obstacles)
        remedies = " ".join(dict.fromkeys(statement for obstacle in obstacles for statement in obstacle.remedy))
        raise SettingsError(f"databases.shadow cannot be kept equal to live: {problems}. Run: {remedies}")


def _of_table(live: TableShape | None, shadow: TableShape) -> Iterator[str]:
    if live is None:
        yield f"table {shadow.name} is missing in live"
        return
    for column in dict.fromkeys([*live.types, *shadow.types]):
        here, there = live.types.get(column), shadow.types.get(column)
        if here != there:
            yield f"{shadow.name}.{column} is {here or 'missing'} in live and {there or 'missing'} in the shadow"
    if live.primary_key != shadow.primary_key:
        keys = [", ".join(shape.primary_key) or "none" for shape in (live, shadow)]
        yield f"the primary key of {shadow.name} is {keys[0]} in live and {keys[1]} in the shadow"


async def _one_database(live: asyncpg.pool.PoolConnectionProxy, shadow: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Return whether both sessions use one database: an advisory lock that one holds excludes the other only then."""
    key = secrets.randbits(62)
    await live.fetchval(LOCK, key, timeout=TIMEOUT_S)
    try:
        free = await shadow.fetchval(LOCK, key, timeout=TIMEOUT_S)
        if free:
            await shadow.fetchval(UNLOCK, key, timeout=TIMEOUT_S)
        return not free
    finally:
        await live.fetchval(UNLOCK, key, timeout=TIMEOUT_S)


async def _last_value(conn: asyncpg.pool.PoolConnectionProxy, sequence: str) -> int | None:
    """Return the last value of a sequence; None when it does not exist or cannot be read."""
    try:
        last: int = await conn.fetchval(f"SELECT last_value FROM {sequence}", timeout=TIMEOUT_S)  # noqa: S608 (a regclass)
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return None
    return last
