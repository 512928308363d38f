"""Open the live and the shadow database for the runner, and for the commands that use the shadow in its place."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import CoroutineType
from typing import Any

import asyncpg

from comparator import postgres
from comparator.capture.attribution_keys import KeyIndex, Keys
from comparator.capture.capture_gaps import read_gaps
from comparator.capture.catalog import published_tables, read_catalog, read_existing
from comparator.capture.driver import Capture
from comparator.capture.registry import open_capture
from comparator.capture.settings import CaptureSettings, shadow_capture
from comparator.capture.table_shape import Catalog
from comparator.capture.write_obstacles import read_write_facts
from comparator.effects.catalog_check import contradictions
from comparator.effects.row_fold import PrimaryKey, RowKey
from comparator.exchanges.model import Exchange, Role
from comparator.exchanges.row_changes import Row
from comparator.exchanges.table_schema import Schemas
from comparator.postgres import UNAVAILABLE
from comparator.settings import CompareSettings
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings
from proxy.config.runner import RunnerSettings
from proxy.errors import DatabaseUnreachableError, SettingsError, ShadowDriftError
from proxy.runner.journal_access import runner_stopped
from proxy.runner.ledger import Ledger
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.resync import LaterRows, read_later_rows, read_rows
from proxy.runner.row_targets import Alignment, PrimaryKeys
from proxy.runner.row_writer import SESSION_OPTIONS, RowWriter, WrittenRows, named_rows
from proxy.runner.safety_check import refuse_different_tables, refuse_unsafe, refuse_unwritable
from proxy.runner.shadow_attribution import ShadowAttribution
from proxy.runner.transaction_feed import TransactionFeed

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
LIVE_CONNECTIONS = 3
"""For a resync, a look-up, and the watch of definitions, which none of them may hold up."""
USE_REPLICA_ROLE = "SET session_replication_role = replica"


@dataclass(frozen=True, slots=True)
class RunnerDatabases:
    """Live and shadow, opened for capture and alignment.

    Attributes:
        catalog: shapes of the captured tables, as the shadow has them.
        live: connections to live, for reading.
        shadow: connections to the shadow.
        writer: writes rows of the shadow.
        bound: tables of whose rows some cannot be written without others.
        captures: opened drivers of both databases.
    """

    catalog: Catalog
    live: asyncpg.Pool
    shadow: asyncpg.Pool
    writer: RowWriter
    bound: frozenset[str]
    captures: Mapping[Role, Capture]

    @property
    def primary_keys(self) -> PrimaryKeys:
        """Primary-key columns of the captured tables, `()` for a table without."""
        return {shape.name: shape.primary_key for shape in self.catalog.tables.values()}

    def refuse_contradictions(self, compare: CompareSettings) -> None:
        """Hold the descriptions of tables against the catalogue.

        Raises:
            SettingsError: `compare.tables` names what is not there, or is not what it is said to be; all of it is named.
        """
        problems = contradictions(compare.tables, self.catalog.schemas)
        if problems:
            raise SettingsError("; ".join(problems))


@asynccontextmanager
async def open_databases(
    databases: DatabasesSettings, capture: CaptureSettings, *, shadow_connections: int, may_differ: bool = False
) -> AsyncGenerator[RunnerDatabases, None]:
    """Connect to live and shadow, and open their captures.

    Args:
        databases: the section `databases` of the settings.
        capture: the section `capture`; its driver is not `off`.
        shadow_connections: most connections to the shadow at a time.
        may_differ: the caller copes with tables that the databases define differently (`schema_agreement`).

    Raises:
        SettingsError: a DSN is missing or wrong, the shadow may be live, or its tables cannot be written exactly.
        CaptureError: a database cannot be captured; the message names the command that prepares it.
    """
    for name in ("live", "shadow"):
        if not getattr(databases, name):
            raise SettingsError(f"databases.{name} is empty; set it, or turn the capture off (capture.driver: off)")
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(_pool("live", databases.live, size=LIVE_CONNECTIONS))
        shadow = await stack.enter_async_context(
            _pool("shadow", databases.shadow, size=shadow_connections, init=_use_replica_role)
        )
        async with shadow.acquire() as conn:
            catalog = await read_catalog(conn, await published_tables(conn, capture.publication))
            facts = await read_write_facts(conn, catalog)
        await _note_gaps(live, shadow, capture, catalog, may_differ=may_differ)
        refuse_unwritable(facts, catalog)
        await refuse_unsafe(live, shadow, catalog)
        if not may_differ:
            async with live.acquire() as conn:
                refuse_different_tables(await read_existing(conn, catalog.tables), catalog)
        captures = {
            Role.SERVED: open_capture(databases.live, capture),
            Role.MIRRORED: open_capture(databases.shadow, shadow_capture(capture)),
        }
        for opened in captures.values():
            await stack.enter_async_context(opened)
        writer = RowWriter(shadow, catalog, fragile=facts.fragile())
        logger.info("shadow_writes", extra={"replica_role": facts.replica, "tables": len(catalog.tables)})
        yield RunnerDatabases(catalog, live, shadow, writer, facts.bound(catalog), captures)


async def _note_gaps(
    live: asyncpg.Pool, shadow: asyncpg.Pool, capture: CaptureSettings, catalog: Catalog, *, may_differ: bool
) -> None:
    """Name the tables of which not every change arrives from both databases: compared, they would match whatever is written.

    Raises:
        SettingsError: there are such tables, and the caller does not pause them.
    """
    names = {*capture.tables, *catalog.tables}
    problems: list[str] = []
    for place, pool, settings in (("live", live, capture), ("shadow", shadow, shadow_capture(capture))):
        async with pool.acquire() as conn:
            gaps = await read_gaps(conn, settings, names)
        problems += [f"table {name} is not captured in databases.{place}: {reason}" for name, reason in gaps.items()]
    if problems and not may_differ:
        raise SettingsError(f"{'; '.join(problems)}. Run `shadow capture check --apply` on both databases")
    for problem in problems:
        logger.warning("table_not_captured", extra={"reason": problem})


@asynccontextmanager
async def _pool(
    name: str,
    dsn: str,
    *,
    size: int,
    init: "Callable[[asyncpg.Connection], CoroutineType[Any, Any, None]] | None" = None,
) -> AsyncGenerator[asyncpg.Pool, None]:
    try:
        pool = await postgres.open_pool(
            dsn, size=size, timeout_s=CONNECT_TIMEOUT_S, server_settings=SESSION_OPTIONS, init=init
        )
    except (asyncpg.PostgresError, *UNAVAILABLE) as error:
        missing = name == "shadow" and isinstance(error, asyncpg.InvalidCatalogNameError)
        remedy = "; create it with `shadow align clone`" if missing else ""
        raise SettingsError(f"databases.{name}: {type(error).__name__}: {error}{remedy}") from error
    try:
        yield pool
    finally:
        await postgres.close_pool(pool, timeout_s=CONNECT_TIMEOUT_S)


async def _use_replica_role(conn: asyncpg.Connection) -> None:
    """Keep triggers, rules and foreign keys from acting on what the runner writes, where the role may (`write_obstacles`)."""
    with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
        await conn.execute(USE_REPLICA_ROLE, timeout=CONNECT_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class ExclusiveShadow:
    """The shadow, captured for a command that alone writes to it.

    Attributes:
        attribution: the shadow's transactions.
        feed: delivers them.
        writer: writes rows of the shadow.
        primary_keys: of the captured tables.
        schemas: of the captured tables, for the comparison of their rows.
        index: finds the keys of rows and routes.
        pool: connections to the shadow.
    """

    attribution: ShadowAttribution
    feed: TransactionFeed
    writer: RowWriter
    primary_keys: PrimaryKeys
    schemas: Schemas
    index: KeyIndex
    pool: asyncpg.Pool

    async def read(self, rows: Iterable[RowKey]) -> dict[RowKey, Row]:
        """Return those of the rows that exist, of captured tables with a primary key.

        Raises:
            DatabaseUnreachableError: the shadow database did not answer.
        """
        by_table: dict[str, list[PrimaryKey]] = {}
        for table, identity in rows:
            by_table.setdefault(table, []).append(identity)
        found: dict[RowKey, Row] = {}
        async with self._connection() as conn:
            for table, identities in by_table.items():
                images = await read_rows(conn, self.writer.catalog.tables[table], identities)
                found |= {(table, identity): row for identity, row in images.items()}
        return found

    async def read_later(self, wanted: Iterable[LaterRows]) -> dict[RowKey, Row]:
        """Return the rows that were inserted later.

        Raises:
            DatabaseUnreachableError: the shadow database did not answer.
        """
        found: dict[RowKey, Row] = {}
        async with self._connection() as conn:
            for rows in wanted:
                images = await read_later_rows(conn, self.writer.catalog.tables[rows.table], rows)
                found |= {(rows.table, identity): row for identity, row in images.items()}
        return found

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[postgres.Connection]:
        try:
            async with self.pool.acquire() as conn:
                yield conn
        except UNAVAILABLE as error:
            raise DatabaseUnreachableError(f"the shadow database: {error!r}") from error

    async def write(self, work: Alignment) -> WrittenRows:
        """Make changes on the shadow.

        Raises:
            ShadowDriftError: the shadow cannot be made what it was: a request has emptied a table, or a row did not become what was
                written.
        """
        if work.unknown:
            raise ShadowDriftError(
                f"a request has emptied {', '.join(sorted(work.unknown))} (TRUNCATE), which its changes do not allow to undo: "
                "make the shadow again with `shadow align clone`"
            )
        written = await self.writer.apply(work)
        if written.unequal:
            raise ShadowDriftError(f"rows did not become what was written: {', '.join(named_rows(written)['unequal'])}")
        return written

    def route_keys(self, exchange: Exchange) -> Keys:
        """Return the attribution key of the exchange's route."""
        return self.index.of_route(exchange.key)


