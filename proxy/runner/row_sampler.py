"""Compare rows of live and shadow that nothing touches, a few at a time, so that drift is found that no write of the runner shows.

Every pause one page of one table is read from both databases along its primary key, so that each row has its turn. Rows that differ are
suspects: live's change may not be on the shadow yet, or a mirrored request may be writing. They are judged only when they have been left
alone for the whole time between two readings:

    read page        fence     items that ran have ended        read suspects     fence
    ----|--------------|---------------------------------------------|--------------|------> judge
        row 7 differs  nothing waits for row 7                       differs still  no transaction of live or shadow touched row 7

Then row 7 has drifted: it is counted, named, excluded with its attribution keys, and copied from live again. A row that was touched is
left for its next turn. A table without a primary key is compared as a whole while it is small, and left out beyond that.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import asyncpg

from comparator.capture.attribution import KeyedTransaction
from comparator.capture.attribution_keys import Key, KeyIndex, Keys, RowId
from comparator.capture.errors import CaptureError
from comparator.capture.row_text import parse
from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.postgres import UNAVAILABLE
from proxy.errors import DatabaseUnreachableError
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.resync import rows_sql
from proxy.runner.row_sql import image_sql
from proxy.runner.row_writer import WrittenRows, named_rows
from proxy.runner.shadow_state import ResyncReason, ShadowState

logger = logging.getLogger(__name__)

STATEMENT_TIMEOUT_S = 10.0
WHOLE_TABLE_ROWS_MAX = 5_000
"""A table without a primary key is compared while it has no more rows."""
SUSPECTS_MAX = 200
REPAIRED_MAX = 50
"""Drifted rows of a page that are copied one by one; beyond it the whole table is resynced."""
STEP_S = 0.1
LEFT_ALONE_S_MAX = 60.0
"""Longest time to wait for the items that ran when suspects were found."""

Cursor = Sequence[str | None]


class RowWatch:
    """Notes which of the watched rows a captured transaction touches, as the feeds deliver it."""

    def __init__(self) -> None:
        self._watched: frozenset[RowId] = frozenset()
        self._touched: set[RowId] = set()

    def through(self, sink: Callable[[KeyedTransaction], None]) -> Callable[[KeyedTransaction], None]:
        """Return a sink that notes touched rows, and passes each transaction on."""

        def deliver(keyed: KeyedTransaction) -> None:
            if self._watched:
                self._note(keyed.rows)
            sink(keyed)

        return deliver

    def watched_of(
        self, transaction: Transaction, rows_of: Callable[[Sequence[RowChange]], frozenset[RowId]]
    ) -> frozenset[RowId]:
        """Return the rows of a transaction, found by `rows_of`, if any row is watched; else none, as they are not needed."""
        return rows_of(transaction.changes) if self._watched else frozenset()

    def _note(self, rows: frozenset[RowId]) -> None:
        self._touched |= self._watched & rows
        truncated = {table for table, identity in rows if not identity}
        self._touched |= {row for row in self._watched if row[0] in truncated}

    @contextmanager
    def over(self, rows: Iterable[RowId]) -> Generator[set[RowId]]:
        """Watch rows during the block; yield the set that gets those that are touched."""
        self._watched, self._touched = frozenset(rows), set()
        try:
            yield self._touched
        finally:
            self._watched, self._touched = frozenset(), set()


@dataclass(frozen=True, slots=True)
class SampledPage:
    """A page of a table, read from both databases.

    Attributes:
        rows: number of rows of live.
        suspects: the rows that differ.
        cursor: primary key of its last row; None at the end of the table.
    """

    rows: int
    suspects: frozenset[RowId]
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class SampledTables:
    """Reads rows of both databases.

    Attributes:
        live: connections to live.
        shadow: connections to the shadow.
        catalog: returns the shapes of the tables that can be compared now.
    """

    live: asyncpg.Pool
    shadow: asyncpg.Pool
    catalog: Callable[[], Catalog]

    async def page(self, table: str, after: Cursor | None, rows_max: int) -> SampledPage:
        """Read the next page of a table along its primary key; the whole of a small table without one.

        Raises:
            UNAVAILABLE, asyncpg.PostgresError: one of the databases did not answer, or the table was redefined.
        """
        shape = self.catalog().tables[table]
        if not shape.primary_key:
            return await self._whole_table(shape)
        async with _reader(self.live) as live:
            sql, values = page_sql(shape, after=after, limit=rows_max)
            of_live = _digests(table, await live.fetch(sql, *values))
        last = list(of_live)[-1][1] if len(of_live) == rows_max else None
        async with _reader(self.shadow) as shadow:
            # A few more, so that rows that live does not have do not hide others.
            sql, values = page_sql(shape, after=after, up_to=last, limit=2 * rows_max + 10)
            of_shadow = _digests(table, await shadow.fetch(sql, *values))
        differing = [row for row in of_live.keys() | of_shadow.keys() if of_live.get(row) != of_shadow.get(row)]
        return SampledPage(len(of_live), frozenset(sorted(differing, key=str)[:SUSPECTS_MAX]), last)

    async def _whole_table(self, shape: TableShape) -> SampledPage:
        async with _reader(self.live) as live:
            rows = await live.fetchval(few_rows_sql(shape), WHOLE_TABLE_ROWS_MAX + 1)
            if rows > WHOLE_TABLE_ROWS_MAX:
                return SampledPage(0, frozenset(), None)
            of_live = {r["image"]: r["rows"] for r in await live.fetch(whole_rows_sql(shape))}
        async with _reader(self.shadow) as shadow:
            of_shadow = {r["image"]: r["rows"] for r in await shadow.fetch(whole_rows_sql(shape))}
        differing = [image for image in of_live.keys() | of_shadow.keys() if of_live.get(image) != of_shadow.get(image)]
        suspects = frozenset(_whole_row(shape, image)[0] for image in differing[:SUSPECTS_MAX])
        return SampledPage(rows, suspects, None)

    async def differing(self, table: str, rows: Collection[RowId]) -> tuple[frozenset[RowId], list[Row]]:
        """Return those of these rows that differ, and their images in both databases.

        Raises:
            UNAVAILABLE, asyncpg.PostgresError: as `page`.
        """
        shape = self.catalog().tables[table]
        if not shape.primary_key:
            page = await self._whole_table(shape)
            still = page.suspects & frozenset(rows)
            return still, [dict(zip(sorted(shape.writable), row[1], strict=True)) for row in still]
        vectors = [[row[1][i] for row in rows] for i in range(len(shape.primary_key))]
        sides: list[dict[RowId, Row]] = []
        for pool in (self.live, self.shadow):
            async with _reader(pool) as conn:
                records = await conn.fetch(rows_sql(shape), *vectors)
            images = [dict(zip(shape.writable, parse(r["image"]), strict=True)) for r in records]
            sides.append({(table, tuple([image[c] for c in shape.primary_key])): image for image in images})
        of_live, of_shadow = sides
        still = frozenset(row for row in rows if of_live.get(row) != of_shadow.get(row))
        return still, [side[row] for row in still for side in sides if row in side]


@asynccontextmanager
async def _reader(pool: asyncpg.Pool) -> AsyncGenerator[asyncpg.pool.PoolConnectionProxy, None]:
    async with asyncio.timeout(STATEMENT_TIMEOUT_S), pool.acquire() as conn:
        yield conn


def page_sql(
    shape: TableShape, *, after: Cursor | None = None, up_to: Cursor | None = None, limit: int
) -> tuple[str, list[str | None]]:
    """Return the query for primary key and digest of the rows behind a key, up to another, in the order of the key; and its values."""
    key = ", ".join(f"t.{quote(c)}" for c in shape.primary_key)
    conditions: list[str] = []
    values: list[str | None] = []
    for sign, bound in ((">", after), ("<=", up_to)):
        if bound is not None:
            casts = [f"${n}::text::{shape.types[c]}" for n, c in enumerate(shape.primary_key, start=len(values) + 1)]
            conditions.append(f"ROW({key}) {sign} ROW({', '.join(casts)})")
            values += bound
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    columns = f"{image_sql(shape.primary_key)} AS identity, md5({image_sql(shape.writable)}) AS digest"
    return f"SELECT {columns} FROM {shape.own_rows} t {where}ORDER BY {key} LIMIT {limit}", values  # noqa: S608


def few_rows_sql(shape: TableShape) -> str:
    """Return the query for the number of rows of a table, at most $1."""
    return f"SELECT count(*) FROM (SELECT FROM {shape.own_rows} t LIMIT $1) r"  # noqa: S608 (quoted names)


def whole_rows_sql(shape: TableShape) -> str:
    """Return the query for the text of each different row of a table, and how many rows have it."""
    return f"SELECT {image_sql(shape.writable)} AS image, count(*) AS rows FROM {shape.own_rows} t GROUP BY 1"  # noqa: S608


def _digests(table: str, records: Iterable[asyncpg.Record]) -> dict[RowId, str]:
    return {(table, tuple(parse(record["identity"]))): record["digest"] for record in records}


def _whole_row(shape: TableShape, image: str) -> tuple[RowId, Row]:
    row: Row = dict(zip(shape.writable, parse(image), strict=True))
    return (shape.name, tuple([row[c] for c in sorted(row)])), row


class Tables(Protocol):
    """Reads rows of both databases; see `SampledTables`."""

    @property
    def catalog(self) -> Callable[[], Catalog]:
        """Return the shapes of the tables that can be compared now."""
        ...

    async def page(self, table: str, after: Cursor | None, rows_max: int) -> SampledPage:
        """Read the next page of a table."""
        ...

    async def differing(self, table: str, rows: Collection[RowId]) -> tuple[frozenset[RowId], list[Row]]:
        """Return those of these rows that differ, and their images."""
        ...


class ScheduledWork(Protocol):
    """The work that waits for the shadow, or runs on it."""

    def waits_for(self, rows: Collection[RowId]) -> frozenset[RowId]:
        """Return those of these rows that something that waits or runs may write."""
        ...

    def running(self) -> frozenset[int]:
        """Return the numbers of the items that run."""
        ...

    def repair_rows(self, rows: Collection[RowId], keys: Collection[Key]) -> None:
        """Add the repair of rows."""
        ...


@dataclass(slots=True)
class RowSampler:
    """Samples rows at intervals.

    Attributes:
        every_s: pause between two pages.
        rows: rows of a page.
        tables: reads rows.
        work: of the shadow.
        watch: gets the transactions of both databases.
        index: finds the attribution keys of rows.
        parents: looks up the parent rows that the index lacks.
    """

    every_s: float
    rows: int
    tables: Tables
    work: ScheduledWork
    watch: RowWatch
    state: ShadowState
    metrics: RunnerMetrics
    index: KeyIndex
    parents: ParentLookup
    _cursors: dict[str, Cursor | None] = field(default_factory=dict[str, Cursor | None])
    _turn: str = ""

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await asyncio.sleep(self.every_s)
            if not self.state.ready or self.state.resync_pending:
                continue
            try:
                await self.sample()
            except (CaptureError, DatabaseUnreachableError, asyncpg.PostgresError, *UNAVAILABLE) as error:
                # A database is busy or away, or a table is being redefined: another page has its turn.
                logger.info("shadow_sample_failed", extra={"error": repr(error)})

    async def sample(self) -> None:
        """Compare the next page of the next table."""
        table = self._next_table()
        if table is None:
            return
        page = await self.tables.page(table, self._cursors.get(table), self.rows)
        self._cursors[table] = page.cursor
        self.metrics.sampled_rows.inc(page.rows)
        if page.suspects:
            await self._judge(table, page.suspects)

    def _next_table(self) -> str | None:
        names = sorted(self.tables.catalog().tables)
        self._turn = next((name for name in names if name > self._turn), names[0] if names else "")
        return self._turn or None

    async def _judge(self, table: str, suspects: frozenset[RowId]) -> None:
        with self.watch.over(suspects) as touched:
            await self._fence()
            suspects -= self.work.waits_for(suspects)
            if not suspects or not await self._left_alone() or table not in self.tables.catalog().tables:
                return
            differing, images = await self.tables.differing(table, suspects)
            await self._fence()
            drifted = differing - touched - self.work.waits_for(differing)
        # A table that is being redefined (`schema_agreement`) is resynced as a whole.
        if drifted and table in self.tables.catalog().tables:
            await self._report(table, drifted, images)

    async def _fence(self) -> None:
        for feed in self.state.feeds.values():
            await feed.fence()

    async def _left_alone(self) -> bool:
        """Wait for the items that run now: one of them may have written a row that it does not name, and not put it back yet."""
        running = self.work.running()
        for _ in range(int(LEFT_ALONE_S_MAX / STEP_S)):
            if running.isdisjoint(self.work.running()):
                return True
            await asyncio.sleep(STEP_S)
        return False

    async def _report(self, table: str, drifted: frozenset[RowId], images: Sequence[Row]) -> None:
        self.metrics.drifted_rows.inc(len(drifted))
        named = named_rows(WrittenRows(0, drifted=tuple(sorted(drifted, key=str))))
        logger.warning("shadow_rows_drifted", extra={"table": table, "rows": len(drifted), **named})
        keys = await self._keys_of(table, images)
        self.state.add_drifted(drifted, keys)
        shape = self.tables.catalog().tables.get(table)
        if len(drifted) > REPAIRED_MAX or shape is None or not shape.primary_key:
            self.state.request_resync(ResyncReason.DRIFT, tables={table})
        else:
            self.work.repair_rows(drifted, keys)

    async def _keys_of(self, table: str, images: Sequence[Row]) -> Keys:
        changes = [RowChange(table, Op.INSERT, None, image) for image in images]
        keys, missing = self.index.keys_of(changes)
        if missing:
            await self.parents.learn(missing)
            keys, _ = self.index.keys_of(changes)
        return keys
