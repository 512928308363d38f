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
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from comparator.capture.attribution_keys import RowId
from comparator.capture.row_text import parse
from comparator.capture.table_shape import TableShape, quote
from comparator.effects.row_fold import PrimaryKey, RowKey
from comparator.exchanges.row_changes import Row, RowChange
from comparator.postgres import UNAVAILABLE, Connection
from proxy.errors import DatabaseUnreachableError, ShadowDriftError
from proxy.runner.row_sql import image_sql
from proxy.runner.row_targets import Alignment, RowTarget, rewound
from proxy.runner.row_writer import RowWriter, WrittenRows, explained
from proxy.runner.transaction_snapshot import NOTHING_SEEN, TransactionSnapshot
from proxy.runner.uncaptured_parents import copy_missing_parents

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
        tables: names of the tables that were compared; None for all.
        unequal: rows that did not become what was written; they are not correct.
    """

    rows: Mapping[str, int]
    live: TransactionSnapshot
    shadow: TransactionSnapshot
    rewound: bool = False
    tables: frozenset[str] | None = None
    unequal: tuple[RowKey, ...] = ()

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
        writer: writes rows of the shadow, and has the catalogue of the captured tables.
    """

    live: asyncpg.Pool
    shadow: asyncpg.Pool
    writer: RowWriter

    async def write(self, work: Alignment) -> WrittenRows:
        """Make changes, as `RowWriter.apply` does."""
        return await self.writer.apply(work)

    async def resync(self, pending: PendingChanges | None, tables: Collection[str] | None = None) -> ResyncResult:
        """Compare whole tables, as `resync` does."""
        async with _acquired(self.live) as live, _acquired(self.shadow) as shadow:
            return await resync(live, shadow, self.writer, pending, tables=tables)

    async def repair(self, rows: Iterable[RowId]) -> WrittenRows:
        """Copy rows from live, as `repair` does."""
        async with _acquired(self.live) as live:
            return await repair(live, self.writer, rows)


@asynccontextmanager
async def _acquired(pool: asyncpg.Pool) -> AsyncGenerator[Connection, None]:
    try:
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
            yield conn
    except UNAVAILABLE as error:
        raise DatabaseUnreachableError(f"database: {error!r}") from error


def _hashed(shape: TableShape, also: str = "") -> str:
    """Return the relation of a table's rows: bucket, digest, and what else is selected.

    A row is hashed over the text of its values in the log's form, in the order of the shadow's columns: live's may have another.
    The bucket of a row of a table without a primary key depends on all of its values.
    """
    digest = f"md5({image_sql(shape.writable)})"
    key = f"md5({image_sql(shape.primary_key)})" if shape.primary_key else digest
    bucket = f"('x' || substr({key}, 1, 4))::bit(16)::int % {BUCKETS}"
    return f"(SELECT {bucket} AS bucket, {digest} AS digest{also} FROM {shape.own_rows} t) h"  # noqa: S608 (quoted names)


def checksums_sql(shape: TableShape) -> str:
    """Return the query for the checksum of each bucket: its number of rows, and the sum of their digests.

    A sum does not depend on the order of the rows, so neither side has to sort.
    """
    digest = "sum(('x' || substr(digest, 1, 16))::bit(64)::bigint::numeric)::text"
    return f"SELECT bucket, count(*) AS rows, {digest} AS digest FROM {_hashed(shape)} GROUP BY 1"  # noqa: S608


def digests_sql(shape: TableShape) -> str:
    """Return the query for the text of the primary key and the digest of each row in the buckets of $1."""
    hashed = _hashed(shape, f", {image_sql(shape.primary_key)} AS identity")
    return f"SELECT identity, digest FROM {hashed} WHERE bucket = ANY($1::int[])"  # noqa: S608


def counts_sql(shape: TableShape) -> str:
    """Return the query for the digests of the rows in the buckets of $1, and how many rows have each."""
    return f"SELECT digest, count(*) AS rows FROM {_hashed(shape)} WHERE bucket = ANY($1::int[]) GROUP BY 1"  # noqa: S608


def images_sql(shape: TableShape) -> str:
    """Return the query for the text of one row of each digest in $2, in the buckets of $1."""
    return (
        f"SELECT DISTINCT ON (digest) digest, image FROM {_hashed(shape, f', {image_sql(shape.writable)} AS image')} "  # noqa: S608
        f"WHERE bucket = ANY($1::int[]) AND digest = ANY($2::text[]) ORDER BY digest"
    )


