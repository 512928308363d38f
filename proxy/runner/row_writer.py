"""Write rows of the shadow so that it equals live again, and read back what they became.

One alignment is one statement (`row_sql`), and so one round trip and one transaction: rows are changed in place first. If that violates a
constraint, or finds a row missing, the same rows are written once more as a whole (`row_plan`). Values travel as text and are cast to
the column's type. The transactions carry a message, by which the capture of the shadow drops them.

Where the role may, the sessions are in the replica role, so that neither the application's triggers and rules nor foreign keys act on what
is written (`comparator.capture.write_obstacles`).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from comparator.capture.session import NO_TIME_LIMITS, SESSION_SETTINGS
from comparator.capture.table_shape import Catalog, TableShape
from comparator.effects.row_fold import RowKey
from comparator.postgres import UNAVAILABLE, Connection
from proxy.errors import DatabaseUnreachableError, ShadowDriftError
from proxy.runner import row_sql
from proxy.runner.row_plan import PartKey, PlannedPart, chunked, in_place, whole, writable_tables
from proxy.runner.row_readback import row_key, unequal_rows, unexpected_rows
from proxy.runner.row_sql import PartKind
from proxy.runner.row_targets import Alignment, RowTarget

SESSION_OPTIONS = {**SESSION_SETTINGS, **NO_TIME_LIMITS, "bytea_output": "hex", "application_name": "shadow-align"}
"""With these a value reads as it does in the captured log, so that texts can be compared."""

STATEMENTS_KEPT_MAX = 500
STATEMENT_ROWS_MAX = 20_000
"""Larger alignments are written in several statements of one transaction."""
ROWS_PER_S = 2_000
"""Slowest rate at which a large alignment is expected to go on; its time limit grows accordingly."""


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """Result of an alignment.

    Attributes:
        rows: number of rows written.
        drifted: the rows that did not hold what they should have held before; they are correct now.
        unequal: the rows that did not become what was written; they are not correct.
        contradicted: the shadow holds rows that contradict live, so nothing was written; a resync is due.
    """

    rows: int
    drifted: tuple[RowKey, ...] = ()
    unequal: tuple[RowKey, ...] = ()
    contradicted: bool = False

    @property
    def done(self) -> bool:
        """The shadow holds what was to be written."""
        return not (self.unequal or self.contradicted)


NOTHING_WRITTEN = WrittenRows(0)
CONTRADICTED = WrittenRows(0, contradicted=True)
NO_SHAPES: Mapping[str, TableShape] = {}
NAMED_ROWS_MAX = 5


def named_rows(written: WrittenRows) -> dict[str, list[str]]:
    """Return the first rows that drifted, and that are not equal, as text for the log: `score (7)`."""
    named = {"drifted": written.drifted, "unequal": written.unequal}
    return {
        name: [f"{table} ({', '.join(map(str, key))})"[:200] for table, key in keys[:NAMED_ROWS_MAX]]
        for name, keys in named.items()
        if keys
    }


class RowWriter:
    """Writes rows of the shadow.

    Args:
        pool: connections to the shadow, opened with SESSION_OPTIONS.
        catalog: shapes of the captured tables.
        fragile: tables whose rows must not be deleted and inserted again, because others reference them with a consequence and the
            sessions are not in the replica role.
        timeout_s: for one alignment of few rows.
    """

    def __init__(
        self, pool: asyncpg.Pool, catalog: Catalog, *, fragile: Iterable[str] = (), timeout_s: float = 30.0
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self.use(catalog, fragile=fragile)

    def use(
        self, catalog: Catalog, *, fragile: Iterable[str] = (), leaving: Mapping[str, TableShape] = NO_SHAPES
    ) -> None:
        """Replace the shapes of the tables, after their definitions changed.

        Args:
            catalog: shapes of the captured tables from now on.
            fragile: as in the constructor.
            leaving: former shapes of tables that are not captured alike now: alignments that are under way may still write them.
        """
        self.catalog = catalog
        self._shapes = {**leaving, **catalog.tables}
        self._tables = writable_tables(Catalog(self._shapes), fragile=fragile)
        self._statements: dict[tuple[PartKey, ...], str] = {}

    async def apply(self, work: Alignment, *, known: bool = True) -> WrittenRows:
        """Make changes in a transaction of their own.

        Args:
            work: changes to make.
            known: the rows hold what `RowTarget.current` says, so that only what differs is written; else they are written whole.

        Raises:
            ShadowDriftError: the shadow contradicts live in a constraint; it must be resynced.
            DatabaseUnreachableError: the shadow database did not answer; nothing was written.
        """
        rows = [row for row in work.rows if row.table in self._tables]
        if not rows and not work.truncated:
            return NOTHING_WRITTEN
        try:
            async with asyncio.timeout(self._timeout_s + len(rows) / ROWS_PER_S), self._pool.acquire() as conn:
                if work.truncated:
                    async with conn.transaction():
                        await self._empty(conn, work.truncated)
                        return await self._write_whole(conn, rows, replace=True)
                return await self._write_rows(conn, rows, known=known)
        except UNAVAILABLE as error:
            raise DatabaseUnreachableError(f"alignment of {len(rows)} rows: {error!r}") from error
        except asyncpg.PostgresError as error:
            raise ShadowDriftError(explained(error)) from error

    async def write(self, conn: Connection, rows: Sequence[RowTarget]) -> WrittenRows:
        """Write whole rows in the transaction that the caller has begun on `conn`. Errors of the database pass through."""
        return await self._write_whole(conn, [row for row in rows if row.table in self._tables], replace=True)

    async def _write_rows(self, conn: Connection, rows: Sequence[RowTarget], *, known: bool) -> WrittenRows:
        plan = in_place(rows, self._tables) if known else whole(rows, self._tables, replace=False)
        try:
            written = await self._carry_out(conn, plan)
        except asyncpg.IntegrityConstraintViolationError:
            return await self._write_whole(conn, rows, replace=True)
        if not written.missing:
            return WrittenRows(len(rows), written.drifted, written.unequal)
        again = await self._write_whole(conn, written.missing, replace=True)
        return WrittenRows(len(rows), written.drifted + again.drifted, written.unequal + again.unequal)

    async def _write_whole(self, conn: Connection, rows: Sequence[RowTarget], *, replace: bool) -> WrittenRows:
        if not rows:
            return NOTHING_WRITTEN
        shapes = self._shapes
        written = await self._carry_out(conn, whole(rows, self._tables, replace=replace))
        # Rows of which not every value is known could not be inserted.
        absent = tuple(row_key(shapes[row.table], row) for row in written.missing)
        return WrittenRows(len(rows), written.drifted, written.unequal + absent)

    async def _carry_out(self, conn: Connection, plan: Sequence[PlannedPart]) -> "_Result":
        if sum(len(part.rows) for part in plan) <= STATEMENT_ROWS_MAX:
            return await self._execute(conn, plan) if plan else _Result()
        result = _Result()
        try:
            async with conn.transaction():
                for parts in chunked(plan, STATEMENT_ROWS_MAX):
                    result.add(await self._execute(conn, parts))
        except asyncpg.IntegrityConstraintViolationError:
            # Outside of the replica role foreign keys are checked at the end of each statement, so one has to have all rows.
            return await self._execute(conn, plan)
        return result

    async def _execute(self, conn: Connection, plan: Sequence[PlannedPart]) -> "_Result":
        parameters = [array for part in plan for array in part.parameters()]
        # `use` may replace the shapes while the statement runs.
        shapes = self._shapes
        (record,) = await conn.fetch(self._statement(plan), *parameters)
        # Behind the mark, each part has its number of rows and the texts of some of them.
        values = list(record)[1:]
        return _Result.of(plan, shapes, list(zip(values[::2], values[1::2], strict=True)))

    def _statement(self, plan: Sequence[PlannedPart]) -> str:
        key = tuple([part.key for part in plan])
        known = self._statements.get(key)
        if known is None:
            if len(self._statements) >= STATEMENTS_KEPT_MAX:
                self._statements.clear()
            known = self._statements[key] = row_sql.statement([part.part(self._tables) for part in plan])
        return known

    async def _empty(self, conn: Connection, tables: Sequence[str]) -> None:
        """Empty tables as TRUNCATE on live did, and no others: never CASCADE, for live's log names every table that it emptied."""
        await conn.execute(row_sql.ALIGN_MESSAGE)
        for table in tables:
            truncate, delete = row_sql.empty_sql(self._shapes[table])
            try:
                async with conn.transaction():
                    await conn.execute(truncate)
            except (asyncpg.FeatureNotSupportedError, asyncpg.InsufficientPrivilegeError):
                # Referenced by a foreign key, or the role may only delete.
                await conn.execute(delete)


