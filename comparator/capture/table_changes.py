"""Change tables of a database in use: one transaction a table, committed only if the application's writes work afterwards.

    BEGIN
    SAVEPOINT   SET LOCAL ROLE app; UPDATE score SET id = DEFAULT WHERE false; DELETE FROM score WHERE false      works: app may write
    ALTER PUBLICATION shadow ADD TABLE score; ALTER TABLE score REPLICA IDENTITY FULL
    SAVEPOINT   the same statements as the same roles                                                             still work
    COMMIT      otherwise ROLLBACK, and the table is named with the server's reason

The server judges: whether a write is allowed depends on every publication of the table, also on those of others. What failed before the
change, e.g. for lack of a privilege, proves nothing and is left out.

A statement that waits for a table's lock makes all later ones wait behind it. So each attempt waits for LOCK_ATTEMPT_MS only, and is
repeated until `lock_timeout_ms` is over.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from comparator.capture.catalog import CATALOG_TIMEOUT_S
from comparator.capture.errors import CaptureError, LockTimeoutError, RightsError, WritesBrokenError
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import TableShape, quote

LOCK_ATTEMPT_MS = 100
"""Longest time for which live's statements may queue behind one of ours."""
LOCK_PAUSE_S = 0.15
"""Time between two attempts, in which the queue of live's statements drains."""
ROLES_MAX = 10
"""Greatest number of roles as which writes are tried, besides the configured ones."""
IDLE_MAX_S = 15
"""Time after which the server gives up a transaction of ours whose client has gone."""


@dataclass(frozen=True, slots=True)
class TableChange:
    """Statements that belong together.

    Attributes:
        statements: run in this order, in one transaction.
        tables: the tables whose writes have to work afterwards.
        proof: statements that have to work afterwards, in this order; they are taken back.
    """

    statements: tuple[str, ...]
    tables: tuple[TableShape, ...] = ()
    proof: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Write:
    """Statements that change no row, tried as a role; "" is the connected role."""

    role: str
    statements: tuple[str, ...]


WRITERS = """
SELECT r.rolname::text AS role, (
           SELECT a.attname::text FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(r.oid, c.oid, a.attnum, 'UPDATE')
           ORDER BY a.attnum LIMIT 1) AS updates,
       has_table_privilege(r.oid, c.oid, 'DELETE') AS deletes
FROM pg_class c CROSS JOIN pg_roles r
WHERE c.oid = $1::oid AND r.rolname <> current_user AND pg_has_role(current_user, r.oid, 'MEMBER')
  AND (r.rolname = ANY($2::text[]) OR r.oid = c.relowner OR r.oid IN (
           SELECT g.grantee FROM aclexplode(c.relacl) g WHERE g.privilege_type IN ('UPDATE', 'DELETE')
           UNION SELECT g.grantee FROM pg_attribute a CROSS JOIN aclexplode(a.attacl) g WHERE a.attrelid = c.oid))
ORDER BY r.rolname <> ALL($2::text[]), r.rolname LIMIT $3
"""


async def change(conn: asyncpg.Connection, planned: TableChange, settings: CaptureSettings) -> None:
    """Run the statements of a change in one transaction.

    Raises:
        WritesBrokenError: writes of a table worked before, and would not work afterwards. Nothing was changed.
        RightsError: the role lacks a privilege. Nothing was changed.
        LockTimeoutError: a table was busy. Nothing was changed.
        CaptureError: the server refused a statement, e.g. an event trigger did. Nothing was changed.
    """
    deadline_s = time.monotonic() + settings.lock_timeout_ms / 1000
    while planned.statements:
        try:
            await _attempt(conn, planned, settings)
        except asyncpg.LockNotAvailableError as error:
            if time.monotonic() + LOCK_PAUSE_S >= deadline_s:
                text = f"no lock within {settings.lock_timeout_ms} ms, run it again: {' '.join(planned.statements)}"
                raise LockTimeoutError(text) from error
        else:
            break
        await asyncio.sleep(LOCK_PAUSE_S)


