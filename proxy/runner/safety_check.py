"""Refuses to begin when what is called the shadow may be live: everything the runner writes goes to the shadow.

Two mistakes are looked for: both addresses lead to one database, and the addresses are exchanged (or the shadow was not made
by `shadow align clone`). A shadow is known by its sequences, which stand far ahead of live's.
"""

import secrets

import asyncpg

from comparator.capture.table_shape import Catalog
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
    """Make sure that writing to the shadow cannot reach live.

    Raises:
        SettingsError: both are one database, or the shadow's sequences are not ahead of live's.
    """
    async with live.acquire(timeout=TIMEOUT_S) as of_live, shadow.acquire(timeout=TIMEOUT_S) as of_shadow:
        if await _one_database(of_live, of_shadow):
            raise SettingsError("databases.live and databases.shadow are the same database: live would be written to")
        tables = [shape.quoted for shape in catalog.tables.values()]
        for record in await of_shadow.fetch(SEQUENCES, tables, timeout=TIMEOUT_S):
            ours, theirs = [await _last(conn, record["name"]) for conn in (of_shadow, of_live)]
            if ours is not None and theirs is not None and ours <= theirs:
                raise SettingsError(
                    f"databases.shadow: its sequence {record['name']} is not ahead of live's. Either databases.live and "
                    "databases.shadow are exchanged, or the shadow was not made by `shadow align clone`"
                )


async def _one_database(live: asyncpg.pool.PoolConnectionProxy, shadow: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Whether a lock that one session holds is in the other's way: such locks are of one database."""
    key = secrets.randbits(62)
    await live.fetchval(LOCK, key, timeout=TIMEOUT_S)
    try:
        free = await shadow.fetchval(LOCK, key, timeout=TIMEOUT_S)
        if free:
            await shadow.fetchval(UNLOCK, key, timeout=TIMEOUT_S)
        return not free
    finally:
        await live.fetchval(UNLOCK, key, timeout=TIMEOUT_S)


async def _last(conn: asyncpg.pool.PoolConnectionProxy, sequence: str) -> int | None:
    """Where a sequence stands; None when it is not there, or not ours to read."""
    try:
        last: int = await conn.fetchval(f"SELECT last_value FROM {sequence}", timeout=TIMEOUT_S)  # noqa: S608 (a regclass)
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return None
    return last
