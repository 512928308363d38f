"""Brings a drifted shadow back to live: whole tables are compared by checksums of buckets, and only what differs is copied.

Needed when changes may have been missed: at the start with a temporary slot, after a cut capture, after a contradiction. Live is
only read, in one snapshot. Live changes that are captured meanwhile are applied afterwards in order, so the shadow converges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from comparator.capture.catalog import Catalog, TableShape, quote
from proxy.errors import ShadowUnreachableError
from proxy.shadow.align import Aligner, Connection
from proxy.shadow.targets import Identity, RowTarget

BUCKETS = 1024
STATEMENT_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Resynced:
    """How many rows of the shadow were not live's, by table."""

    rows: Mapping[str, int]

    @property
    def total(self) -> int:
        """Rows mended in all tables."""
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


async def resync(live: Connection, shadow: Connection, aligner: Aligner, catalog: Catalog) -> Resynced:
    """Make every captured table of the shadow equal to live's.

    Args:
        live: a connection to live; it is only read.
        shadow: a connection to the shadow, to compare; writing is the aligner's.
        aligner: writes.
        catalog: the tables; those without a primary key are left out.

    Raises:
        ShadowUnreachableError: one of the databases did not answer; try again.
        ShadowDriftError: the tables contradict each other even as a whole; clone the shadow anew.
    """
    wanted: list[RowTarget] = []
    try:
        async with live.transaction(isolation="repeatable_read", readonly=True):
            for shape in catalog.tables.values():
                if shape.primary_key:
                    wanted += await _differing(live, shadow, shape)
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise ShadowUnreachableError(f"resync: {error!r}") from error
    await aligner.apply(wanted)
    counts: dict[str, int] = {}
    for row in wanted:
        counts[row.table] = counts.get(row.table, 0) + 1
    return Resynced(counts)


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