async def _attempt(conn: asyncpg.Connection, planned: TableChange, settings: CaptureSettings) -> None:
    attempt_ms = min(LOCK_ATTEMPT_MS, settings.lock_timeout_ms)
    timeout_s = settings.lock_timeout_ms / 1000 + CATALOG_TIMEOUT_S
    async with conn.transaction():
        await conn.execute(
            f"SET LOCAL lock_timeout = {attempt_ms}; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_MAX_S}s'"
        )
        worked = [write for write in await _writes(conn, planned.tables, settings) if not await _failure(conn, write)]
        for statement in planned.statements:
            try:
                await conn.execute(statement, timeout=timeout_s)
            except asyncpg.InsufficientPrivilegeError as error:
                raise RightsError(f"the role lacks a privilege: {error}", remedy=planned.statements) from error
            except asyncpg.LockNotAvailableError:
                raise
            except asyncpg.PostgresError as error:
                raise CaptureError(f"the server refused: {error}: {statement}") from error
        failure = await _failure(conn, _Write("", planned.proof))
        if failure:
            raise WritesBrokenError(f"tried on a table of its own, it fails: {failure}")
        for write in worked:
            failure = await _failure(conn, write)
            if failure:
                role = f" as {write.role}" if write.role else ""
                raise WritesBrokenError(f"live's writes would fail{role}: {failure}")


async def _writes(conn: asyncpg.Connection, tables: Sequence[TableShape], settings: CaptureSettings) -> list[_Write]:
    """Return the writes to try: each table and its partitions as the connected role, the table as each role that may write it."""
    writes: list[_Write] = []
    for table in tables:
        dry = "EXPLAIN " if table.statement_triggers or table.rules else ""
        column = quote(table.columns[0].name) if table.columns else ""
        for relation in (table.quoted, *(leaf.quoted for leaf in table.partitions)):
            writes += _of_relation("", relation, column=column, deletes=True, dry=dry)
        roles = await conn.fetch(
            WRITERS, table.oid, list(settings.writer_roles), ROLES_MAX + len(settings.writer_roles)
        )
        for row in roles:
            updated = quote(row["updates"]) if row["updates"] else ""
            writes += _of_relation(row["role"], table.quoted, column=updated, deletes=row["deletes"], dry=dry)
    return writes


def _of_relation(role: str, relation: str, *, column: str, deletes: bool, dry: str) -> list[_Write]:
    """Return the statements for one relation.

    `SET column = DEFAULT` needs no privilege to read and is allowed for generated columns, too. Statement triggers and rules of the
    application would run even though no row changes: there EXPLAIN does the same checks and runs nothing.
    """
    update = f"{dry}UPDATE ONLY {relation} SET {column} = DEFAULT WHERE false"  # noqa: S608 (quoted names)
    delete = f"{dry}DELETE FROM ONLY {relation} WHERE false"  # noqa: S608
    return [_Write(role, (text,)) for text, wanted in ((update, bool(column)), (delete, deletes)) if wanted]


async def _failure(conn: asyncpg.Connection, write: _Write) -> str:
    """Try a write and take it back; return the server's reason for refusing it, "" when it works."""
    savepoint = conn.transaction()
    await savepoint.start()
    try:
        if write.role:
            await conn.execute(f"SET LOCAL ROLE {quote(write.role)}")
        for statement in write.statements:
            await conn.execute(statement, timeout=CATALOG_TIMEOUT_S)
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as error:
        return f"{error} ({error.detail})" if error.detail else str(error)
    finally:
        await savepoint.rollback()
    return ""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The result of preparing tables.

    Attributes:
        statements: statements that were run.
        refused: error by table that was left as it was.
    """

    statements: tuple[str, ...]
    refused: Mapping[str, CaptureError]

    def checked(self) -> tuple[str, ...]:
        """Return the statements that were run.

        Raises:
            CaptureError: the first error, if a table was left as it was.
        """
        for error in self.refused.values():
            raise error
        return self.statements


async def change_each(
    conn: asyncpg.Connection, changes: Iterable[TableChange], settings: CaptureSettings
) -> tuple[str, ...]:
    """Make changes one after the other; return the statements that were run.

    Raises:
        CaptureError: as `change`; earlier changes stay.
    """
    ran: list[str] = []
    for planned in changes:
        await change(conn, planned, settings)
        ran += planned.statements
    return tuple(ran)
