"""Brings a drifted shadow back to live: all of it, or single rows.

All of it (`resync`) when changes may have been missed: at the start with a temporary slot, after a cut capture, after a
contradiction. Whole tables are compared by checksums of buckets, and only what differs is copied. Where live's changes are all known,
those that still wait for the shadow are taken back in the same step (`rewind`), so that what waits can still be compared. Single rows
(`repair`) when somebody wrote them on the shadow outside every mirrored request. Live is only read. Live changes that are captured
meanwhile are applied afterwards in order, so the shadow converges.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.exchanges.row_changes import RowChange
from comparator.postgres import UNAVAILABLE, Connection
from proxy.errors import ShadowDriftError, ShadowUnreachableError
from proxy.runner.rewind import rewound
from proxy.runner.row_targets import Identity, RowTarget
from proxy.runner.row_writer import RowWriter

logger = logging.getLogger(__name__)

BUCKETS = 1024
STATEMENT_TIMEOUT_S = 600
LOCK_TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True)
class TransactionSnapshot:
    """Which transactions a reading of the database has seen (`pg_current_snapshot`), by 32-bit transaction id."""

    ended_below: int
    begun_below: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "TransactionSnapshot":
        """From PostgreSQL's text, e.g. `10:20:10,14`."""
        low, high, running = text.split(":")
        return cls(_short(low), _short(high), frozenset(_short(xid) for xid in running.split(",") if xid))

    def covers(self, xid: int) -> bool:
        """Whether what this committed transaction did was seen."""
        if not self.begun_below:
            return False
        if _before(xid, self.ended_below):
            return True
        return _before(xid, self.begun_below) and xid not in self.running


NOTHING_SEEN = TransactionSnapshot(0, 0, frozenset())
XIDS = 2**32


def _short(xid: str) -> int:
    return int(xid) % XIDS


def _before(xid: int, other: int) -> bool:
    """Order of transaction ids on their circle, as PostgreSQL has it."""
    return 0 < (other - xid) % XIDS < XIDS // 2


@dataclass(frozen=True, slots=True)
class ResyncResult:
    """How many rows of the shadow were written, by table, and what both sides' transactions this deals with.

    `rewound`: what waits for the shadow was taken back, and is still to be done.
    """

    rows: Mapping[str, int]
    live: TransactionSnapshot
    shadow: TransactionSnapshot
    rewound: bool = False

    @property
    def total(self) -> int:
        """Rows written in all tables."""
        return sum(self.rows.values())


def _key_text(shape: TableShape) -> str:
    return " || '|' || ".join(f"t.{quote(column)}::text" for column in shape.primary_key)


def _bucket(shape: TableShape) -> str:
    return f"('x' || substr(md5({_key_text(shape)}), 1, 4))::bit(16)::int % {BUCKETS}"


def checksums_sql(shape: TableShape) -> str:
    """One row a bucket: rows in it and the sum of their digests."""
    return (
        f"SELECT {_bucket(shape)} AS bucket, count(*) AS rows, "  # noqa: S608 (quoted names)
        f"sum(('x' || substr(md5(t::text), 1, 16))::bit(64)::bigint::numeric)::text AS digest "
        f"FROM {shape.quoted} t GROUP BY 1"
    )


def digests_sql(shape: TableShape) -> str:
    """Primary key and digest of each row of the buckets in $1."""
    keys = ", ".join(f"t.{quote(column)}::text" for column in shape.primary_key)
    return (
        f"SELECT ARRAY[{keys}] AS identity, md5(t::text) AS digest FROM {shape.quoted} t "  # noqa: S608
        f"WHERE {_bucket(shape)} = ANY($1::int[])"
    )


def rows_sql(shape: TableShape) -> str:
    """The writable columns, as text, of the rows whose primary keys are in the arrays."""
    columns = ", ".join(f"t.{quote(column)}::text AS {quote(column)}" for column in shape.writable)
    arrays = ", ".join(f"${i}::text[]" for i in range(1, len(shape.primary_key) + 1))
    names = ", ".join(quote(f"pk_{column}") for column in shape.primary_key)
    same = " AND ".join(f"t.{quote(c)} = v.{quote(f'pk_{c}')}::{shape.types[c]}" for c in shape.primary_key)
    return f"SELECT {columns} FROM {shape.quoted} t JOIN unnest({arrays}) AS v({names}) ON {same}"  # noqa: S608


Waiting = Callable[[TransactionSnapshot], Awaitable[Sequence[RowChange]]]
"""Gives the changes that a snapshot of live saw and that still wait for the shadow, in commit order, once all are known."""


