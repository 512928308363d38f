"""Writes the shadow database so that it equals live again: in place, deferred constraints, one transaction of our own.

Deletes come first, then updates of the changed columns only (so that a parent row which others check is never deleted), then
inserts. Values travel as text and are cast to each column's type. Our transactions carry a message, by which the capture of
the shadow recognises and drops them.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from comparator.capture.table_shape import Catalog, TableShape
from comparator.exchanges.row_changes import Transaction
from comparator.postgres import UNAVAILABLE, Connection
from proxy.errors import ShadowDriftError, ShadowUnreachableError
from proxy.runner import row_sql as statements
from proxy.runner.row_targets import RowTarget

ALIGN_MESSAGE_PREFIX = "shadow.align"
BEGIN_ALIGNMENT = f"SET CONSTRAINTS ALL DEFERRED; SELECT pg_logical_emit_message(true, '{ALIGN_MESSAGE_PREFIX}', '')"
SESSION_OPTIONS = {"timezone": "UTC", "datestyle": "ISO", "extra_float_digits": "3", "application_name": "shadow-align"}

G = TypeVar("G", bound=Hashable)


def is_own(transaction: Transaction) -> bool:
    """Whether the aligner itself made this transaction."""
    return any(message.prefix == ALIGN_MESSAGE_PREFIX for message in transaction.messages)


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """What an alignment did: rows written, and rows that were not as they had to be before (drift that it mended)."""

    rows: int
    drifted: int


NOTHING_TO_ALIGN = WrittenRows(0, 0)


class RowWriter:
    """Brings rows of the shadow to their targets.

    Args:
        pool: connections to the shadow, opened with SESSION_OPTIONS.
        catalog: shapes of the captured tables.
        timeout_s: for one alignment.
    """

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._catalog = catalog
        self._timeout_s = timeout_s
        self._rank = {table: rank for rank, table in enumerate(statements.parents_first(catalog))}

    async def apply(self, wanted: Sequence[RowTarget]) -> WrittenRows:
        """Write the targets in one transaction.

        Raises:
            ShadowDriftError: the shadow holds rows that contradict live (a unique or foreign key); it must be resynced.
            ShadowUnreachableError: the shadow database did not answer; nothing was written.
        """
        if not wanted:
            return NOTHING_TO_ALIGN
        try:
            async with asyncio.timeout(self._timeout_s), self._pool.acquire() as conn, conn.transaction():
                return await self.write(conn, wanted)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise ShadowDriftError(f"{type(error).__name__} on {error.table_name or 'the shadow'}: {error}") from error
        except UNAVAILABLE as error:
            raise ShadowUnreachableError(f"alignment of {len(wanted)} rows: {error!r}") from error

    async def truncate(self, tables: Sequence[str]) -> None:
        """Empty the tables, as live did."""
        async with asyncio.timeout(self._timeout_s), self._pool.acquire() as conn, conn.transaction():
            await conn.execute(BEGIN_ALIGNMENT)
            await conn.execute(f"TRUNCATE {', '.join(self._catalog.tables[t].quoted for t in tables)} CASCADE")

    async def write(self, conn: Connection, wanted: Sequence[RowTarget]) -> WrittenRows:
        """Write the targets in the transaction that the client has begun on `conn`; database errors pass through."""
        await conn.execute(BEGIN_ALIGNMENT)
        by_table = sorted(wanted, key=lambda row: self._rank.get(row.table, 0))
        deletes = [row for row in reversed(by_table) if row.target is None]
        updates = [row for row in by_table if row.target is not None and row.current is not None]
        inserts = [row for row in by_table if row.target is not None and row.current is None]
        drifted = 0
        for table, rows in _grouped(deletes, lambda row: row.table):
            drifted += len(rows) - await _delete(conn, self._catalog.tables[table], rows)
        for (table, columns), rows in _grouped(updates, lambda row: (row.table, _changed(row))):
            drifted += await _update(conn, self._catalog.tables[table], columns, rows)
        for table, rows in _grouped(inserts, lambda row: row.table):
            drifted += await _upsert(conn, self._catalog.tables[table], rows)
        return WrittenRows(len(wanted), drifted)


def _changed(row: RowTarget) -> tuple[str, ...]:
    """The columns an update has to set."""
    current, target = row.current or {}, row.target or {}
    return tuple(sorted(c for c, value in target.items() if c not in current or current[c] != value))


def _grouped(rows: Iterable[RowTarget], key: Callable[[RowTarget], G]) -> list[tuple[G, list[RowTarget]]]:
    groups: dict[G, list[RowTarget]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.items())


def _vectors(rows: Sequence[RowTarget], columns: Sequence[str]) -> list[list[str | None]]:
    return [[(row.target or {}).get(column) for row in rows] for column in columns]


def _identities(shape: TableShape, rows: Sequence[RowTarget]) -> list[list[str | None]]:
    return [[row.identity[i] for row in rows] for i in range(len(shape.primary_key))]


async def _delete(conn: Connection, shape: TableShape, rows: Sequence[RowTarget]) -> int:
    return _count(await conn.execute(statements.delete(shape), *_identities(shape, rows)))


async def _update(conn: Connection, shape: TableShape, columns: tuple[str, ...], rows: Sequence[RowTarget]) -> int:
    """Set the changed columns; rows that were missing are inserted whole. Return how many were missing."""
    vectors = [*_identities(shape, rows), *_vectors(rows, columns)]
    updated = _count(await conn.execute(statements.update(shape, columns), *vectors))
    if updated == len(rows):
        return 0
    await _upsert(conn, shape, rows)
    return len(rows) - updated


async def _upsert(conn: Connection, shape: TableShape, rows: Sequence[RowTarget]) -> int:
    """Insert the rows; a row whose primary key is there already is overwritten. Return how many were there."""
    columns = [c for c in shape.writable if all(c in (row.target or {}) for row in rows)]
    existed = await conn.fetch(statements.upsert(shape, columns), *_vectors(rows, columns))
    return sum(1 for record in existed if record["existed"])


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[-1])
