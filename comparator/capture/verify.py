"""Compare two databases completely, row by row, by checksums.

Each table is walked along its primary key in chunks, so that no statement runs for long on live and little is held in memory. The checksum
of a chunk is the sum of its rows' md5, which needs no sort. Only a chunk whose checksums differ is read row by row:

    chunk            rows, checksum in live    rows, checksum in shadow
    id <= 20000      20000, 8af2..             20000, 8af2..              equal: not read
    20000 < id       1234, 07bc..              1234, 90d1..               read: row 21017 differs

A table without a primary key has no rows to walk along: its rows are counted by their checksum, as a multiset, if the checksums of the
whole tables differ.

While there is traffic the shadow lags behind live: rows that differ are read again after a pause, and only rows that differ every time
are reported.

A row that the connected role may not see would be missing in both databases, and they would be called equal. So a table under row level
security, or without the privilege to read it, is a problem of its own (and `row_security = off` makes the server refuse what slips through).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import asyncpg

from comparator.capture.catalog import read_family
from comparator.capture.table_shape import TableKind, TableShape, quote
from comparator.table_names import canonical_name

STATEMENT_TIMEOUT_S = 300.0

KeyText = tuple[str, ...]
"""Text of a primary key's values; of a row without a key, its text."""


class RowDifferenceKind(StrEnum):
    """The way in which a row of the shadow differs from live's."""

    MISSING = "missing"
    EXTRA = "extra"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that differs, by the text of its primary key."""

    key: KeyText
    kind: RowDifferenceKind


@dataclass(frozen=True, slots=True)
class TableReport:
    """The result of one table.

    Attributes:
        table: name of the table.
        rows_live: number of rows in live.
        rows_shadow: number of rows in the shadow.
        differing: number of rows that differ.
        first: the first of them by primary key.
        problem: reason for which the rows could not be compared, "" when they could.
    """

    table: str
    rows_live: int
    rows_shadow: int
    differing: int
    first: tuple[RowDifference, ...] = ()
    problem: str = ""

    @property
    def equal(self) -> bool:
        """Both databases contain the same rows."""
        return not self.differing and not self.problem


@dataclass(frozen=True, slots=True)
class Recheck:
    """The number of times that a chunk that differs is read again, and the pause before each."""

    times: int = 0
    pause_s: float = 1.0


@dataclass(slots=True)
class _TableCounts:
    rows_live: int = 0
    rows_shadow: int = 0
    differing: int = 0
    first: list[RowDifference] = field(default_factory=list[RowDifference])


@dataclass(frozen=True, slots=True)
class DatabasePair:
    """Both databases, on connections of `comparator.capture.session.connect`, which fixes the text of values."""

    live: asyncpg.Connection
    shadow: asyncpg.Connection


async def verify(
    pair: DatabasePair,
    tables: Iterable[str],
    *,
    chunk_rows: int = 20_000,
    first_max: int = 20,
    recheck: Recheck | None = None,
) -> tuple[TableReport, ...]:
    """Compare tables of both databases.

    Args:
        pair: both databases.
        tables: names of the tables. Those that inherit from them are compared too.
        chunk_rows: rows of live in one chunk.
        first_max: number of differing rows of a table that are returned.
        recheck: rechecks of differing rows; None for none.

    Returns:
        One report for each table, in order, by its canonical name.
    """
    names = tuple(dict.fromkeys(canonical_name(name) for name in tables))
    in_live, in_shadow = await asyncio.gather(read_family(pair.live, names), read_family(pair.shadow, names))
    reports: list[TableReport] = []
    for key in dict.fromkeys([*names, *in_live.tables, *in_shadow.tables]):
        problem = _shape_problem(in_live.tables.get(key), in_shadow.tables.get(key))
        if problem:
            reports.append(TableReport(key, 0, 0, 0, problem=problem))
            continue
        shapes = in_live.tables[key], in_shadow.tables[key]
        walker = _TableWalk(pair, *shapes, chunk_rows=chunk_rows, first_max=first_max)
        reports.append(await walker.report(recheck or Recheck()))
    return tuple(reports)


def differences(live: Mapping[KeyText, str], shadow: Mapping[KeyText, str]) -> list[RowDifference]:
    """Compare the rows of a chunk, given as checksum by key; return those that differ in live's order, extra rows last."""
    lacking_or_changed = [
        RowDifference(key, RowDifferenceKind.CHANGED if key in shadow else RowDifferenceKind.MISSING)
        for key, checksum in live.items()
        if shadow.get(key) != checksum
    ]
    return lacking_or_changed + [RowDifference(key, RowDifferenceKind.EXTRA) for key in shadow if key not in live]


