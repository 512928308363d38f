"""Open database sessions with fixed settings, and check that a database can be captured from."""

import asyncpg

from comparator import postgres
from comparator.capture.errors import (
    PublicationError,
    ReplicaIdentityError,
    WalLevelError,
)

APPLICATION_NAME = "shadow-capture"
VERSION_MIN = 14
"""Oldest PostgreSQL version with logical messages in pgoutput."""

SESSION_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "row_security": "off",
}
"""Session settings that fix the text output of values, so that equal values of both databases have equal text.

`row_security = off` makes the server refuse a query that would see only a part of the rows."""

NO_TIME_LIMITS = {"statement_timeout": "0", "idle_session_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""Settings that lift time limits which a role or a database may have; each of our statements has a limit of its own."""

WAL_LEVEL = "SELECT current_setting('wal_level')"

PUBLISHED = """
SELECT n.nspname, c.relname, c.relreplident::text AS identity,
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate) AS has_primary_key
FROM pg_publication p
LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname
LEFT JOIN pg_namespace n ON n.nspname = t.schemaname
LEFT JOIN pg_class c ON c.relname = t.tablename AND c.relnamespace = n.oid
WHERE p.pubname = $1
"""


async def connect(dsn: str, *, timeout_s: float, database: str | None = None) -> asyncpg.Connection:
    """Connect with SESSION_SETTINGS. Commits of the session wait for the local disk only, not for standbys.

    Args:
        dsn: URL of the database.
        timeout_s: limit for connecting, in seconds.
        database: name of a database to use instead of the one in `dsn`.

    Raises:
        comparator.postgres.UNAVAILABLE: the server did not accept the connection.
    """
    return await postgres.connect(
        dsn,
        database=database,
        timeout_s=timeout_s,
        server_settings={
            **SESSION_SETTINGS,
            **NO_TIME_LIMITS,
            "application_name": APPLICATION_NAME,
            "synchronous_commit": "local",
        },
        statement_cache_size=20,
    )


async def require_capturable(conn: asyncpg.Connection, publication: str, *, timeout_s: float = 10.0) -> None:
    """Check that the publication can be decoded and breaks no table's writes.

    Raises:
        WalLevelError: the server offers no logical decoding.
        PublicationError: the publication does not exist or is empty.
        ReplicaIdentityError: a published table has neither a full replica identity nor a primary key.
    """
    if conn.get_server_version().major < VERSION_MIN:
        raise WalLevelError(f"PostgreSQL {VERSION_MIN} or later is required: older servers send no logical messages")
    level = await conn.fetchval(WAL_LEVEL, timeout=timeout_s)
    if level != "logical":
        raise WalLevelError(
            f"wal_level is {level}; the server must be restarted afterwards",
            remedy=("ALTER SYSTEM SET wal_level = 'logical';",),
        )
    rows = await conn.fetch(PUBLISHED, publication, timeout=timeout_s)
    if not [row for row in rows if row["relname"] is not None]:
        problem = "is empty" if rows else "does not exist"
        raise PublicationError(f"the publication {publication} {problem}; `shadow capture check` prints the SQL to run")
    broken = [row for row in rows if row["identity"] == "n" or (row["identity"] == "d" and not row["has_primary_key"])]
    if broken:
        remedy = tuple(f'ALTER TABLE "{row["nspname"]}"."{row["relname"]}" REPLICA IDENTITY FULL;' for row in broken)
        raise ReplicaIdentityError("tables are published without a replica identity: their writes fail", remedy=remedy)
