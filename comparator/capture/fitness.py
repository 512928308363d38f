"""Connecting to a database to capture from, and refusing at once one that cannot be captured from."""

import asyncpg

from comparator import postgres
from comparator.capture.errors import PublicationError, ReplicaIdentityError, WalLevelError
from comparator.capture.reconnecting import SESSION

APPLICATION = "shadow-capture"
VERSION_MIN = 14
UNHURRIED = {"statement_timeout": "0", "idle_session_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""Time limits that a role or database may impose on its services; each statement of ours has its own limit."""

WAL_LEVEL = "SELECT current_setting('wal_level')"

PUBLISHED = """
SELECT n.nspname, c.relname, c.relreplident::text AS identity,
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_primary_key
FROM pg_publication p
LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname
LEFT JOIN pg_namespace n ON n.nspname = t.schemaname
LEFT JOIN pg_class c ON c.relname = t.tablename AND c.relnamespace = n.oid
WHERE p.pubname = $1
"""


async def connect(dsn: str, *, timeout_s: float, database: str | None = None) -> asyncpg.Connection:
    """Connect with the session settings that fix the text of values; commits wait for the local disk only.

    `database` takes the place of the one that the DSN names.
    """
    return await postgres.connect(
        dsn,
        database=database,
        timeout_s=timeout_s,
        server_settings={**SESSION, **UNHURRIED, "application_name": APPLICATION, "synchronous_commit": "local"},
        statement_cache_size=20,
    )


async def refuse_unfit(conn: asyncpg.Connection, publication: str, *, timeout_s: float = 10.0) -> None:
    """Raise unless the publication can be decoded and breaks no table's writes.

    Raises:
        WalLevelError: no logical decoding on this server.
        PublicationError: no such publication, or an empty one.
        ReplicaIdentityError: a published table has neither a full replica identity nor a primary key.
    """
    if conn.get_server_version().major < VERSION_MIN:
        raise WalLevelError(f"PostgreSQL {VERSION_MIN} or later is needed for logical messages")
    level = await conn.fetchval(WAL_LEVEL, timeout=timeout_s)
    if level != "logical":
        raise WalLevelError(
            f"wal_level is {level}; the server must be restarted afterwards",
            remedy=("ALTER SYSTEM SET wal_level = 'logical';",),
        )
    rows = await conn.fetch(PUBLISHED, publication, timeout=timeout_s)
    if not [row for row in rows if row["relname"] is not None]:
        missing = "is empty" if rows else "does not exist"
        raise PublicationError(f"the publication {publication} {missing}; `shadow capture check` prints what to run")
    broken = [row for row in rows if row["identity"] == "n" or (row["identity"] == "d" and not row["has_primary_key"])]
    if broken:
        remedy = tuple(f'ALTER TABLE "{row["nspname"]}"."{row["relname"]}" REPLICA IDENTITY FULL;' for row in broken)
        raise ReplicaIdentityError("published tables without a replica identity: their writes fail", remedy=remedy)
