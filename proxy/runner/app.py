"""Builds the runner from the settings, once, in order, and takes it down in the reverse order."""

import asyncio
import contextlib
import datetime as dt
import logging
import random
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from comparator import postgres
from comparator.capture.attribution_keys import KeyIndex, RowId, RowReference
from comparator.capture.catalog import Catalog, published_tables, read_catalog
from comparator.capture.driver import Capture
from comparator.capture.registry import open_capture
from comparator.capture.settings import Driver, shadow_capture
from comparator.errors import StoreUnavailableError
from comparator.exchanges.model import Role, Side
from comparator.postgres import UNAVAILABLE, Connection
from comparator.rules.live import LiveRules
from comparator.store.store import Store
from comparator.verdict import Lookups
from proxy.config.settings import Settings
from proxy.errors import SettingsError, ShadowUnreachableError
from proxy.journal.keys import RedactionKeys, load_keys
from proxy.journal.reader import SegmentReader
from proxy.runner.admin import admin_server
from proxy.runner.checkpoint_wiring import checkpoints_of, resuming_of
from proxy.runner.intake import Intake
from proxy.runner.ledger import Ledger
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import ConfirmBudget, Mirror
from proxy.runner.mirror_client import MirrorClient
from proxy.runner.mismatch_journal import open_captures
from proxy.runner.outcomes import Outcomes
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.result_buffer import ResultBuffer
from proxy.runner.result_sink import ResultSink
from proxy.runner.resync import ResyncResult, Waiting, repair, resync
from proxy.runner.row_targets import RowTarget
from proxy.runner.row_writer import NOTHING_TO_ALIGN, SESSION_OPTIONS, RowWriter, WrittenRows
from proxy.runner.rules_reload import watch_rules
from proxy.runner.runner import NOTHING_RESYNCED, Runner
from proxy.runner.safety_check import refuse_unsafe
from proxy.runner.shadow_attribution import ShadowAttribution
from proxy.runner.shadow_state import ShadowState
from proxy.runner.transaction_feed import TransactionFeed

logger = logging.getLogger(__name__)

MAINTENANCE_S = 3600.0
CONNECT_TIMEOUT_S = 10.0
STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class RunnerDatabases:
    """Both databases, opened for alignment and capture."""

    catalog: Catalog
    live: asyncpg.Pool
    shadow: asyncpg.Pool
    captures: Mapping[Role, Capture]


@asynccontextmanager
async def open_databases(settings: Settings) -> AsyncGenerator[RunnerDatabases, None]:
    """Connect to live and shadow, and open their captures.

    Raises:
        SettingsError: a DSN is missing.
        CaptureError: a database cannot be captured; the error says what to run.
    """
    for name in ("live", "shadow"):
        if not getattr(settings.databases, name):
            raise SettingsError(f"databases.{name} is empty; set it, or turn the capture off (capture.driver: off)")
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(_pool("live", settings.databases.live, size=2))
        size = settings.runner.concurrency + 2
        shadow = await stack.enter_async_context(_pool("shadow", settings.databases.shadow, size=size))
        async with shadow.acquire() as conn:
            catalog = await read_catalog(conn, await published_tables(conn, settings.capture.publication))
        await refuse_unsafe(live, shadow, catalog)
        captures = {
            Role.SERVED: open_capture(settings.databases.live, settings.capture),
            Role.MIRRORED: open_capture(settings.databases.shadow, shadow_capture(settings.capture)),
        }
        for capture in captures.values():
            await stack.enter_async_context(capture)
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


