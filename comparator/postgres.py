"""Connect to PostgreSQL, tell an unavailable database from a defect, and migrate the schema `shadow`.

Everything in `comparator` and `proxy` that talks to PostgreSQL uses this module, so that all of it agrees on which errors are worth
a retry and on what the schema holds.
"""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Mapping
from importlib.resources.abc import Traversable
from types import CoroutineType
from typing import Any, Final, TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A connection of its own, or one borrowed from a pool."""

UNAVAILABLE: Final = (
    OSError,  # connection refused, host name not resolved, TLS failure
    TimeoutError,
    asyncpg.PostgresConnectionError,  # SQLSTATE 08: the connection broke
    asyncpg.InterfaceError,  # asyncpg: "connection is closed", "pool is closing"
    asyncpg.InternalClientError,  # asyncpg: the server broke off in the middle of a message
    asyncpg.OperatorInterventionError,  # 57: shutdown, starting up, dropped database, statement_timeout
    asyncpg.InsufficientResourcesError,  # 53: too many connections, disk full, out of memory
    asyncpg.TransactionRollbackError,  # 40: deadlock, serialization failure
    asyncpg.InvalidAuthorizationSpecificationError,  # 28: password rotated, no pg_hba.conf entry yet
    asyncpg.InvalidCatalogNameError,  # 3D000: the database does not exist (yet)
    asyncpg.ObjectNotInPrerequisiteStateError,  # 55: "not currently accepting connections", lock not available
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a standby that has not been promoted yet
)
"""Errors which say that the database cannot serve us now: the same statement may succeed later, unchanged.

Errors outside of this tuple (a missing table, a violated constraint, a syntax error) fail again however often they are retried.
"""

LACKING: Final = (
    asyncpg.UndefinedTableError,  # 42P01: dropped, or never made
    asyncpg.UndefinedColumnError,  # 42703: of another version
    asyncpg.InvalidSchemaNameError,  # 3F000: the same of its schema
    asyncpg.InsufficientPrivilegeError,  # 42501: a privilege was revoked
)
"""Errors which say that a table of ours is missing or closed to us: the same statement succeeds once that is mended."""

SCHEMA_LOCK: Final = 0x5AD0_0001
"""Advisory lock for every change of the definition of schema `shadow`: migrations and partitions."""


async def connect(
    dsn: str,
    *,
    timeout_s: float,
    command_timeout_s: float | None = None,
    database: str | None = None,
    server_settings: Mapping[str, str] | None = None,
    statement_cache_size: int = 100,
) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection.

    Args:
        dsn: URL of the database.
        timeout_s: limit for name resolution, TCP, TLS and authentication together, in seconds.
        command_timeout_s: default limit of each statement, in seconds; None sets no limit.
        database: name of the database to use instead of the one in `dsn`.
        server_settings: session settings, e.g. `{"timezone": "UTC"}`.
        statement_cache_size: prepared statements that the connection keeps.

    Raises:
        UNAVAILABLE: the server did not accept the connection.
    """
    with _refused_url():
        return await asyncpg.connect(
            dsn,
            database=database,
            timeout=timeout_s,
            command_timeout=command_timeout_s,
            server_settings=dict(server_settings or {}),
            statement_cache_size=statement_cache_size,
        )


@contextlib.contextmanager
def _refused_url() -> Generator[None]:
    """Raise the error of a URL that asyncpg does not take also where it passes on another one, as for `http://[::1`."""
    try:
        yield
    except asyncpg.InterfaceError:
        raise
    except ValueError as error:
        raise asyncpg.InterfaceError(f"the database's URL is not valid: {error}") from error


async def disconnect(conn: "asyncpg.Connection[asyncpg.Record]", *, timeout_s: float) -> None:
    """Close a connection: politely within `timeout_s`, else by closing its socket. Never raises a database error."""
    with contextlib.suppress(asyncpg.PostgresError, *UNAVAILABLE):
        await conn.close(timeout=timeout_s)
    conn.terminate()