@dataclass(slots=True)
class _Result:
    """Result of the parts of a plan; `missing` are rows that were to be updated and do not exist."""

    missing: list[RowTarget] = field(default_factory=list[RowTarget])
    drifted: tuple[RowKey, ...] = ()
    unequal: tuple[RowKey, ...] = ()

    @classmethod
    def of(
        cls, plan: Sequence[PlannedPart], shapes: Mapping[str, TableShape], written: Sequence[tuple[int, Sequence[str]]]
    ) -> "_Result":
        """Read the number of rows and the texts that the statement returned for each part."""
        result = cls()
        for number, (part, (rows, images)) in enumerate(zip(plan, written, strict=True)):
            shape, count = shapes[part.table], rows
            if part.kind is PartKind.DELETE:
                result.drifted += tuple(unexpected_rows(part, count, images))
                continue
            if images:
                result.unequal += tuple(unequal_rows(part, shape, images))
            if part.kind is PartKind.INSERT_MISSING:
                count += written[number - 1][0]
            if count == part.count:
                continue
            follows = plan[number + 1 : number + 2]
            if part.kind is not PartKind.UPDATE:
                # Rows that the database kept out, or equal rows that were not there to be deleted.
                result.unequal += tuple(row_key(shape, row) for row in part.rows)
            elif not follows or follows[0].kind is not PartKind.INSERT_MISSING:
                result.missing += part.rows
        return result

    def add(self, other: "_Result") -> None:
        """Add the result of further parts."""
        self.missing += other.missing
        self.drifted += other.drifted
        self.unequal += other.unequal


def explained(error: asyncpg.PostgresError) -> str:
    """Return the error with the table and the constraint that it names."""
    table, constraint = getattr(error, "table_name", None), getattr(error, "constraint_name", None)
    place = f"{table or 'the shadow'}{f' ({constraint})' if constraint else ''}"
    return f"{type(error).__name__} on {place}: {error}"
