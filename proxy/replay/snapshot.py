"""Snapshots of the shadow database: made, restored and listed. They are databases themselves.

On the shadow's own server they are made as copies of a template: that takes as long as copying the files, and nobody may be connected
to the database that is copied. On another server, whose DSN the keyword `kept_at` names, they are made by pg_dump and psql. A
restore makes the copy first and then takes the old database's place by renaming, so that a failure leaves the old one.
"""

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec

from comparator.capture.replication import environment
from comparator.capture.session import connect
from comparator.capture.table_shape import quote
from proxy.replay.errors import SnapshotError, SnapshotServerUnavailableError
from proxy.replay.snapshot_transfer import Place, transfer

PREFIX = "shadow_snapshot_"
MAINTENANCE = "postgres"
CONNECT_TIMEOUT_S = 10.0
QUERY_TIMEOUT_S = 30.0
COPY_TIMEOUT_S = 3_600.0
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


class SnapshotComment(msgspec.Struct, frozen=True):
    """What is remembered of a snapshot, as the comment of its database."""

    of: str
    made: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot: its name, the database it was made of, when (ISO 8601), and its size."""

    name: str
    of: str
    made: str
    bytes: int


COMMENT = "COMMENT ON DATABASE {} IS {}"


async def create(dsn: str, name: str, *, now: dt.datetime, kept_at: str = "", programs: Path | None = None) -> None:
    """Copy the database of `dsn` under a name.

    Args:
        dsn: of the shadow.
        name: of the snapshot.
        now: noted beside it.
        kept_at: DSN of the server that keeps the snapshot; "" for the shadow's own.
        programs: folder of pg_dump and psql, where two servers are involved.

    Raises:
        SnapshotError: it is there already, somebody is connected, or the server refused.
    """
    source, target = _database(dsn), _stored(name)
    conn = await _connect(kept_at or dsn)
    try:
        if await conn.fetchval(EXISTS, target, timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"the snapshot {name} exists; drop it first")
        if await _one_server(conn, dsn):
            await _copy(conn, source, target)
        else:
            await _carry(conn, environment(dsn), environment(kept_at), target, programs)
        note = msgspec.json.encode(SnapshotComment(source, now.isoformat(timespec="seconds"))).decode()
        # (a comment takes no parameter; our own JSON has no quote in it but those doubled here)
        literal = "'" + note.replace("'", "''") + "'"
        await conn.execute(COMMENT.format(quote(target), literal), timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()


RENAME = "ALTER DATABASE {} RENAME TO {}"
DROP = "DROP DATABASE IF EXISTS {} WITH (FORCE)"


async def restore(dsn: str, name: str, *, kept_at: str = "", programs: Path | None = None) -> None:
    """Put a snapshot in the place of the database of `dsn`; whoever is connected to that is cut off.

    Raises:
        SnapshotError: there is no such snapshot, or a server refused; the database is as it was.
    """
    target, stored = _database(dsn), _stored(name)
    draft = f"{target[:50]}_restoring"
    await _must_exist(kept_at or dsn, name)
    conn = await _connect(dsn)
    try:
        await conn.execute(DROP.format(quote(draft)), timeout=QUERY_TIMEOUT_S)
        if not kept_at or await _one_server(conn, kept_at):
            await _copy(conn, stored, draft)
        else:
            await _carry(conn, {**environment(kept_at), "PGDATABASE": stored}, environment(dsn), draft, programs)
        try:
            await conn.execute(DROP.format(quote(target)), timeout=QUERY_TIMEOUT_S)
        except asyncpg.PostgresError as error:
            await conn.execute(DROP.format(quote(draft)), timeout=QUERY_TIMEOUT_S)
            raise SnapshotError(f"{target} cannot be replaced: {error}") from error
        await conn.execute(RENAME.format(quote(draft), quote(target)), timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()


async def drop(dsn: str, name: str) -> None:
    """Delete a snapshot.

    Raises:
        SnapshotError: there is none.
    """
    conn = await _connect(dsn)
    try:
        if not await conn.fetchval(EXISTS, _stored(name), timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"there is no snapshot {name}; see `shadow snapshot ls`")
        await conn.execute(DROP.format(quote(_stored(name))), timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()


LIST = """
SELECT d.datname::text AS name, pg_database_size(d.oid) AS bytes, shobj_description(d.oid, 'pg_database') AS note
FROM pg_database d WHERE starts_with(d.datname::text, $1) ORDER BY 1
"""


async def list_all(dsn: str) -> list[Snapshot]:
    """All snapshots on the server of `dsn`, by name."""
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
    return Snapshot(database.removeprefix(PREFIX), note.of, note.made, size)


EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)"
COPY = "CREATE DATABASE {} TEMPLATE {}"


async def _must_exist(dsn: str, name: str) -> None:
    conn = await _connect(dsn)
    try:
        if not await conn.fetchval(EXISTS, _stored(name), timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"there is no snapshot {name}; see `shadow snapshot ls`")
    finally:
        await conn.close()


SERVER = "SELECT system_identifier FROM pg_control_system()"


async def _one_server(conn: asyncpg.Connection, dsn: str) -> bool:
    """Whether a DSN leads to the server that is connected."""
    other = await _connect(dsn)
    try:
        theirs = await other.fetchval(SERVER, timeout=QUERY_TIMEOUT_S)
    finally:
        await other.close()
    return theirs == await conn.fetchval(SERVER, timeout=QUERY_TIMEOUT_S)


async def _carry(conn: asyncpg.Connection, source: Place, server: Place, database: str, programs: Path | None) -> None:
    """Make a database on the server of `conn`, which is `server`, and fill it from another one; all of it or nothing."""
    await conn.execute(f"CREATE DATABASE {quote(database)} TEMPLATE template0", timeout=QUERY_TIMEOUT_S)
    try:
        await transfer(source, {**server, "PGDATABASE": database}, folder=programs, timeout_s=COPY_TIMEOUT_S)
    except BaseException:
        await conn.execute(DROP.format(quote(database)), timeout=QUERY_TIMEOUT_S)
        raise


async def _copy(conn: asyncpg.Connection, source: str, target: str) -> None:
    try:
        await conn.execute(COPY.format(quote(target), quote(source)), timeout=COPY_TIMEOUT_S)
    except asyncpg.ObjectInUseError as error:
        raise SnapshotError(
            f"somebody is connected to {source}: stop the runner and the shadow instances while it is copied"
        ) from error
    except asyncpg.PostgresError as error:
        raise SnapshotError(f"{source} cannot be copied: {error}") from error


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await connect(dsn, timeout_s=CONNECT_TIMEOUT_S, database=MAINTENANCE)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise SnapshotServerUnavailableError(f"databases.shadow: {type(error).__name__}: {error}") from error


def _database(dsn: str) -> str:
    name = environment(dsn).get("PGDATABASE", "")
    if not name:
        raise SnapshotError("databases.shadow names no database")
    return name


def _stored(name: str) -> str:
    if not NAME.fullmatch(name):
        raise SnapshotError(f"{name!r}: a snapshot's name has 1 to 31 of a-z, 0-9, _ and -")
    return PREFIX + name