async def resync(
    live: Connection, shadow: Connection, aligner: RowWriter, catalog: Catalog, waiting: Waiting | None = None
) -> ResyncResult:
    """Make every captured table of the shadow equal to live's, or to what live's was before all that waits.

    Args:
        live: a connection to live; it is only read.
        shadow: a connection to the shadow, to compare; writing is the aligner's.
        aligner: writes.
        catalog: the tables; those without a primary key are left out.
        waiting: what to take back, if that can be told from its old images; None takes nothing back.

    Raises:
        ShadowUnreachableError: one of the databases did not answer; try again.
        ShadowDriftError: the tables contradict each other even as a whole; clone the shadow anew.
    """
    try:
        async with live.transaction(isolation="repeatable_read", readonly=True), shadow.transaction():
            await _keep_others_out(shadow, catalog)
            seen = [TransactionSnapshot.parse(await conn.fetchval(SNAPSHOT)) for conn in (live, shadow)]
            wanted: list[RowTarget] = []
            for shape in catalog.tables.values():
                if shape.primary_key:
                    wanted += await _differing(live, shadow, shape)
            before = rewound(wanted, await waiting(seen[0]), catalog.tables) if waiting else None
            wanted = wanted if before is None else before
            await aligner.write(shadow, wanted)
    except asyncpg.IntegrityConstraintViolationError as error:
        raise ShadowDriftError(f"resync: {error}") from error
    except UNAVAILABLE as error:
        raise ShadowUnreachableError(f"resync: {error!r}") from error
    except asyncpg.PostgresError as error:
        raise ShadowDriftError(f"resync: the tables are not alike: {error}") from error
    counts: dict[str, int] = {}
    for row in wanted:
        counts[row.table] = counts.get(row.table, 0) + 1
    return ResyncResult(counts, seen[0], seen[1], rewound=before is not None)


SNAPSHOT = "SELECT pg_current_snapshot()::text"


async def _keep_others_out(shadow: Connection, catalog: Catalog) -> None:
    """Lock the shadow's tables against writers until the end of the transaction.

    A mirrored request that a killed runner left behind may still be writing. If it holds on for too long, the resync goes
    on without the lock: what it writes later is captured and repaired.
    """
    tables = ", ".join(shape.quoted for shape in catalog.tables.values())
    try:
        async with shadow.transaction():
            await shadow.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            await shadow.execute(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")
    except asyncpg.LockNotAvailableError:
        logger.warning("shadow_busy", extra={"do": "look for a mirrored service that hangs in a transaction"})


async def repair(live: Connection, aligner: RowWriter, catalog: Catalog, rows: Iterable[tuple[str, Identity]]) -> int:
    """Make single rows of the shadow equal to live's; return how many were given.

    Raises:
        ShadowUnreachableError, ShadowDriftError: as `resync`.
    """
    by_table: dict[str, list[Identity]] = {}
    for table, identity in rows:
        if table in catalog.tables:
            by_table.setdefault(table, []).append(identity)
    wanted: list[RowTarget] = []
    try:
        for table, identities in by_table.items():
            found = await _fetch(live, catalog.tables[table], identities, existing={})
            there = {row.identity for row in found}
            wanted += [RowTarget(table, identity, {}, None) for identity in identities if identity not in there]
            wanted += found
    except UNAVAILABLE as error:
        raise ShadowUnreachableError(f"repair: {error!r}") from error
    await aligner.apply(wanted)
    return len(wanted)


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
    gone = [RowTarget(shape.name, identity, {}, None) for identity in of_shadow if identity not in of_live]
    stale = [identity for identity, digest in of_live.items() if of_shadow.get(identity) != digest]
    return gone + await _fetch(live, shape, stale, existing=of_shadow)


async def _unequal(live: Connection, shadow: Connection, sql: str) -> list[int]:
    of_live, of_shadow = [
        {r["bucket"]: (r["rows"], r["digest"]) for r in await conn.fetch(sql, timeout=STATEMENT_TIMEOUT_S)}
        for conn in (live, shadow)
    ]
    return [b for b in of_live.keys() | of_shadow.keys() if of_live.get(b) != of_shadow.get(b)]


async def _fetch(
    live: Connection, shape: TableShape, identities: Sequence[Identity], *, existing: Mapping[Identity, str]
) -> list[RowTarget]:
    if not identities:
        return []
    vectors = [[identity[i] for identity in identities] for i in range(len(shape.primary_key))]
    records = await live.fetch(rows_sql(shape), *vectors, timeout=STATEMENT_TIMEOUT_S)
    wanted: list[RowTarget] = []
    for record in records:
        row: dict[str, str | None] = dict(record)
        identity = tuple(row[column] for column in shape.primary_key)
        wanted.append(RowTarget(shape.name, identity, {} if identity in existing else None, row))
    return wanted
