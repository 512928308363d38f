"""Compare two databases completely, row by row, by checksums.

Each table is walked along its primary key in chunks, so that no statement runs for long on live and little is held in memory. The checksum
of a chunk is the sum of its rows' md5, which needs no sort. Only a chunk whose checksums differ is read row by row:

    chunk            rows, checksum in live    rows, checksum in shadow
    id <= 20000      20000, 8af2..             20000, 8af2..              equal: not read
    20000 < id       1234, 07bc..              1234, 90d1..               read: row 21017 differs

While there is traffic the shadow lags behind live: rows that differ are read again after a pause, and only rows that differ every time
are reported.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import asyncpg

from comparator.capture.catalog import read_existing
from comparator.capture.table_shape import TableShape, quote

STATEMENT_TIMEOUT_S = 300.0

KeyText = tuple[str, ...]
"""Text of a primary key's values."""


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
        problem: reason for which rows could not be compared one by one, "" when they could.
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
        tables: names of the tables.
        chunk_rows: rows of live in one chunk.
        first_max: number of differing rows of a table that are returned.
        recheck: rechecks of differing rows; None for none.

    Returns:
        One report for each table, in order.
    """
    names = tuple(dict.fromkeys(tables))
    in_live, in_shadow = await asyncio.gather(read_existing(pair.live, names), read_existing(pair.shadow, names))
    reports: list[TableReport] = []
    for name in names:
        problem = _shape_problem(in_live.tables.get(name), in_shadow.tables.get(name))
        if problem:
            reports.append(TableReport(name, 0, 0, 0, problem=problem))
            continue
        walker = _TableWalk(pair, in_live.tables[name], chunk_rows=chunk_rows, first_max=first_max)
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
    if live.types != shadow.types:
        differing = sorted(name for name, _ in set(live.types.items()) ^ set(shadow.types.items()))
        return f"columns differ: {', '.join(dict.fromkeys(differing))}"
    return ""


BOUND = "SELECT {key_text} FROM {table} AS t {where} ORDER BY {key} OFFSET {last} LIMIT 1"

CHECKSUM = """
SELECT count(*), sum(('x' || substr(h, 1, 16))::bit(64)::bigint), sum(('x' || substr(h, 17, 16))::bit(64)::bigint)
FROM (SELECT md5({row}::text) AS h FROM {table} AS t {where}) AS hashed
"""

ROWS = "SELECT md5({row}::text), {key_text} FROM {table} AS t {where} ORDER BY {key}"


class _TableWalk:
    """A walk over one table of both databases. A chunk is above the key `low` and up to the key `high`; None is no bound."""

    def __init__(self, pair: DatabasePair, shape: TableShape, *, chunk_rows: int, first_max: int) -> None:
        self._pair = pair
        self._shape = shape
        self._chunk_rows = chunk_rows
        self._first_max = first_max
        types = shape.types
        keys = shape.primary_key
        # Qualified, because an unqualified name in ORDER BY would mean the column of the result, which is text.
        self._key = ", ".join(f"t.{quote(name)}" for name in keys)
        self._key_text = ", ".join(f"t.{quote(name)}::text" for name in keys)
        self._casts = [types[name] for name in keys]
        columns = ", ".join(f"t.{quote(name)}" for name in shape.column_names)
        self._row = f"ROW({columns})"

    async def report(self, recheck: Recheck) -> TableReport:
        walk = _TableCounts()
        if not self._shape.primary_key:
            equal = await self._same(walk, None, None)
            problem = "" if equal else "no primary key: rows differ somewhere"
            return TableReport(self._shape.name, walk.rows_live, walk.rows_shadow, 0, problem=problem)
        low: KeyText | None = None
        while True:
            high = await self._bound(low)
            if not await self._same(walk, low, high):
                self._add(walk, await self._persistent_differences(low, high, recheck))
            if high is None:
                break
            low = high
        name = self._shape.name
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

    async def _persistent_differences(
        self, low: KeyText | None, high: KeyText | None, recheck: Recheck
    ) -> list[RowDifference]:
        """Return the rows of the chunk that differ every time they are read."""
        persistent = await self._differing(low, high)
        for _ in range(recheck.times):
            if not persistent:
                break
            await asyncio.sleep(recheck.pause_s)
            again = {row.key for row in await self._differing(low, high)}
            persistent = [row for row in persistent if row.key in again]
        return persistent

    async def _differing(self, low: KeyText | None, high: KeyText | None) -> list[RowDifference]:
        where, values = self._range(low, high)
        live, shadow = await self._both(self._sql(ROWS, where), values)
        return differences({tuple(row)[1:]: row[0] for row in live}, {tuple(row)[1:]: row[0] for row in shadow})

    async def _both(self, query: str, values: list[str]) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        live, shadow = await asyncio.gather(
            self._pair.live.fetch(query, *values, timeout=STATEMENT_TIMEOUT_S),
            self._pair.shadow.fetch(query, *values, timeout=STATEMENT_TIMEOUT_S),
        )
        return live, shadow

    def _sql(self, template: str, where: str) -> str:
        """Fill quoted identifiers into a template; values stay parameters."""
        return template.format(
            table=self._shape.quoted,
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