def rows_sql(shape: TableShape) -> str:
    """Return the query for the text of the rows whose primary keys are in the array parameters."""
    arrays = ", ".join(f"${i}::text[]" for i in range(1, len(shape.primary_key) + 1))
    names = ", ".join(quote(column) for column in shape.primary_key)
    same = " AND ".join(f"t.{quote(c)} = v.{quote(c)}::{shape.types[c]}" for c in shape.primary_key)
    rows = f"{shape.own_rows} t JOIN unnest({arrays}) AS v({names}) ON {same}"
    return f"SELECT {image_sql(shape.writable)} AS image FROM {rows}"  # noqa: S608


async def resync(
    live: Connection,
    shadow: Connection,
    writer: RowWriter,
    pending: PendingChanges | None = None,
    *,
    tables: Collection[str] | None = None,
) -> ResyncResult:
    """Make captured tables of the shadow equal to live's, or to live's before all pending changes.

    Args:
        live: a connection to live.
        shadow: a connection to the shadow.
        writer: writes rows of the shadow; its catalogue has the tables.
        pending: returns the changes to take back, where their images before allow it; None takes nothing back.
        tables: names of the tables; None for all. Others are neither locked nor read.

    Raises:
        DatabaseUnreachableError: one of the databases did not answer; try again.
        ShadowDriftError: the tables contradict each other as a whole; make a new clone with `shadow align clone`.
    """
    shapes = {name: shape for name, shape in writer.catalog.tables.items() if tables is None or name in tables}
    if not shapes:
        return NOTHING_RESYNCED
    try:
        async with live.transaction(isolation="repeatable_read", readonly=True), shadow.transaction():
            await _lock_tables(shadow, shapes.values())
            seen = [TransactionSnapshot.parse(await conn.fetchval(SNAPSHOT)) for conn in (live, shadow)]
            rows: list[RowTarget] = []
            for shape in shapes.values():
                rows += await _differing(live, shadow, shape)
            before = rewound(rows, await pending(seen[0]), shapes) if pending else None
            rows = rows if before is None else before
            await copy_missing_parents(live, shadow, writer.catalog, rows)
            written = await writer.write(shadow, rows)
    except UNAVAILABLE as error:
        raise DatabaseUnreachableError(f"resync: {error!r}") from error
    except asyncpg.PostgresError as error:
        raise ShadowDriftError(f"resync: {explained(error)}") from error
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.table] = counts.get(row.table, 0) + 1
    return ResyncResult(
        counts,
        seen[0],
        seen[1],
        rewound=before is not None,
        tables=None if tables is None else frozenset(shapes),
        unequal=written.unequal,
    )


SNAPSHOT = "SELECT pg_current_snapshot()::text"