def _shape_problem(live: TableShape | None, shadow: TableShape | None) -> str:
    if live is None or shadow is None:
        return f"absent from {'live' if live is None else 'the shadow'}"
    for place, shape in (("live", live), ("the shadow", shadow)):
        if shape.kind not in (TableKind.TABLE, TableKind.PARTITIONED):
            return f"not compared: it is a {shape.kind} in {place}"
        if not shape.readable:
            return f"not compared: the role may not read every column in {place}; run: GRANT SELECT ON {shape.quoted} TO <role>"
        if shape.rows_hidden:
            return f"not compared: row level security hides rows from the role in {place}; run: ALTER ROLE <role> BYPASSRLS"
    if live.types != shadow.types:
        differing = [name for name, _ in live.types.items() ^ shadow.types.items()]
        return f"columns differ: {', '.join(sorted(set(differing)))}"
    if live.primary_key != shadow.primary_key:
        keys = [", ".join(shape.primary_key) or "none" for shape in (live, shadow)]
        return f"primary keys differ: {keys[0]} in live, {keys[1]} in the shadow"
    return ""


BOUND = "SELECT {key_text} FROM {table} AS t {where} ORDER BY {key} OFFSET {last} LIMIT 1"

CHECKSUM = """
SELECT count(*), sum(('x' || substr(h, 1, 16))::bit(64)::bigint), sum(('x' || substr(h, 17, 16))::bit(64)::bigint)
FROM (SELECT md5({row}::text) AS h FROM {table} AS t {where}) AS hashed
"""

ROWS = "SELECT md5({row}::text), {key_text} FROM {table} AS t {where} ORDER BY {key}"

MULTISET = 'SELECT md5({row}::text) AS digest, count(*) AS rows FROM {table} AS t GROUP BY 1 ORDER BY md5({row}::text) COLLATE "C"'

TEXTS = """
SELECT md5({row}::text) AS digest, min({row}::text) AS text FROM {table} AS t WHERE md5({row}::text) = ANY($1::text[]) GROUP BY 1
"""

ORDERS = """
SELECT a.attname::text AS column, n.nspname || '.' || l.collname AS name, l.collprovider::text AS provider,
       pg_collation_actual_version(l.oid) AS version,
       (SELECT jsonb_object_agg(key, value)::text FROM pg_database d CROSS JOIN jsonb_each(to_jsonb(d))
        WHERE d.datname = current_database() AND l.collprovider = 'd' AND key ~ 'coll|ctype|icu|locale|provider|encoding') AS default
FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation JOIN pg_namespace n ON n.oid = l.collnamespace
WHERE a.attrelid = $1::oid AND a.attname = ANY($2::text[])
"""
"""Everything that decides on the order of a column's texts."""


