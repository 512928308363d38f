"""Bring a drifted shadow back to live: all tables (`resync`) or single rows (`repair`). Live is only read.

All tables are compared when changes may have been missed: at the start with a temporary slot, after an interrupted capture, after a
contradiction. Rows are hashed into buckets by their primary key, and buckets are compared by checksum, so that equal tables cost one
pass over each and only what differs is copied:

    live     bucket 17: 3 rows, digest 8a..   bucket 18: 2 rows, digest 41..
    shadow   bucket 17: 3 rows, digest 8a..   bucket 18: 2 rows, digest 9c..

    18 differs: the digests of its rows are read from both sides. Row (7) has digest aa.. on live and bb.. on the shadow, row (9) is only
    on the shadow. So row (7) is copied from live, row (9) is deleted, and bucket 17 is not looked at.

Where all of live's changes are known, those that still wait for the shadow are taken back in the same step (`row_targets.rewound`), so
that what waits can still be compared. Changes of live that are captured meanwhile are applied afterwards, in order.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from comparator.capture.attribution_keys import RowId
from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.effects.row_fold import PrimaryKey
from comparator.exchanges.row_changes import RowChange
from comparator.postgres import UNAVAILABLE, Connection
from proxy.errors import DatabaseUnreachableError, ShadowDriftError
from proxy.runner.row_targets import RowTarget, rewound
from proxy.runner.row_writer import RowWriter, WrittenRows
from proxy.runner.transaction_snapshot import NOTHING_SEEN, TransactionSnapshot

logger = logging.getLogger(__name__)

BUCKETS = 1024
ACQUIRE_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_S = 600
LOCK_TIMEOUT_MS = 5_000

PendingChanges = Callable[[TransactionSnapshot], Awaitable[Sequence[RowChange]]]
"""Returns the changes that a snapshot of live saw and that still wait for the shadow, in commit order, once all are known."""


@dataclass(frozen=True, slots=True)
class ResyncResult:
    """Result of a resync.

    Attributes:
        rows: number of rows written, by table.
        live: the transactions of live that the shadow has now.
        shadow: the transactions of the shadow that were overwritten.
        rewound: the changes that wait for the shadow were taken back, and are still to be applied.
    """

    rows: Mapping[str, int]
    live: TransactionSnapshot
    shadow: TransactionSnapshot
    rewound: bool = False

    @property
    def total(self) -> int:
        """Rows written in all tables."""
        return sum(self.rows.values())


NOTHING_RESYNCED = ResyncResult({}, NOTHING_SEEN, NOTHING_SEEN)


@dataclass(frozen=True, slots=True)
class AlignedShadow:
    """The shadow's tables, kept equal to live's; `UnalignedShadow` stands in where no changes are captured.

    Attributes:
        live: connections to live, opened with SESSION_OPTIONS.
        shadow: connections to the shadow, opened in the same way.
        catalog: shapes of the captured tables.
        writer: writes rows of the shadow.
    """

    live: asyncpg.Pool
    shadow: asyncpg.Pool
    catalog: Catalog
    writer: RowWriter

    async def write(self, rows: Sequence[RowTarget]) -> WrittenRows:
        """Write rows, as `RowWriter.apply` does."""
        return await self.writer.apply(rows)

    async def truncate(self, tables: Sequence[str]) -> None:
        """Truncate tables, as live did."""
        await self.writer.truncate(tables)

    async def resync(self, pending: PendingChanges | None) -> ResyncResult:
        """Compare whole tables, as `resync` does."""
        async with _acquired(self.live) as live, _acquired(self.shadow) as shadow:
            return await resync(live, shadow, self.writer, self.catalog, pending)

    async def repair(self, rows: Iterable[RowId]) -> int:
        """Copy rows from live, as `repair` does."""
        async with _acquired(self.live) as live:
            return await repair(live, self.writer, self.catalog, rows)


@asynccontextmanager
async def _acquired(pool: asyncpg.Pool) -> AsyncGenerator[Connection, None]:
    try:
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
            yield conn
    except UNAVAILABLE as error:
        raise DatabaseUnreachableError(f"database: {error!r}") from error


def _key_text(shape: TableShape) -> str:
    return " || '|' || ".join(f"t.{quote(column)}::text" for column in shape.primary_key)


def _bucket(shape: TableShape) -> str:
    return f"('x' || substr(md5({_key_text(shape)}), 1, 4))::bit(16)::int % {BUCKETS}"


def checksums_sql(shape: TableShape) -> str:
    """Return the query for the checksum of each bucket: its number of rows, and the sum of their digests.

    A sum does not depend on the order of the rows, so neither side has to sort.
    """
    return (
        f"SELECT {_bucket(shape)} AS bucket, count(*) AS rows, "  # noqa: S608 (quoted names)
        f"sum(('x' || substr(md5(t::text), 1, 16))::bit(64)::bigint::numeric)::text AS digest "
        f"FROM {shape.quoted} t GROUP BY 1"
    )


def digests_sql(shape: TableShape) -> str:
    """Return the query for primary key and digest of each row in the buckets of $1."""
    keys = ", ".join(f"t.{quote(column)}::text" for column in shape.primary_key)
    return (
        f"SELECT ARRAY[{keys}] AS identity, md5(t::text) AS digest FROM {shape.quoted} t "  # noqa: S608
        f"WHERE {_bucket(shape)} = ANY($1::int[])"
    )


def rows_sql(shape: TableShape) -> str:
    """Return the query for the writable columns, as text, of the rows whose primary keys are in the array parameters."""
    columns = ", ".join(f"t.{quote(column)}::text AS {quote(column)}" for column in shape.writable)
    arrays = ", ".join(f"${i}::text[]" for i in range(1, len(shape.primary_key) + 1))
    names = ", ".join(quote(f"pk_{column}") for column in shape.primary_key)
    same = " AND ".join(f"t.{quote(c)} = v.{quote(f'pk_{c}')}::{shape.types[c]}" for c in shape.primary_key)
    return f"SELECT {columns} FROM {shape.quoted} t JOIN unnest({arrays}) AS v({names}) ON {same}"  # noqa: S608


async def resync(
    live: Connection, shadow: Connection, writer: RowWriter, catalog: Catalog, pending: PendingChanges | None = None
) -> ResyncResult:
    """Make every captured table of the shadow equal to live's, or to live's before all pending changes.

    Args:
        live: a connection to live.
        shadow: a connection to the shadow.
        writer: writes rows of the shadow.
        catalog: the tables; those without a primary key are left out.
        pending: returns the changes to take back, where their images before allow it; None takes nothing back.

    Raises:
        DatabaseUnreachableError: one of the databases did not answer; try again.
        ShadowDriftError: the tables contradict each other as a whole; make a new clone with `shadow align clone`.
    """
    try:
        async with live.transaction(isolation="repeatable_read", readonly=True), shadow.transaction():
            await _lock_tables(shadow, catalog)
            seen = [TransactionSnapshot.parse(await conn.fetchval(SNAPSHOT)) for conn in (live, shadow)]
            rows: list[RowTarget] = []
            for shape in catalog.tables.values():
                if shape.primary_key:
                    rows += await _differing(live, shadow, shape)
            before = rewound(rows, await pending(seen[0]), catalog.tables) if pending else None
            rows = rows if before is None else before
            await writer.write(shadow, rows)
    except asyncpg.IntegrityConstraintViolationError as error:
        raise ShadowDriftError(f"resync: {error}") from error
    except UNAVAILABLE as error:
        raise DatabaseUnreachableError(f"resync: {error!r}") from error
    except asyncpg.PostgresError as error:
        raise ShadowDriftError(f"resync: the tables are not alike: {error}") from error
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.table] = counts.get(row.table, 0) + 1
    return ResyncResult(counts, seen[0], seen[1], rewound=before is not None)


SNAPSHOT = "SELECT pg_current_snapshot()::text"


async def _lock_tables(shadow: Connection, catalog: Catalog) -> None:
    """Lock the shadow's tables against writers until the end of the transaction.

    A mirrored request that a killed runner left behind may still be writing. If it holds its locks for too long, the resync continues
    without: what it writes later is captured and repaired.
    """
    tables = ", ".join(shape.quoted for shape in catalog.tables.values())
    try:
        async with shadow.transaction():
            await shadow.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            await shadow.execute(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")
    except asyncpg.LockNotAvailableError:
        logger.warning("shadow_lock_timed_out", extra={"do": "look for a mirrored service that hangs in a transaction"})


async def repair(live: Connection, writer: RowWriter, catalog: Catalog, rows: Iterable[RowId]) -> int:
    """Make single rows of the shadow equal to live's; return the number of rows.

    Raises:
        DatabaseUnreachableError, ShadowDriftError: as `resync`.
    """
    by_table: dict[str, list[PrimaryKey]] = {}
    for table, identity in rows:
        if table in catalog.tables:
            by_table.setdefault(table, []).append(identity)
    result: list[RowTarget] = []
    try:
        for table, identities in by_table.items():
            existing = await _fetch(live, catalog.tables[table], identities, on_shadow={})
            on_live = {row.identity for row in existing}
            result += [RowTarget(table, identity, {}, None) for identity in identities if identity not in on_live]
            result += existing
    except UNAVAILABLE as error:
        raise DatabaseUnreachableError(f"repair: {error!r}") from error
    await writer.apply(result)
    return len(result)


async def _differing(live: Connection, shadow: Connection, shape: TableShape) -> list[RowTarget]:
    buckets = await _unequal(live, shadow, checksums_sql(shape))
    if not buckets:
        return []
    of_live, of_shadow = [
        {
            tuple(r["identity"]): r["digest"]
            for r in await conn.fetch(digests_sql(shape), buckets, timeout=STATEMENT_TIMEOUT_S)
        }
        for conn in (live, shadow)
    ]
    extra = [RowTarget(shape.name, identity, {}, None) for identity in of_shadow if identity not in of_live]
    stale = [identity for identity, digest in of_live.items() if of_shadow.get(identity) != digest]
    return extra + await _fetch(live, shape, stale, on_shadow=of_shadow)


async def _unequal(live: Connection, shadow: Connection, sql: str) -> list[int]:
    of_live, of_shadow = [
        {r["bucket"]: (r["rows"], r["digest"]) for r in await conn.fetch(sql, timeout=STATEMENT_TIMEOUT_S)}
        for conn in (live, shadow)
    ]
    return [b for b in of_live.keys() | of_shadow.keys() if of_live.get(b) != of_shadow.get(b)]


async def _fetch(
    live: Connection, shape: TableShape, identities: Sequence[PrimaryKey], *, on_shadow: Mapping[PrimaryKey, str]
) -> list[RowTarget]:
    """Return live's rows as targets; `on_shadow` has the rows that the shadow has too, whose content is not read."""
    if not identities:
        return []
    vectors = [[identity[i] for identity in identities] for i in range(len(shape.primary_key))]
    records = await live.fetch(rows_sql(shape), *vectors, timeout=STATEMENT_TIMEOUT_S)
    result: list[RowTarget] = []
    for record in records:
        row: dict[str, str | None] = dict(record)
        identity = tuple(row[column] for column in shape.primary_key)
        result.append(RowTarget(shape.name, identity, {} if identity in on_shadow else None, row))
    return result