async def _lock_tables(shadow: Connection, shapes: Iterable[TableShape]) -> None:
    """Lock the shadow's tables against writers until the end of the transaction.

    A mirrored request that a killed runner left behind may still be writing. If it holds its locks for too long, the resync continues
    without: what it writes later is captured and repaired.
    """
    tables = ", ".join(shape.own_rows for shape in shapes)
    try:
        async with shadow.transaction():
            await shadow.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            await shadow.execute(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")
    except asyncpg.LockNotAvailableError:
        logger.warning("shadow_lock_timed_out", extra={"do": "look for a mirrored service that hangs in a transaction"})


async def repair(live: Connection, writer: RowWriter, rows: Iterable[RowId]) -> WrittenRows:
    """Make single rows of the shadow, of tables with a primary key, equal to live's.

    Raises:
        DatabaseUnreachableError, ShadowDriftError: as `resync`.
    """
    tables = writer.catalog.tables
    by_table: dict[str, list[PrimaryKey]] = {}
    for table, identity in rows:
        # The row of a table without a key, and a TRUNCATE, have no primary key to look them up by.
        if table in tables and tables[table].primary_key and len(identity) == len(tables[table].primary_key):
            by_table.setdefault(table, []).append(identity)
    result: list[RowTarget] = []
    try:
        for table, identities in by_table.items():
            existing = await _fetch(live, tables[table], identities, on_shadow={})
            on_live = {row.identity for row in existing}
            result += [RowTarget(table, identity, {}, None) for identity in identities if identity not in on_live]
            result += existing
    except UNAVAILABLE as error:
        raise DatabaseUnreachableError(f"repair: {error!r}") from error
    except asyncpg.PostgresError as error:
        raise ShadowDriftError(f"repair: {explained(error)}") from error
    return await writer.apply(Alignment(result), known=False)


async def _differing(live: Connection, shadow: Connection, shape: TableShape) -> list[RowTarget]:
    buckets = await _unequal(live, shadow, checksums_sql(shape))
    if not buckets:
        return []
    if not shape.primary_key:
        return await _differing_whole_rows(live, shadow, shape, buckets)
    of_live, of_shadow = [
        {
            tuple(parse(r["identity"])): r["digest"]
            for r in await conn.fetch(digests_sql(shape), buckets, timeout=STATEMENT_TIMEOUT_S)
        }
        for conn in (live, shadow)
    ]
    extra = [RowTarget(shape.name, identity, {}, None) for identity in of_shadow if identity not in of_live]
    stale = [identity for identity, digest in of_live.items() if of_shadow.get(identity) != digest]
    return extra + await _fetch(live, shape, stale, on_shadow=of_shadow)


async def _differing_whole_rows(
    live: Connection, shadow: Connection, shape: TableShape, buckets: Sequence[int]
) -> list[RowTarget]:
    """Return the rows of a table without a primary key that one side has more often than the other."""
    of_live, of_shadow = [
        {r["digest"]: r["rows"] for r in await conn.fetch(counts_sql(shape), buckets, timeout=STATEMENT_TIMEOUT_S)}
        for conn in (live, shadow)
    ]
    surplus = {
        digest: of_live.get(digest, 0) - of_shadow.get(digest, 0) for digest in of_live.keys() | of_shadow.keys()
    }
    result: list[RowTarget] = []
    for conn, sign in ((live, 1), (shadow, -1)):
        digests = [digest for digest, count in surplus.items() if count * sign > 0]
        for r in await conn.fetch(images_sql(shape), buckets, digests, timeout=STATEMENT_TIMEOUT_S) if digests else ():
            image = dict(zip(shape.writable, parse(r["image"]), strict=True))
            target = RowTarget(shape.name, (), *((None, image) if sign > 0 else (image, None)))
            result += [target] * abs(surplus[r["digest"]])
    return result


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
    rows = await read_rows(live, shape, identities)
    return [RowTarget(shape.name, key, {} if key in on_shadow else None, row) for key, row in rows.items()]


async def read_rows(conn: Connection, shape: TableShape, identities: Sequence[PrimaryKey]) -> dict[PrimaryKey, Row]:
    """Return those rows of a table that exist, by their primary keys. Errors of the database pass through."""
    vectors = [[identity[i] for identity in identities] for i in range(len(shape.primary_key))]
    return _by_key(shape, await conn.fetch(rows_sql(shape), *vectors, timeout=STATEMENT_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class LaterRows:
    """The rows of a table that were inserted behind one of them, among those that share values with others.

    Attributes:
        table: its name; its primary key is one column, which the database numbers.
        columns: the columns of the values.
        values: their values in each row that is looked for, as text.
        newest: number behind which a row was inserted later, as text.
    """

    table: str
    columns: tuple[str, ...]
    values: tuple[tuple[str | None, ...], ...]
    newest: str


def later_rows_sql(shape: TableShape, columns: Sequence[str]) -> str:
    """Return the query for the text of the rows with values that are in the array parameters, and a key above the last parameter."""
    arrays = ", ".join(f"${i}::text[]" for i in range(1, len(columns) + 1))
    names = ", ".join(quote(column) for column in columns)
    same = " AND ".join(f"t.{quote(c)} IS NOT DISTINCT FROM v.{quote(c)}::{shape.types[c]}" for c in columns)
    (key,) = shape.primary_key
    rows = f"{shape.own_rows} t WHERE EXISTS (SELECT FROM unnest({arrays}) AS v({names}) WHERE {same})"
    behind = f"t.{quote(key)} > ${len(columns) + 1}::text::{shape.types[key]}"
    return f"SELECT {image_sql(shape.writable)} AS image FROM {rows} AND {behind}"  # noqa: S608


async def read_later_rows(conn: Connection, shape: TableShape, wanted: LaterRows) -> dict[PrimaryKey, Row]:
    """Return the later rows by their primary keys. Errors of the database pass through."""
    vectors = [[values[i] for values in wanted.values] for i in range(len(wanted.columns))]
    sql = later_rows_sql(shape, wanted.columns)
    return _by_key(shape, await conn.fetch(sql, *vectors, wanted.newest, timeout=STATEMENT_TIMEOUT_S))


def _by_key(shape: TableShape, records: Iterable[asyncpg.Record]) -> dict[PrimaryKey, Row]:
    result: dict[PrimaryKey, Row] = {}
    for record in records:
        row: dict[str, str | None] = dict(zip(shape.writable, parse(record["image"]), strict=True))
        result[tuple([row[column] for column in shape.primary_key])] = row
    return result
