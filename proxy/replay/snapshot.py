"""Snapshots of the shadow database, as template databases on its own server: made, restored and listed.

A copy takes as long as copying the files; nobody may be connected to the database that is copied. A restore makes the copy first
and then takes the old database's place by renaming, so that a failure leaves the old one.
"""

import datetime as dt
import re
from dataclasses import dataclass

import asyncpg
import msgspec

from comparator.capture.catalog import quote
from comparator.capture.fitness import connect
from comparator.capture.replication import environment
from proxy.replay.errors import SnapshotError

PREFIX = "shadow_snapshot_"
MAINTENANCE = "postgres"
CONNECT_TIMEOUT_S = 10.0
QUERY_TIMEOUT_S = 30.0
COPY_TIMEOUT_S = 3_600.0
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


class Note(msgspec.Struct, frozen=True):
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


async def create(dsn: str, name: str, *, now: dt.datetime) -> None:
    """Copy the database of `dsn` under a name.

    Raises:
        SnapshotError: it is there already, somebody is connected, or the server refused.
    """
    source, target = _database(dsn), _stored(name)
    conn = await _connect(dsn)
    try:
        if await conn.fetchval(EXISTS, target, timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"the snapshot {name} exists; drop it first")
        await _copy(conn, source, target)
        note = msgspec.json.encode(Note(source, now.isoformat(timespec="seconds"))).decode()
        # (a comment takes no parameter; our own JSON has no quote in it but those doubled here)
        literal = "'" + note.replace("'", "''") + "'"
        await conn.execute(COMMENT.format(quote(target), literal), timeout=QUERY_TIMEOUT_S)
    finally:
        await conn.close()


RENAME = "ALTER DATABASE {} RENAME TO {}"
DROP = "DROP DATABASE IF EXISTS {} WITH (FORCE)"


async def restore(dsn: str, name: str) -> None:
    """Put a snapshot in the place of the database of `dsn`; whoever is connected to that is cut off.

    Raises:
        SnapshotError: there is no such snapshot, or the server refused; the database is as it was.
    """
    target, stored = _database(dsn), _stored(name)
    draft = f"{target[:50]}_restoring"
    conn = await _connect(dsn)
    try:
        if not await conn.fetchval(EXISTS, stored, timeout=QUERY_TIMEOUT_S):
            raise SnapshotError(f"there is no snapshot {name}; see `shadow snapshot ls`")
        await conn.execute(DROP.format(quote(draft)), timeout=QUERY_TIMEOUT_S)
        await _copy(conn, stored, draft)
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
        note = msgspec.json.decode(comment, type=Note)
    except msgspec.MsgspecError:
        note = Note("?", "?")
    return Snapshot(database.removeprefix(PREFIX), note.of, note.made, size)


EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)"
COPY = "CREATE DATABASE {} TEMPLATE {}"


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
        raise SnapshotError(f"databases.shadow: {type(error).__name__}: {error}") from error


def _database(dsn: str) -> str:
    name = environment(dsn).get("PGDATABASE", "")
    if not name:
        raise SnapshotError("databases.shadow names no database")
    return name


def _stored(name: str) -> str:
    if not NAME.fullmatch(name):
        raise SnapshotError(f"{name!r}: a snapshot's name has 1 to 31 of a-z, 0-9, _ and -")
    return PREFIX + name