async def serve(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    stop: asyncio.Event,
    reload: Callable[[], Settings | None] | None = None,
) -> None:
    """Run the shadow runner until `stop` is set.

    Args:
        settings: of config.yaml.
        environ: for secrets.
        stop: ends the run.
        reload: asked every second or so for changed settings; only their section `compare` is taken.

    Raises:
        ProxyError, CaptureError, ComparatorError: it cannot begin; the message says what to do.
    """
    directory = Path(settings.journal.directory)
    keys = load_keys(directory, environ)
    metrics = RunnerMetrics(CollectorRegistry())
    ProcessCollector(registry=metrics.registry)
    async with AsyncExitStack() as stack:
        reader = stack.enter_context(_reader(directory, settings.runner.name, keys))
        store = await stack.enter_async_context(_store(settings, environ))
        databases = None
        if settings.capture.driver is not Driver.OFF:
            databases = await stack.enter_async_context(open_databases(settings))
        sender = await stack.enter_async_context(shadow_sender(settings))
        rules = LiveRules(settings.compare)
        captures = stack.enter_context(open_captures(settings, environ, metrics))
        keeper = ResultSink(store, settings, keys.digest, metrics.registry, differed=captures.take)
        checkpoints = checkpoints_of(settings)
        recorder = ResultBuffer(
            keeper.keep,
            commit=reader.commit if checkpoints is None else checkpoints.done,
            begun=None if checkpoints is None else checkpoints.begin,
            retried=lambda: metrics.retries.labels("store").inc(),
            survived=lambda place: metrics.errors.labels(place).inc(),
        )
        runner = build(settings, reader, recorder, sender, databases, metrics, rules)
        runner.resuming = resuming_of(checkpoints, reader, runner) if checkpoints is not None else None
        metrics.watch(
            in_flight=_in_flight(reader, metrics),
            lag_s=lambda: recorder.lag_s(time.time_ns()),
            waiting=lambda: runner.backlog,
            resync=lambda: float(runner.standing.resync_pending),
        )
        admin = settings.runner
        state = _state(settings, runner, recorder, metrics)
        port = await stack.enter_async_context(admin_server(admin.host, admin.port, metrics.registry, state))
        logger.info("runner_started", extra={"admin_port": port, "capture": settings.capture.driver.value})
        watcher = watch_rules(rules, reload, keeper.metrics) if reload else _nothing()
        await _work(runner, recorder, store, (keeper.keep_evidence(), watcher), stop)


def _reader(directory: Path, name: str, keys: RedactionKeys) -> SegmentReader:
    try:
        return SegmentReader(directory, name, keys=keys)
    except OSError as error:
        raise SettingsError(f"journal.directory: {error}") from error


def build(
    settings: Settings,
    reader: SegmentReader,
    recorder: ResultBuffer,
    sender: MirrorClient,
    databases: RunnerDatabases | None,
    metrics: RunnerMetrics,
    rules: LiveRules,
) -> Runner:
    """Wire the runner's parts."""
    options = settings.runner
    index = KeyIndex(settings.compare.tables, route_kind=settings.compare.route_kind)
    shapes = databases.catalog.tables.values() if databases else ()
    primary_keys = {shape.name: shape.primary_key for shape in shapes if shape.primary_key}
    ledger = Ledger(index, primary_keys=primary_keys, background=settings.compare.background)
    shadow = ShadowAttribution(options.clock_skew_ms * 1_000)
    feeds = _feeds(databases, index, ledger, shadow, metrics)
    budget = ConfirmBudget(options.confirm_per_s_max)
    aligner = RowWriter(databases.shadow, databases.catalog) if databases else None

    def may_confirm() -> bool:
        allowed = options.confirm and budget.take(time.monotonic())
        metrics.confirmations.labels("run" if allowed else "left_out").inc()
        return allowed

    mirror = Mirror(
        sender=sender,
        shadow=shadow if databases else None,
        fence=feeds[Role.MIRRORED].fence if databases else _no_fence,
        interruptions=lambda: feeds[Role.MIRRORED].interruptions if databases else 0,
        primary_keys=primary_keys,
        judge=rules,
        lookups=Lookups(index.natural_key, index.natural_key),
        tagged_sides=frozenset(options.tagged_sides),
        may_confirm=may_confirm,
    )
    standing, outcomes = ShadowState(feeds, metrics), Outcomes(recorder, metrics)
    return Runner(
        settings=options,
        intake=Intake(options, reader, ledger, outcomes, standing, metrics, sender.reaches),
        ledger=ledger,
        mirror=mirror,
        shadow=shadow,
        standing=standing,
        outcomes=outcomes,
        metrics=metrics,
        primary_keys=primary_keys,
        write=aligner.apply if aligner else _no_rows,
        truncate=aligner.truncate if aligner else _no_tables,
        resync=_resync(databases, aligner) if databases and aligner else _no_resync,
        repair=_repair(databases, aligner) if databases and aligner else _no_repair,
    )


def _feeds(
    databases: RunnerDatabases | None,
    index: KeyIndex,
    ledger: Ledger,
    shadow: ShadowAttribution,
    metrics: RunnerMetrics,
) -> dict[Role, TransactionFeed]:
    if databases is None:
        return {}
    parents = ParentLookup(index, databases.catalog, (databases.shadow, databases.live))

    async def learn(references: Sequence[RowReference]) -> None:
        while True:
            try:
                await parents.learn(references)
            except ShadowUnreachableError as error:
                logger.warning("shadow_step_repeated", extra={"what": "lookup", "error": str(error)})
                metrics.retries.labels("lookup").inc()
                await asyncio.sleep(1.0)
            else:
                return

    return {
        Role.SERVED: TransactionFeed(
            databases.captures[Role.SERVED], key=ledger.keyed, lookup=learn, sink=ledger.deliver
        ),
        Role.MIRRORED: TransactionFeed(
            databases.captures[Role.MIRRORED], key=ledger.keyed, lookup=learn, sink=shadow.deliver
        ),
    }


