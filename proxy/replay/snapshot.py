"""Snapshots of the shadow database, which are databases themselves: created, restored, listed and dropped.

On the shadow's own server a snapshot is a copy by CREATE DATABASE ... TEMPLATE: as fast as copying the files, but no connection may be
open to the copied database: `create` names those that are, waits for their end, or closes them. While the copy is made, PostgreSQL lets
new connections to the database wait, so that pools which connect again at once do not get in between. On another server, whose DSN the argument `server` is, it is made with pg_dump and psql. A restore makes a
copy first, and replaces the database by renaming, so that a failure leaves the database as it was.
"""

import asyncio
import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec

from comparator.capture.replication import environment
from comparator.capture.session import connect
from comparator.capture.table_shape import quote
from proxy.exception_groups import first_error
from proxy.replay.errors import SnapshotError, SnapshotServerUnavailableError
from proxy.replay.snapshot_transfer import ConnectionEnvironment, transfer

PREFIX = "shadow_snapshot_"
MAINTENANCE = "postgres"
CONNECT_TIMEOUT_S = 10.0
QUERY_TIMEOUT_S = 30.0
COPY_TIMEOUT_S = 3_600.0
POLL_S = 0.1
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


class SnapshotComment(msgspec.Struct, frozen=True):
    """The comment on a snapshot's database, as JSON."""

    database: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot: its name, the database that was copied, when (ISO 8601), and its size."""

    name: str
    database: str
    created_at: str
    bytes: int


COMMENT = "COMMENT ON DATABASE {} IS {}"


@dataclass(frozen=True, slots=True)
class OpenConnections:
    """The treatment of connections to the database that is to be copied.

    Attributes:
        wait_s: how long to wait for their end.
        disconnect: close those that are open then.
    """

    wait_s: float = 0.0
    disconnect: bool = False


async def create(
    dsn: str,
    name: str,
    *,
    now: dt.datetime,
    server: str = "",
    programs: Path | None = None,
    connections: OpenConnections = OpenConnections(),
) -> None:
    """Create a snapshot of the database of `dsn`.

    Args:
        dsn: of the shadow database.
        name: of the snapshot.
        now: the time to record.
        server: DSN of the server for the snapshot; "" for the shadow's own.
        programs: folder of pg_dump and psql, for a copy between servers.
        connections: what to do with open connections to the database; they do not matter to a copy between servers.

    Raises:
        SnapshotError: the snapshot exists, the database still has connections, or the server refused.
    """
    source, target = _database(dsn), _stored(name)
    conn = await _connect(server or dsn)
    try:
        if await conn.fetchval(EXISTS, target, timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"snapshot {name!r} exists already; drop it first")
        if await _is_same_server(conn, dsn):
            await _wait_for_end(conn, source, connections)
            if connections.disconnect:
                await _copy_disconnecting(conn, server or dsn, source, target)
            else:
                await _copy(conn, source, target)
        else:
            await _transfer(conn, environment(dsn), environment(server), target, programs)
        note = msgspec.json.encode(SnapshotComment(source, now.isoformat(timespec="seconds"))).decode()
        # COMMENT takes no parameters; quotes in the JSON are doubled.
        literal = "'" + note.replace("'", "''") + "'"
        await conn.execute(COMMENT.format(quote(target), literal), timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()


RENAME = "ALTER DATABASE {} RENAME TO {}"
DROP = "DROP DATABASE IF EXISTS {} WITH (FORCE)"


async def restore(dsn: str, name: str, *, server: str = "", programs: Path | None = None) -> None:
    """Replace the database of `dsn` by a snapshot, closing all connections to it. The arguments are those of `create`.

    Raises:
        SnapshotError: there is no such snapshot, or a server refused; the database is as it was.
    """
    target, stored = _database(dsn), _stored(name)
    temporary = f"{target[:50]}_restoring"
    await _must_exist(server or dsn, name)
    conn = await _connect(dsn)
    try:
        await conn.execute(DROP.format(quote(temporary)), timeout=QUERY_TIMEOUT_S)
        if not server or await _is_same_server(conn, server):
            await _copy(conn, stored, temporary)
        else:
            await _transfer(conn, {**environment(server), "PGDATABASE": stored}, environment(dsn), temporary, programs)
        try:
            await conn.execute(DROP.format(quote(target)), timeout=QUERY_TIMEOUT_S)
        except asyncpg.PostgresError as error:
            await conn.execute(DROP.format(quote(temporary)), timeout=QUERY_TIMEOUT_S)
            raise SnapshotError(f"cannot replace {target}: {error}") from error
        await conn.execute(RENAME.format(quote(temporary), quote(target)), timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()


async def drop(dsn: str, name: str) -> None:
    """Delete a snapshot on the server of `dsn`.

    Raises:
        SnapshotError: there is no such snapshot.
    """
    conn = await _connect(dsn)
    try:
        if not await conn.fetchval(EXISTS, _stored(name), timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"no snapshot named {name!r}; list them with `shadow snapshot ls`")
        await conn.execute(DROP.format(quote(_stored(name))), timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()


LIST = """
SELECT d.datname::text AS name, pg_database_size(d.oid) AS bytes, shobj_description(d.oid, 'pg_database') AS note
FROM pg_database d WHERE starts_with(d.datname::text, $1) ORDER BY 1
"""


async def list_all(dsn: str) -> list[Snapshot]:
    """Return all snapshots on the server of `dsn`, by name."""
    conn = await _connect(dsn)
    try:
        rows = await conn.fetch(LIST, PREFIX, timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()
    return [_snapshot(row["name"], row["bytes"], row["note"] or "") for row in rows]


def _snapshot(database: str, size: int, comment: str) -> Snapshot:
    try:
        note = msgspec.json.decode(comment, type=SnapshotComment)
    except msgspec.MsgspecError:
        note = SnapshotComment("?", "?")
    return Snapshot(database.removeprefix(PREFIX), note.database, note.created_at, size)


EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)"
COPY = "CREATE DATABASE {} TEMPLATE {}"


async def _must_exist(dsn: str, name: str) -> None:
    conn = await _connect(dsn)
    try:
        if not await conn.fetchval(EXISTS, _stored(name), timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"no snapshot named {name!r}; list them with `shadow snapshot ls`")
    finally:
        await conn.close()


SERVER = "SELECT system_identifier FROM pg_control_system()"


async def _is_same_server(conn: asyncpg.Connection, dsn: str) -> bool:
    """Return whether a DSN is of the server of `conn`."""
    other = await _connect(dsn)
    try:
        identifier = await other.fetchval(SERVER, timeout=QUERY_TIMEOUT_S)
    finally:
        await other.close()
    return identifier == await conn.fetchval(SERVER, timeout=QUERY_TIMEOUT_S)


async def _transfer(
    conn: asyncpg.Connection,
    source: ConnectionEnvironment,
    server: ConnectionEnvironment,
    database: str,
    programs: Path | None,
) -> None:
    """Create a database on the server of `conn`, which is `server`, and fill it from another one, or leave nothing behind."""
    await conn.execute(f"CREATE DATABASE {quote(database)} TEMPLATE template0", timeout=QUERY_TIMEOUT_S)
    try:
        await transfer(source, {**server, "PGDATABASE": database}, folder=programs, timeout_s=COPY_TIMEOUT_S)
    except BaseException:
        await conn.execute(DROP.format(quote(database)), timeout=QUERY_TIMEOUT_S)
        raise


CONNECTIONS = """
SELECT coalesce(nullif(application_name, ''), backend_type) AS program, usename::text AS role,
       coalesce(host(client_addr), 'local') AS client, count(*) AS count
FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3
"""


async def _wait_for_end(conn: asyncpg.Connection, database: str, connections: OpenConnections) -> None:
    """Wait until a database has no connections, as far as they are to be waited for.

    Raises:
        SnapshotError: it still has some, and they are not to be closed.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + connections.wait_s
    while rows := await conn.fetch(CONNECTIONS, database, timeout=QUERY_TIMEOUT_S):
        if loop.time() < deadline_s:
            await asyncio.sleep(min(POLL_S, max(0.0, deadline_s - loop.time())))
            continue
        if connections.disconnect:
            return
        waited = f" after {connections.wait_s:g} s" if connections.wait_s else ""
        raise SnapshotError(f"{database} has open connections{waited}: {_connections_text(rows)}; {CONNECTIONS_HINT}")


CONNECTIONS_HINT = "stop the runner and the shadow instances, or give --wait SECONDS to wait for their end, or --disconnect to close them"


def _connections_text(rows: list[asyncpg.Record]) -> str:
    return ", ".join(f"{row['count']} of {row['program']} ({row['role']}, {row['client']})" for row in rows)


TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()
"""


async def _copy_disconnecting(conn: asyncpg.Connection, dsn: str, source: str, target: str) -> None:
    """Copy a database while the connections to it are closed, again and again.

    The copy is begun first: it locks the database, so that new connections wait, and itself waits five seconds for the open ones to end.
    """
    closer = await _connect(dsn)
    try:
        async with asyncio.TaskGroup() as tasks:
            copying = tasks.create_task(_copy(conn, source, target), name="copy-database")
            while not copying.done():
                await closer.execute(TERMINATE, source, timeout=QUERY_TIMEOUT_S)
                await asyncio.wait([copying], timeout=POLL_S)
    except ExceptionGroup as group:
        error = first_error(group)
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            raise SnapshotError(
                f"cannot close the connections to {source}: {error}; stop what is connected, or use a role that may"
            ) from error
        raise error from group
    finally:
        await closer.close()


async def _copy(conn: asyncpg.Connection, source: str, target: str) -> None:
    try:
        await conn.execute(COPY.format(quote(target), quote(source)), timeout=COPY_TIMEOUT_S)
    except asyncpg.ObjectInUseError as error:
        raise SnapshotError(f"{source} has open connections: {CONNECTIONS_HINT}") from error
    except asyncpg.PostgresError as error:
        raise SnapshotError(f"cannot copy {source}: {error}") from error


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await connect(dsn, timeout_s=CONNECT_TIMEOUT_S, database=MAINTENANCE)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise SnapshotServerUnavailableError(f"databases.shadow: {type(error).__name__}: {error}") from error


def _database(dsn: str) -> str:
    name = environment(dsn).get("PGDATABASE", "")
    if not name:
        raise SnapshotError("databases.shadow does not name a database")
    return name


def _stored(name: str) -> str:
    if not NAME.fullmatch(name):
        raise SnapshotError(f"{name!r} is not a name for a snapshot: 1 to 31 characters of a-z, 0-9, _ and -")
    return PREFIX + name
