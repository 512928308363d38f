"""Write rows of the shadow so that it equals live again: in place, in one transaction, with deferred constraints.

Deletes come first, then updates of the changed columns only (a parent row that others check is never deleted), then inserts. Values
travel as text and are cast to the column's type. The transactions carry a message, by which the capture of the shadow drops them.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from comparator.capture.table_shape import Catalog, TableShape
from comparator.postgres import UNAVAILABLE, Connection
from proxy.errors import DatabaseUnreachableError, ShadowDriftError
from proxy.runner import row_sql
from proxy.runner.row_targets import RowTarget

SESSION_OPTIONS = {"timezone": "UTC", "datestyle": "ISO", "extra_float_digits": "3", "application_name": "shadow-align"}
"""With these a value reads as it does in the captured log, so that texts can be compared."""

G = TypeVar("G", bound=Hashable)


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """Result of an alignment.

    Attributes:
        rows: number of rows written.
        drifted: how many of them did not hold what they should have held before; they are correct now.
    """

    rows: int
    drifted: int


NOTHING_WRITTEN = WrittenRows(0, 0)


class RowWriter:
    """Writes rows of the shadow.

    Args:
        pool: connections to the shadow, opened with SESSION_OPTIONS.
        catalog: shapes of the captured tables.
        timeout_s: for one alignment.
    """

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._catalog = catalog
        self._timeout_s = timeout_s
        self._rank = {table: rank for rank, table in enumerate(row_sql.parents_first(catalog))}

    async def apply(self, rows: Sequence[RowTarget]) -> WrittenRows:
        """Write rows in a transaction of their own.

        Raises:
            ShadowDriftError: the shadow holds rows that contradict live (a unique or foreign key); it must be resynced.
            DatabaseUnreachableError: the shadow database did not answer; nothing was written.
        """
        if not rows:
            return NOTHING_WRITTEN
        try:
            async with asyncio.timeout(self._timeout_s), self._pool.acquire() as conn, conn.transaction():
                return await self.write(conn, rows)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise ShadowDriftError(f"{type(error).__name__} on {error.table_name or 'the shadow'}: {error}") from error
        except UNAVAILABLE as error:
            raise DatabaseUnreachableError(f"alignment of {len(rows)} rows: {error!r}") from error

    async def truncate(self, tables: Sequence[str]) -> None:
        """Truncate tables, as live did."""
        async with asyncio.timeout(self._timeout_s), self._pool.acquire() as conn, conn.transaction():
            await conn.execute(row_sql.BEGIN_ALIGNMENT)
            await conn.execute(f"TRUNCATE {', '.join(self._catalog.tables[t].quoted for t in tables)} CASCADE")

    async def write(self, conn: Connection, rows: Sequence[RowTarget]) -> WrittenRows:
        """Write rows in the transaction that the caller has begun on `conn`. Errors of the database pass through."""
        await conn.execute(row_sql.BEGIN_ALIGNMENT)
        by_table = sorted(rows, key=lambda row: self._rank.get(row.table, 0))
        deletes = [row for row in reversed(by_table) if row.target is None]
        updates = [row for row in by_table if row.target is not None and row.current is not None]
        inserts = [row for row in by_table if row.target is not None and row.current is None]
        drifted = 0
        for table, group in _grouped(deletes, lambda row: row.table):
            drifted += len(group) - await _delete(conn, self._catalog.tables[table], group)
        for (table, columns), group in _grouped(updates, lambda row: (row.table, _changed(row))):
            drifted += await _update(conn, self._catalog.tables[table], columns, group)
        for table, group in _grouped(inserts, lambda row: row.table):
            drifted += await _upsert(conn, self._catalog.tables[table], group)
        return WrittenRows(len(rows), drifted)


def _changed(row: RowTarget) -> tuple[str, ...]:
    """Return the columns that an update has to set."""
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
    return _count(await conn.execute(row_sql.delete(shape), *_identities(shape, rows)))


async def _update(conn: Connection, shape: TableShape, columns: tuple[str, ...], rows: Sequence[RowTarget]) -> int:
    """Set the changed columns, and insert whole rows where the row is missing; return how many were missing."""
    vectors = [*_identities(shape, rows), *_vectors(rows, columns)]
    updated = _count(await conn.execute(row_sql.update(shape, columns), *vectors))
    if updated == len(rows):
        return 0
    await _upsert(conn, shape, rows)
    return len(rows) - updated


async def _upsert(conn: Connection, shape: TableShape, rows: Sequence[RowTarget]) -> int:
    """Insert whole rows, overwriting those whose primary key exists; return how many existed."""
    columns = [c for c in shape.writable if all(c in (row.target or {}) for row in rows)]
    existed = await conn.fetch(row_sql.upsert(shape, columns), *_vectors(rows, columns))
    return sum(1 for record in existed if record["existed"])


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[-1])