class _TableWalk:
    """A walk over one table of both databases. A chunk is above the key `low` and up to the key `high`; None is no bound."""

    def __init__(
        self, pair: DatabasePair, shape: TableShape, shadow_shape: TableShape, *, chunk_rows: int, first_max: int
    ) -> None:
        self._pair = pair
        self._shape = shape
        self._shadow_shape = shadow_shape
        self._chunk_rows = chunk_rows
        self._first_max = first_max
        self._set_key(frozenset())
        columns = ", ".join(f"t.{quote(name)}" for name in shape.column_names)
        self._row = f"ROW({columns})"

    def _set_key(self, unlike: AbstractSet[str]) -> None:
        """Choose the order of the walk. Columns that both databases sort in unlike orders are sorted by their bytes.

        Names are qualified, because an unqualified name in ORDER BY would mean the column of the result, which is text.
        """
        keys = [(quote(name), ' COLLATE "C"' if name in unlike else "") for name in self._shape.primary_key]
        self._key = ", ".join(f"t.{name}{collation}" for name, collation in keys)
        self._key_text = ", ".join(f"t.{name}::text" for name, _ in keys)
        self._casts = [self._shape.types[name] for name in self._shape.primary_key]

    async def report(self, recheck: Recheck) -> TableReport:
        walk = _TableCounts()
        name = self._shape.name
        if not self._shape.primary_key:
            if not await self._same(walk, None, None):
                self._add(walk, await self._repeated(recheck, self._differing_rows))
            return TableReport(name, walk.rows_live, walk.rows_shadow, walk.differing, tuple(walk.first))
        self._set_key(await self._unlike_collations())
        low: KeyText | None = None
        while True:
            high = await self._bound(low)
            if not await self._same(walk, low, high):
                self._add(walk, await self._repeated(recheck, partial(self._differing, low, high)))
            if high is None:
                break
            low = high
        return TableReport(name, walk.rows_live, walk.rows_shadow, walk.differing, tuple(walk.first))

    async def _bound(self, low: KeyText | None) -> KeyText | None:
        """Return the last key of the next full chunk of live, None when fewer rows are left."""
        where, values = self._range(low, None)
        query = self._sql(BOUND, where)
        row = await self._pair.live.fetchrow(query, *values, timeout=STATEMENT_TIMEOUT_S)
        return tuple(row) if row else None

    async def _same(self, walk: _TableCounts, low: KeyText | None, high: KeyText | None) -> bool:
        """Return whether count and checksum of the chunk are equal; add its rows to the counts."""
        where, values = self._range(low, high)
        live, shadow = await self._both(self._sql(CHECKSUM, where), values)
        walk.rows_live += live[0][0]
        walk.rows_shadow += shadow[0][0]
        return tuple(live[0]) == tuple(shadow[0])

    async def _repeated(
        self, recheck: Recheck, read: Callable[[], Awaitable[list[RowDifference]]]
    ) -> list[RowDifference]:
        """Return the rows that differ every time they are read, each as often as it does."""
        persistent = await read()
        for _ in range(recheck.times):
            if not persistent:
                break
            await asyncio.sleep(recheck.pause_s)
            again = Counter(row.key for row in await read())
            kept: list[RowDifference] = []
            for row in persistent:
                if again[row.key] > 0:
                    again[row.key] -= 1
                    kept.append(row)
            persistent = kept
        return persistent

    async def _unlike_collations(self) -> AbstractSet[str]:
        """Return the columns of the key whose texts both databases may sort differently: another collation, or another version."""
        names = list(self._shape.primary_key)
        orders = [
            {tuple(row) for row in await conn.fetch(ORDERS, shape.oid, names, timeout=STATEMENT_TIMEOUT_S)}
            for conn, shape in ((self._pair.live, self._shape), (self._pair.shadow, self._shadow_shape))
        ]
        return {row[0] for row in orders[0] ^ orders[1]}

    async def _differing(self, low: KeyText | None, high: KeyText | None) -> list[RowDifference]:
        where, values = self._range(low, high)
        live, shadow = await self._both(self._sql(ROWS, where), values)
        return differences({tuple(row)[1:]: row[0] for row in live}, {tuple(row)[1:]: row[0] for row in shadow})

    async def _differing_rows(self) -> list[RowDifference]:
        """Compare the rows of a table without a key as multisets, by their digests; name the first of them by their text."""
        surplus = await self._surplus()
        named = await self._both(self._sql(TEXTS, ""), [list(surplus)[: self._first_max]])
        texts = {row["digest"]: row["text"] for rows in named for row in rows}
        result: list[RowDifference] = []
        for digest, rows in surplus.items():
            kind = RowDifferenceKind.MISSING if rows > 0 else RowDifferenceKind.EXTRA
            result += [RowDifference((texts.get(digest, digest),), kind)] * abs(rows)
        return result

    async def _surplus(self) -> dict[str, int]:
        """Return how many rows of each digest live has more than the shadow, where it is not 0.

        Both databases send their digests in order, so that only those that differ are held in memory:

            live   0a.. x2   3f.. x1              shadow   0a.. x1   77.. x1         ->   {0a..: 1, 3f..: 1, 77..: -1}
        """
        surplus: dict[str, int] = {}
        query = self._sql(MULTISET, "")
        async with self._pair.live.transaction(readonly=True), self._pair.shadow.transaction(readonly=True):
            live, shadow = [
                aiter(conn.cursor(query, prefetch=1_000, timeout=STATEMENT_TIMEOUT_S))
                for conn in (self._pair.live, self._pair.shadow)
            ]
            left, right = await anext(live, None), await anext(shadow, None)
            while left is not None or right is not None:
                digest = min(row["digest"] for row in (left, right) if row is not None)
                more = 0
                if left is not None and left["digest"] == digest:
                    more += left["rows"]
                    left = await anext(live, None)
                if right is not None and right["digest"] == digest:
                    more -= right["rows"]
                    right = await anext(shadow, None)
                if more:
                    surplus[digest] = more
        return surplus

    async def _both(self, query: str, values: Sequence[object]) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        live, shadow = await asyncio.gather(
            self._pair.live.fetch(query, *values, timeout=STATEMENT_TIMEOUT_S),
            self._pair.shadow.fetch(query, *values, timeout=STATEMENT_TIMEOUT_S),
        )
        return live, shadow

    def _sql(self, template: str, where: str) -> str:
        """Fill quoted identifiers into a template; values stay parameters."""
        return template.format(
            table=self._shape.own_rows,
            key=self._key,
            key_text=self._key_text,
            row=self._row,
            where=where,
            last=self._chunk_rows - 1,
        )

    def _range(self, low: KeyText | None, high: KeyText | None) -> tuple[str, list[str]]:
        conditions: list[str] = []
        values: list[str] = []
        for sign, bound in ((">", low), ("<=", high)):
            if bound is not None:
                casts = [f"${number}::text::{cast}" for number, cast in enumerate(self._casts, start=len(values) + 1)]
                conditions.append(f"({self._key}) {sign} ({', '.join(casts)})")
                values += bound
        return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values

    def _add(self, walk: _TableCounts, rows: list[RowDifference]) -> None:
        walk.differing += len(rows)
        walk.first += rows[: self._first_max - len(walk.first)]
