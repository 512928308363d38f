"""Open the live and the shadow database for the runner, and for the commands that use the shadow in its place."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import asyncpg

from comparator import postgres
from comparator.capture.attribution_keys import KeyIndex, Keys
from comparator.capture.catalog import published_tables, read_catalog, read_existing
from comparator.capture.driver import Capture
from comparator.capture.registry import open_capture
from comparator.capture.settings import CaptureSettings, shadow_capture
from comparator.capture.table_shape import Catalog
from comparator.effects.catalog_check import contradictions
from comparator.exchanges.model import Exchange, Role
from comparator.exchanges.table_schema import Schemas
from comparator.postgres import UNAVAILABLE
from comparator.settings import CompareSettings
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings
from proxy.config.runner import RunnerSettings
from proxy.errors import JournalBusyError, RunnerRunningError, SettingsError
from proxy.journal.registry import journal_exists, open_reader
from proxy.runner.ledger import Ledger
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.row_targets import PrimaryKeys
from proxy.runner.row_writer import SESSION_OPTIONS, RowWriter
from proxy.runner.safety_check import refuse_different_tables, refuse_unsafe
from proxy.runner.shadow_attribution import ShadowAttribution
from proxy.runner.transaction_feed import TransactionFeed

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class RunnerDatabases:
    """Live and shadow, opened for capture and alignment.

    Attributes:
        catalog: shapes of the captured tables, as the shadow has them.
        live: connections to live, for reading.
        shadow: connections to the shadow.
        captures: opened drivers of both databases.
    """

    catalog: Catalog
    live: asyncpg.Pool
    shadow: asyncpg.Pool
    captures: Mapping[Role, Capture]

    @property
    def primary_keys(self) -> PrimaryKeys:
        """Primary-key columns of the captured tables that have any."""
        return {shape.name: shape.primary_key for shape in self.catalog.tables.values() if shape.primary_key}

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
    databases: DatabasesSettings, capture: CaptureSettings, *, shadow_connections: int
) -> AsyncGenerator[RunnerDatabases, None]:
    """Connect to live and shadow, and open their captures.

    Args:
        databases: the section `databases` of the settings.
        capture: the section `capture`; its driver is not `off`.
        shadow_connections: most connections to the shadow at a time.

    Raises:
        SettingsError: a DSN is missing or wrong, or the shadow may be live.
        CaptureError: a database cannot be captured; the message names the command that prepares it.
    """
    for name in ("live", "shadow"):
        if not getattr(databases, name):
            raise SettingsError(f"databases.{name} is empty; set it, or turn the capture off (capture.driver: off)")
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(_pool("live", databases.live, size=2))
        shadow = await stack.enter_async_context(_pool("shadow", databases.shadow, size=shadow_connections))
        async with shadow.acquire() as conn:
            catalog = await read_catalog(conn, await published_tables(conn, capture.publication))
        await refuse_unsafe(live, shadow, catalog)
        async with live.acquire() as conn:
            refuse_different_tables(await read_existing(conn, catalog.tables), catalog)
        captures = {
            Role.SERVED: open_capture(databases.live, capture),
            Role.MIRRORED: open_capture(databases.shadow, shadow_capture(capture)),
        }
        for opened in captures.values():
            await stack.enter_async_context(opened)
        yield RunnerDatabases(catalog, live, shadow, captures)


@asynccontextmanager
async def _pool(name: str, dsn: str, *, size: int) -> AsyncGenerator[asyncpg.Pool, None]:
    try:
        pool = await postgres.open_pool(dsn, size=size, timeout_s=CONNECT_TIMEOUT_S, server_settings=SESSION_OPTIONS)
    except (asyncpg.PostgresError, *UNAVAILABLE) as error:
        raise SettingsError(f"databases.{name}: {type(error).__name__}: {error}") from error
    try:
        yield pool
    finally:
        await postgres.close_pool(pool, timeout_s=CONNECT_TIMEOUT_S)


@contextmanager
def runner_stopped(journal: JournalSettings, name: str) -> Generator[None]:
    """Keep the runner from starting during the block: both would undo what the other writes to the shadow.

    Args:
        journal: the section `journal` of the settings. Without a journal on this machine, there is no runner either.
        name: of the runner as a reader of the journal, which the block occupies.

    Raises:
        RunnerRunningError: the runner is up.
    """
    if not journal_exists(journal):
        yield
        return
    try:
        reader = open_reader(journal, name)
    except JournalBusyError as error:
        raise RunnerRunningError("the runner is up; stop it first: both would write to the shadow database") from error
    with reader:
        yield


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
    """

    attribution: ShadowAttribution
    feed: TransactionFeed
    writer: RowWriter
    primary_keys: PrimaryKeys
    schemas: Schemas
    index: KeyIndex

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
    with runner_stopped(journal, runner.name):
        async with open_databases(databases, capture, shadow_connections=runner.concurrency + 2) as opened:
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
                    writer = RowWriter(opened.shadow, opened.catalog)
                    yield ExclusiveShadow(attribution, feed, writer, opened.primary_keys, opened.catalog.schemas, index)
                finally:
                    pump.cancel()