async def open_pool(
    dsn: str,
    *,
    size: int,
    timeout_s: float,
    command_timeout_s: float | None = None,
    server_settings: Mapping[str, str] | None = None,
    init: "Callable[[asyncpg.Connection[asyncpg.Record]], CoroutineType[Any, Any, None]] | None" = None,
) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool of up to `size` connections; the first is made at once, so a wrong DSN fails here.

    Args:
        dsn: URL of the database.
        size: most connections at a time.
        timeout_s: limit for making each connection, in seconds.
        command_timeout_s: default limit of each statement, in seconds; None sets no limit.
        server_settings: session settings of every connection.
        init: prepares the session of each new connection. Sessions are then kept as they are between two borrowers, who must not
            change their settings; without it they are reset, which is one more round trip each time.

    Raises:
        UNAVAILABLE: the server did not accept the first connection.
    """
    # (with a minimum, asyncpg itself would connect again and again while the database is down, and log each traceback)
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=timeout_s,
        command_timeout=command_timeout_s,
        server_settings=dict(server_settings or {}),
        init=init,
        reset=_keep_session if init is not None else None,
    )
    try:
        with _refused_url():
            async with pool.acquire(timeout=timeout_s):
                return pool
    except BaseException:
        pool.terminate()
        raise


async def _keep_session(_conn: Connection) -> None:
    """Leave a session as it is; asyncpg itself has ended a transaction that was left open."""


async def close_pool(pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float) -> None:
    """Close a pool: wait up to `timeout_s` for borrowed connections, then close their sockets. Never raises a database error."""
    try:
        async with asyncio.timeout(timeout_s):
            await pool.close()
    except (asyncpg.PostgresError, *UNAVAILABLE):
        pool.terminate()


CREATE_APPLIED = """
CREATE SCHEMA IF NOT EXISTS shadow;
CREATE TABLE IF NOT EXISTS shadow.applied_migration (
    component text NOT NULL,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (component, name)
);
"""
TABLE_EXISTS = "SELECT to_regclass($1) IS NOT NULL"
SELECT_APPLIED = "SELECT name FROM shadow.applied_migration WHERE component = $1"
INSERT_APPLIED = "INSERT INTO shadow.applied_migration (component, name) VALUES ($1, $2)"

_FORMER_TABLES: Final = {"comparator": "shadow.migration", "rollout": "shadow.rollout_migration"}
"""The tables in which earlier versions noted their migrations, by component. They stay, so that such a version still starts."""
ADOPT_FORMER = """
INSERT INTO shadow.applied_migration (component, name, applied_at) SELECT $1, name, applied_at FROM {table}
ON CONFLICT DO NOTHING
"""


async def migrate(conn: Connection, component: str, folder: Traversable) -> tuple[str, ...]:
    """Apply a component's migrations that the database lacks, all in one transaction.

    Processes that start together take turns. When nothing is to be applied, neither a lock nor the right to create anything is needed.

    Args:
        conn: a connection outside of a transaction.
        component: owner of the migrations; `shadow.applied_migration` notes names per component.
        folder: holds files `NNNN_name.sql`, applied in the order of their names.

    Returns:
        Names of the files that were applied now.

    Raises:
        UNAVAILABLE: nothing was applied.
    """
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    if await conn.fetchval(TABLE_EXISTS, "shadow.applied_migration") and not await _pending(conn, component, names):
        return ()
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
        await conn.execute(CREATE_APPLIED)
        await _adopt_former(conn, component)
        # Read again: another process may have applied them while this one waited for the lock.
        pending = await _pending(conn, component, names)
        for name in pending:
            await conn.execute((folder / name).read_text(encoding="utf-8"))
            await conn.execute(INSERT_APPLIED, component, name)
    return pending


async def _pending(conn: Connection, component: str, names: list[str]) -> tuple[str, ...]:
    applied = {record["name"] for record in await conn.fetch(SELECT_APPLIED, component)}
    return tuple(name for name in names if name not in applied)


async def _adopt_former(conn: Connection, component: str) -> None:
    table = _FORMER_TABLES.get(component)
    if table is not None and await conn.fetchval(TABLE_EXISTS, table):
        await conn.execute(ADOPT_FORMER.format(table=table), component)