def _resync(databases: RunnerDatabases, aligner: RowWriter) -> Callable[[Waiting | None], Awaitable[ResyncResult]]:
    async def run(waiting: Waiting | None) -> ResyncResult:
        async with _acquired(databases.live) as live, _acquired(databases.shadow) as shadow:
            return await resync(live, shadow, aligner, databases.catalog, waiting)

    return run


def _repair(databases: RunnerDatabases, aligner: RowWriter) -> Callable[[Iterable[RowId]], Awaitable[int]]:
    async def run(rows: Iterable[RowId]) -> int:
        async with _acquired(databases.live) as live:
            return await repair(live, aligner, databases.catalog, rows)

    return run


@asynccontextmanager
async def _acquired(pool: asyncpg.Pool) -> AsyncGenerator[Connection, None]:
    try:
        async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as conn:
            yield conn
    except UNAVAILABLE as error:
        raise ShadowUnreachableError(f"database: {error!r}") from error


async def _no_fence() -> None:
    return None


async def _nothing() -> None:
    return None


async def _no_rows(_: Sequence[RowTarget]) -> WrittenRows:
    return NOTHING_TO_ALIGN


async def _no_tables(_: Sequence[str]) -> None:
    return None


async def _no_resync(_: Waiting | None) -> ResyncResult:
    return NOTHING_RESYNCED


async def _no_repair(_: Iterable[RowId]) -> int:
    return 0


async def _work(
    runner: Runner,
    recorder: ResultBuffer,
    store: Store | None,
    besides: Sequence[Coroutine[object, object, None]],
    stop: asyncio.Event,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        others = [tasks.create_task(work, name=f"besides-{n}") for n, work in enumerate(besides)]
        recording = tasks.create_task(recorder.run(), name="recorder")
        upkeep = tasks.create_task(_maintain(store), name="store-maintenance")
        running = tasks.create_task(runner.run(), name="runner")
        waiting = tasks.create_task(stop.wait(), name="stop")
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        runner.stop()
        try:
            async with asyncio.timeout(STOP_S):
                await running
        finally:
            recorder.close()
            for task in (waiting, upkeep, *others):
                task.cancel()
        with contextlib.suppress(StoreUnavailableError):
            await recording


async def _maintain(store: Store | None) -> None:
    while store is not None:
        try:
            await store.maintain(dt.datetime.now(dt.UTC))
        except StoreUnavailableError as error:
            logger.warning("store_maintenance_failed", extra={"error": str(error)})
        await asyncio.sleep(MAINTENANCE_S)


@asynccontextmanager
async def _store(settings: Settings, environ: Mapping[str, str]) -> AsyncGenerator[Store | None, None]:
    dsn = settings.store.dsn or settings.databases.store or environ.get("SHADOW_STORE_DSN", "")
    if not dsn:
        logger.warning("store_missing", extra={"do": "set databases.store; verdicts are counted and not kept"})
        yield None
        return
    store = Store(msgspec.structs.replace(settings.store, dsn=dsn), random.SystemRandom())
    async with store:
        yield store


def shadow_sender(settings: Settings) -> MirrorClient:
    """A sender to both sides' shadow instances."""
    instances = {side: settings.backends.of(side, Role.MIRRORED) for side in Side}
    return MirrorClient(
        {side: backend.url for side, backend in instances.items()},
        hosts={side: b.host for side, b in instances.items() if b.host not in ("backend", "preserve")},
        timeout_s=settings.runner.timeout_s,
        connections_max=settings.runner.concurrency,
        body_max_bytes=settings.journal.body_max_bytes,
    )


def _in_flight(reader: SegmentReader, metrics: RunnerMetrics) -> Callable[[], float]:
    begun_at = reader.committed_sequence

    def count() -> float:
        return reader.tail_sequence() - begun_at - metrics.ended

    return count


def _state(
    settings: Settings, runner: Runner, recorder: ResultBuffer, metrics: RunnerMetrics
) -> Callable[[], Mapping[str, object]]:
    def state() -> Mapping[str, object]:
        return {
            "ready": runner.standing.ready,
            "reader": settings.runner.name,
            "capture": settings.capture.driver.value,
            "waiting": runner.ledger.waiting,
            "unattributed": runner.ledger.unattributed,
            "unkept": recorder.unfinished,
            "lag_s": recorder.lag_s(time.time_ns()),
            "ended": metrics.ended,
        }

    return state


def stop_on_signals(stop: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT set the event."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
