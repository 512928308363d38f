"""Compares two databases whole, table by table, row by row, by checksums.

Each table is walked along its primary key in chunks, so that no statement runs for long on live and nothing is held in
memory; a chunk's checksum is the sum of its rows' md5, which needs no sort. Only a chunk that differs is read row by row.
While traffic is flowing the shadow lags behind: what differs is looked at again after a pause, and only rows that differ
every time are reported.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import asyncpg

from comparator.capture.catalog import read_existing
from comparator.capture.table_shape import TableShape, quote

STATEMENT_TIMEOUT_S = 300.0

Key = tuple[str, ...]


class RowDifferenceKind(StrEnum):
    """How a row of the shadow differs from live's."""

    MISSING = "missing"
    EXTRA = "extra"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row, by the text of its primary key."""

    key: Key
    kind: RowDifferenceKind


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table. `differing` counts all rows that differ, `first` holds the first of them by primary key.

    `problem` says why rows could not be compared one by one, "" when they could.
    """

    table: str
    rows_live: int
    rows_shadow: int
    differing: int
    first: tuple[RowDifference, ...] = ()
    problem: str = ""

    @property
    def equal(self) -> bool:
        """Whether both databases hold the same rows."""
        return not self.differing and not self.problem


@dataclass(frozen=True, slots=True)
class Recheck:
    """How often, and after which pause, a chunk that differs is looked at again."""

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
    """Both databases, on connections made by `comparator.capture.fitness.connect`, which fixes the text of values."""

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
    """Compare the named tables; one report each, in order."""
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


def differences(live: Mapping[Key, str], shadow: Mapping[Key, str]) -> list[RowDifference]:
    """What makes the shadow's rows, as checksums by key, differ from live's; in live's order, extra rows last."""
    found = [
        RowDifference(key, RowDifferenceKind.CHANGED if key in shadow else RowDifferenceKind.MISSING)
        for key, checksum in live.items()
        if shadow.get(key) != checksum
    ]
    return found + [RowDifference(key, RowDifferenceKind.EXTRA) for key in shadow if key not in live]


def _shape_problem(live: TableShape | None, shadow: TableShape | None) -> str:
    if live is None or shadow is None:
        return f"absent from {'live' if live is None else 'the shadow'}"
    if live.types != shadow.types:
        odd = sorted(name for name, _ in set(live.types.items()) ^ set(shadow.types.items()))
        return f"columns differ: {', '.join(dict.fromkeys(odd))}"
    return ""


BOUND = "SELECT {key_text} FROM {table} AS t {where} ORDER BY {key} OFFSET {last} LIMIT 1"

CHECKSUM = """
SELECT count(*), sum(('x' || substr(h, 1, 16))::bit(64)::bigint), sum(('x' || substr(h, 17, 16))::bit(64)::bigint)
FROM (SELECT md5({row}::text) AS h FROM {table} AS t {where}) AS hashed
"""

ROWS = "SELECT md5({row}::text), {key_text} FROM {table} AS t {where} ORDER BY {key}"


class _TableWalk:
    """Walks one table of both databases. Bounds are texts of key values; the chunk is above `low` and up to `high`."""

    def __init__(self, pair: DatabasePair, shape: TableShape, *, chunk_rows: int, first_max: int) -> None:
        self._pair = pair
        self._shape = shape
        self._chunk_rows = chunk_rows
        self._first_max = first_max
        types = shape.types
        keys = shape.primary_key
        # Qualified, because a bare name in ORDER BY would mean the column of the result, which is text.
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
        low: Key | None = None
        while True:
            high = await self._bound(low)
            if not await self._same(walk, low, high):
                self._add(walk, await self._persistent_differences(low, high, recheck))
            if high is None:
                break
            low = high
        name = self._shape.name
        return TableReport(name, walk.rows_live, walk.rows_shadow, walk.differing, tuple(walk.first))

    async def _bound(self, low: Key | None) -> Key | None:
        """The last key of the next full chunk of live, None when what is left is less than a chunk."""
        where, values = self._range(low, None)
        query = self._sql(BOUND, where)
        row = await self._pair.live.fetchrow(query, *values, timeout=STATEMENT_TIMEOUT_S)
        return tuple(row) if row else None

    async def _same(self, walk: _TableCounts, low: Key | None, high: Key | None) -> bool:
        """Whether the chunk's count and checksum are equal; counts its rows."""
        where, values = self._range(low, high)
        live, shadow = await self._both(self._sql(CHECKSUM, where), values)
        walk.rows_live += live[0][0]
        walk.rows_shadow += shadow[0][0]
        return tuple(live[0]) == tuple(shadow[0])

    async def _persistent_differences(self, low: Key | None, high: Key | None, recheck: Recheck) -> list[RowDifference]:
        """The chunk's rows that differ every time they are looked at."""
        found = await self._differing(low, high)
        for _ in range(recheck.times):
            if not found:
                break
            await asyncio.sleep(recheck.pause_s)
            again = {one.key for one in await self._differing(low, high)}
            found = [one for one in found if one.key in again]
        return found

    async def _differing(self, low: Key | None, high: Key | None) -> list[RowDifference]:
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
        """Fill identifiers, quoted, into a template; values stay parameters."""
        return template.format(
            table=self._shape.quoted,
            key=self._key,
            key_text=self._key_text,
            row=self._row,
            where=where,
            last=self._chunk_rows - 1,
        )

    def _range(self, low: Key | None, high: Key | None) -> tuple[str, list[str]]:
        conditions: list[str] = []
        values: list[str] = []
        for sign, bound in ((">", low), ("<=", high)):
            if bound is not None:
                casts = [f"${number}::text::{cast}" for number, cast in enumerate(self._casts, start=len(values) + 1)]
                conditions.append(f"({self._key}) {sign} ({', '.join(casts)})")
                values += bound
        return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values

    def _add(self, walk: _TableCounts, found: list[RowDifference]) -> None:
        walk.differing += len(found)
        walk.first += found[: self._first_max - len(walk.first)]