@asynccontextmanager
async def open_exclusive_shadow(
    databases: DatabasesSettings,
    capture: CaptureSettings,
    compare: CompareSettings,
    journal: JournalSettings,
    runner: RunnerSettings,
) -> AsyncGenerator[ExclusiveShadow, None]:
    """Open the shadow and capture its transactions until the block ends, while the runner is kept from starting.

    Raises:
        RunnerRunningError: the runner is up.
        SettingsError, CaptureError: as `open_databases`.
    """
    async with (
        runner_stopped(journal, databases, runner.reader),
        open_databases(databases, capture, shadow_connections=runner.concurrency + 2) as opened,
    ):
        opened.refuse_contradictions(compare)
        index = KeyIndex(compare.tables, opened.primary_keys, route_kind=compare.route_kind)
        attribution = ShadowAttribution(runner.clock_skew_ms * 1_000)
        feed = TransactionFeed(
            opened.captures[Role.MIRRORED],
            key=Ledger(index, primary_keys=opened.primary_keys).keyed,
            lookup=ParentLookup(index, opened.catalog, (opened.shadow,)).learn,
            sink=attribution.deliver,
        )
        await feed.start()
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(feed.pump(), name="pump")
            try:
                yield ExclusiveShadow(
                    attribution, feed, opened.writer, opened.primary_keys, opened.catalog.schemas, index, opened.shadow
                )
            finally:
                pump.cancel()
