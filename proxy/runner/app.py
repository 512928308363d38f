"""Composition root of the shadow runner: build every part once, in order, and close them in the reverse order."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from comparator.capture.attribution import KeyedTransaction
from comparator.capture.attribution_keys import NO_KEYS, KeyIndex, RowReference
from comparator.capture.settings import CaptureSettings, Driver, SlotKind, shadow_capture
from comparator.capture.table_shape import Catalog
from comparator.errors import StoreUnavailableError
from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import Role, Side
from comparator.exchanges.row_changes import Transaction
from comparator.exchanges.table_schema import Schemas
from comparator.live_rules import LiveRules
from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings, StoreSettings
from comparator.store.comparison_detail import ComparedExchange
from comparator.store.ended import EndedAs, EndedBatch, EndedExchanges
from comparator.store.store import Store
from comparator.verdict import Lookups
from proxy.config.backends import BackendsSettings
from proxy.config.journal import JournalDriver
from proxy.config.runner import Resync, RunnerSettings
from proxy.config.settings import Settings
from proxy.errors import JournalBusyError, RunnerRunningError, SettingsError
from proxy.journal.driver import JournalEntry, JournalPosition, JournalReader
from proxy.journal.reconciliation import RunnerState
from proxy.journal.registry import journal_keys, read_writer_states
from proxy.journal.segments import offset_path
from proxy.rollout.disk import DiskThread
from proxy.runner.accountant import Accountant
from proxy.runner.admin import admin_server
from proxy.runner.calibrate import NoiseCollector, NothingCommitted, PairedRuns
from proxy.runner.cause_solving import solve_causes
from proxy.runner.checkpoint import CommitOnSave, CommitWithLog, OpenExchanges
from proxy.runner.configuration_use import ConfigurationUse
from proxy.runner.databases import RunnerDatabases, open_databases
from proxy.runner.intake import Intake, ServedEffects
from proxy.runner.journal_access import (
    RUNNER_IS_UP,
    RunnerJournal,
    end_former_reader,
    open_runner_journal,
    show_writers,
    writers_document,
)
from proxy.runner.key_slice import EVERYTHING, KeySlice
from proxy.runner.lease import RunnerLease
from proxy.runner.ledger import Ledger, LiveCommit
from proxy.runner.metrics import ErrorPlace, RetriedStep, RunnerMetrics
from proxy.runner.mirror import Mirror, RulesInForce
from proxy.runner.mirror_client import MirrorClient
from proxy.runner.mismatch_journal import open_mismatch_journal
from proxy.runner.no_capture import (
    EmptyFeed,
    NoSchemaWatch,
    NoServedAttribution,
    NoShadowAttribution,
    UnalignedShadow,
)
from proxy.runner.offset_writer import OffsetWriter
from proxy.runner.outcomes import Outcomes
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.releases import ReleaseReader
from proxy.runner.result_buffer import ResultBuffer
from proxy.runner.result_sink import ResultSink, redactor_of
from proxy.runner.resync import AlignedShadow
from proxy.runner.resynchronizer import Resynchronizer
from proxy.runner.row_sampler import RowSampler, RowWatch, SampledTables
from proxy.runner.row_sql import is_alignment
from proxy.runner.row_targets import PrimaryKeys
from proxy.runner.rules_reload import reload_rules
from proxy.runner.runner import Checkpoints, ExchangeMirror, Runner
from proxy.runner.schema_agreement import SchemaAgreement
from proxy.runner.schema_watch import DatabaseSchema, SchemaWatch
from proxy.runner.served_attribution import ServedAttribution
from proxy.runner.shadow_attribution import ShadowAttribution
from proxy.runner.shadow_shapes import ShadowShapes
from proxy.runner.shadow_state import ShadowState
from proxy.runner.survival import ends_the_runner, surviving
from proxy.runner.transaction_feed import FindKeys, TransactionFeed
from proxy.runner.unclean_stop import running_mark
from proxy.runner.verdict_queue import VerdictQueue
from proxy.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

MAINTENANCE_S = 3600.0
STOP_S = 20.0
UPKEEP_PAUSE_S = 5.0


async def serve(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    stop: asyncio.Event,
    reload: Callable[[], Settings | None] = lambda: None,
) -> None:
    """Run the shadow runner until `stop` is set.

    Args:
        settings: of config.yaml.
        environ: for secrets.
        stop: ends the run.
        reload: returns the settings if they changed since its last call; only their section `compare` comes into force.

    Raises:
        ProxyError, CaptureError, ComparatorError: it cannot start; the message says what to do.
    """
    options, compare = settings.runner, settings.compare
    keys = journal_keys(settings.journal, environ)
    rules = LiveRules(compare)
    metrics = RunnerMetrics(CollectorRegistry())
    ProcessCollector(registry=metrics.registry)

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_open_store(settings.databases.store, settings.store))
        journal = await stack.enter_async_context(
            open_runner_journal(
                settings.journal, options, environ, store, wait=partial(_wait_for_lease, options, metrics, stop)
            )
        )
        if journal is None:
            return
        reader = journal.reader
        if store is not None:
            store.fence = journal.fence
        if journal.lease is not None:
            metrics.lease_held.labels(options.reader).set(1)
        if journal.lease is not None and journal.lease.taken_over:
            await _end_former_reader(settings)
        offsets = OffsetWriter(
            reader.commit, DiskThread("journal-offset"), metrics.errors.labels(ErrorPlace.COMMIT).inc
        )
        stack.push_async_callback(offsets.close)
        effects = await stack.enter_async_context(_open_effects(settings, rules, metrics))
        client = await stack.enter_async_context(
            mirror_client(settings.backends, options, body_max_bytes=settings.journal.body_max_bytes)
        )
        record_mismatch = stack.enter_context(
            open_mismatch_journal(settings.routes, settings.journal, environ, metrics)
        )

        checkpoints = _checkpoints(settings.capture, options, journal, offsets, effects)
        use = ConfigurationUse(settings)
        sink = ResultSink(
            store,
            compare,
            redactor_of(compare, settings.journal.redaction, keys.digest),
            keys.digest,
            metrics=ComparatorMetrics(metrics.registry, [route.name for route in settings.routes], compare.tables),
            releases=ReleaseReader.of(settings.backends),
            ended=lambda ended: EndedBatch(options.reader, _counted_here(ended, options), reader.begun_numbers()),
            on_compared=_compared(use, record_mismatch),
        )
        buffer = ResultBuffer(
            sink.save,
            save_bare=sink.save_bare,
            progress=checkpoints,
            on_retry=metrics.retries.labels(RetriedStep.STORE).inc,
            on_error=lambda place: metrics.errors.labels(place).inc(),
        )
        mirror = _mirror(rules, options, effects, client, metrics)
        runner = _runner(options, effects, reader, mirror, buffer, checkpoints, metrics, reaches=client.reaches)

        metrics.watch(
            in_flight=_in_flight(reader, metrics),
            lag_s=lambda: buffer.lag_s(time.time_ns()),
            waiting=lambda: runner.backlog,
            resync=lambda: float(effects.state.resync_pending),
        )
        status = _status(settings, effects.schema, runner, buffer, metrics, use, journal)
        port = await stack.enter_async_context(admin_server(options.host, options.port, metrics.registry, status))
        logger.info("runner_started", extra={"admin_port": port, "capture": settings.capture.driver.value})

        upkeep: dict[str, Callable[[], Coroutine[object, object, None]]] = {
            "causes": lambda: solve_causes(store, sink.metrics),
            "rules-reload": lambda: reload_rules(rules, _changed_rules(reload, use), sink.metrics, effects.schema),
            "store-maintenance": lambda: _maintain(store),
        }
        if store is not None:
            accountant = Accountant(
                store,
                options.reader,
                partial(read_writer_states, settings.journal),
                buffer.read_state,
                metrics,
                readers=options.readers if options.slices else (),
            )
            upkeep["accountant"] = accountant.run
        if journal.shared is not None:
            upkeep["writers"] = partial(show_writers, journal.shared, metrics)
        if effects.sampler is not None:
            upkeep["row-sampler"] = effects.sampler.run
        await _run_marked(settings, journal, runner, buffer, upkeep, stop, metrics)


async def _wait_for_lease(
    options: RunnerSettings, metrics: RunnerMetrics, stop: asyncio.Event, lease: RunnerLease
) -> bool:
    """Take the lease, as soon as no other runner holds it; return False when `stop` is set before."""
    holder = await lease.take()
    if holder is None:
        return True
    metrics.lease_held.labels(options.reader).set(0)
    status = {"ready": False, "reader": options.reader, "waits_for": holder}
    async with admin_server(options.host, options.port, metrics.registry, lambda: status):
        return await lease.wait(stop, lambda other: status.update(waits_for=other))


async def _end_former_reader(settings: Settings) -> None:
    """End the use of live's slot by a runner that did not give its lease back."""
    capture = settings.capture
    if capture.driver is Driver.STREAM and capture.slot.kind is SlotKind.PERSISTENT:
        await end_former_reader(settings.databases.live, capture.slot.name)


async def observe_noise(settings: Settings, environ: Mapping[str, str], noise: NoiseCollector, *, for_s: float) -> None:
    """Follow live traffic in place of the runner, and compare one side with itself: each request from the state it started from.

    Live's changes are followed by a temporary slot, and nothing is committed: the runner that starts next skips and counts what was served
    meanwhile.

    Args:
        settings: of config.yaml.
        environ: for secrets.
        noise: gets the pairs of runs; the end is when it has enough.
        for_s: most seconds to wait for traffic.

    Raises:
        ProxyError, CaptureError: it cannot start; the message says what to do.
    """
    options = settings.runner
    slot = replace(settings.capture.slot, kind=SlotKind.TEMPORARY)
    settings = replace(settings, capture=replace(settings.capture, slot=slot))
    rules, metrics = LiveRules(settings.compare), RunnerMetrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        store = None
        if settings.journal.driver is JournalDriver.VALKEY:
            store = await stack.enter_async_context(_open_store(settings.databases.store, settings.store))
        try:
            journal = await stack.enter_async_context(open_runner_journal(settings.journal, options, environ, store))
        except JournalBusyError as error:
            raise RunnerRunningError(RUNNER_IS_UP) from error
        assert journal is not None, "without a wait there is a journal or an error"
        reader = journal.reader
        effects = await stack.enter_async_context(_open_effects(settings, rules, metrics))
        client = await stack.enter_async_context(
            mirror_client(settings.backends, options, body_max_bytes=settings.journal.body_max_bytes)
        )
        second = await stack.enter_async_context(second_process(settings, noise.side, noise.second_url))
        # Where the runner would go on from is no longer the state of the shadow.
        await asyncio.to_thread(reader.commit, None)
        buffer = ResultBuffer(noise.save, progress=NothingCommitted())
        mirror = PairedRuns(_mirror(rules, options, effects, client, metrics), noise, second)
        runner = _runner(
            options,
            effects,
            reader,
            mirror,
            buffer,
            NothingCommitted(),
            metrics,
            reaches=lambda _: client.reaches(noise.side),
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(_stop_after(for_s, noise.enough, stop), name="calibration-end")
            await _run_marked(settings, journal, runner, buffer, {}, stop, metrics)
            ending.cancel()


async def _stop_after(for_s: float, enough: asyncio.Event, stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await enough.wait()
    stop.set()


@asynccontextmanager
async def second_process(settings: Settings, side: Side, url: str) -> AsyncGenerator[MirrorClient | None, None]:
    """Open a client of another process of a side on the shadow database; None where there is none (`url` is empty)."""
    if not url:
        yield None
        return
    shadow = replace(settings.backends.of(side, Role.MIRRORED), url=url)
    instances = replace(getattr(settings.backends, side.value), shadow=shadow)
    backends = replace(settings.backends, **{side.value: instances})
    async with mirror_client(backends, settings.runner, body_max_bytes=settings.journal.body_max_bytes) as client:
        yield client


def _slice_of(options: RunnerSettings) -> KeySlice:
    return KeySlice(options.slice, tuple(one.name for one in options.slices)) if options.slices else EVERYTHING


def _counted_here(ended: Sequence[EndedExchanges], options: RunnerSettings) -> list[EndedExchanges]:
    """Leave the losses of those writers to another slice that fall to it."""
    owner = _slice_of(options)
    return [
        one
        if one.outcome is not EndedAs.UNREAD or owner.owns_losses_of(one.writer)
        else dataclasses.replace(one, outcome=EndedAs.OTHER_SLICE, cause="")
        for one in ended
    ]


def _runner(
    options: RunnerSettings,
    effects: "EffectParts",
    reader: JournalReader,
    mirror: ExchangeMirror,
    buffer: ResultBuffer,
    checkpoints: Checkpoints,
    metrics: RunnerMetrics,
    *,
    reaches: Callable[[Side], bool],
) -> Runner:
    key_slice = _slice_of(options)
    outcomes = Outcomes(buffer, metrics, key_slice)
    return Runner(
        settings=options,
        resync_at_start=effects.captured and options.resync is Resync.AUTO,
        intake=Intake(
            options, reader, effects.ledger, effects.served, outcomes, effects.state, metrics, reaches, key_slice
        ),
        ledger=effects.ledger,
        mirror=mirror,
        served_effects=effects.served,
        strays=effects.shadow,
        state=effects.state,
        outcomes=outcomes,
        metrics=metrics,
        primary_keys=effects.primary_keys,
        tables=effects.tables,
        resynchronizer=Resynchronizer(
            effects.state, effects.ledger, metrics, effects.tables.resync, effects.shadow.discard, effects.schema
        ),
        schema=effects.schema,
        verdicts=VerdictQueue(outcomes, effects.schema.confirmed, effects.schema.refuses_verdict),
        checkpoints=checkpoints,
    )


@dataclass(frozen=True, slots=True)
class EffectParts:
    """The parts that deal with row changes: captured ones, or the null objects of `no_capture`."""

    captured: bool
    primary_keys: PrimaryKeys
    schemas: Schemas
    index: KeyIndex
    ledger: Ledger
    state: ShadowState
    served: ServedEffects
    shadow: ShadowAttribution | NoShadowAttribution
    tables: AlignedShadow | UnalignedShadow
    schema: SchemaWatch | NoSchemaWatch
    sampler: RowSampler | None = None


@asynccontextmanager
async def _open_effects(
    settings: Settings, rules: LiveRules, metrics: RunnerMetrics
) -> AsyncGenerator[EffectParts, None]:
    capture, compare, options = settings.capture, settings.compare, settings.runner
    safe_routes = frozenset(route.name for route in settings.routes if route.safe)
    if capture.driver is Driver.OFF:
        index = KeyIndex(compare.tables, {}, route_kind=compare.route_kind)
        ledger, state = Ledger(index, primary_keys={}), ShadowState({role: EmptyFeed() for role in Role}, metrics)
        served = NoServedAttribution(ledger, safe_routes)
        no_effects, no_schema = NoShadowAttribution(), NoSchemaWatch()
        yield EffectParts(False, {}, {}, index, ledger, state, served, no_effects, UnalignedShadow(), no_schema)
        return
    async with open_databases(
        settings.databases, capture, shadow_connections=options.concurrency + 3, may_differ=True
    ) as opened:
        opened.refuse_contradictions(compare)
        index = KeyIndex(compare.tables, opened.primary_keys, route_kind=compare.route_kind)
        touched = {route.name: frozenset(route.tables) for route in settings.routes if route.tables}
        agreement = SchemaAgreement(index, lambda: rules.tables, touched)
        keys = agreement.primary_keys
        ledger = Ledger(index, primary_keys=keys, background=compare.background, undivided=opened.bound)
        shadow = ShadowAttribution(
            options.clock_skew_ms * 1_000,
            quiet_us=int(options.timeout_s * 1_000_000),
            lost_after_us=int(options.unsettled_s_max * 1_000_000),
        )
        state = ShadowState({}, metrics)
        watch = _schema_watch(opened, agreement, capture, metrics, ledger, state)
        await watch.begin()
        _refuse_unknown_tables(agreement)
        rows = RowWatch()
        state.feeds = _feeds(opened, index, ledger, shadow, metrics, watch, rows)
        served = ServedAttribution(options, ledger, state, metrics, safe_routes)
        tables = AlignedShadow(opened.live, opened.shadow, opened.writer)
        sampler = _row_sampler(opened, index, ledger, state, rows, options, metrics)
        yield EffectParts(True, keys, agreement.schemas, index, ledger, state, served, shadow, tables, watch, sampler)


def _refuse_unknown_tables(agreement: SchemaAgreement) -> None:
    """Hold `routes[].tables` against the catalogues.

    Raises:
        SettingsError: a route declares a table that neither database has; all of them are named.
    """
    problems = [
        f"routes.{route}.tables: no such table: {', '.join(sorted(missing))} (for a view, name the tables below it)"
        for route, declared in agreement.touched.items()
        if (missing := declared - agreement.existing)
    ]
    if problems:
        raise SettingsError("; ".join(problems))


def _row_sampler(
    databases: RunnerDatabases,
    index: KeyIndex,
    ledger: Ledger,
    state: ShadowState,
    watch: RowWatch,
    options: RunnerSettings,
    metrics: RunnerMetrics,
) -> RowSampler | None:
    if not options.sample_every_s or not options.align:
        return None
    writer = databases.writer
    return RowSampler(
        every_s=options.sample_every_s,
        rows=options.sample_rows,
        tables=SampledTables(databases.live, databases.shadow, lambda: writer.catalog),
        work=ledger,
        watch=watch,
        state=state,
        metrics=metrics,
        index=index,
        parents=ParentLookup(index, databases.catalog, (databases.live,)),
    )


def _schema_watch(
    databases: RunnerDatabases,
    agreement: SchemaAgreement,
    capture: CaptureSettings,
    metrics: RunnerMetrics,
    ledger: Ledger,
    state: ShadowState,
) -> SchemaWatch:
    shapes = ShadowShapes(
        databases.live, databases.shadow, capture, databases.writer, ledger, agreement.tables, changed=state.wake.set
    )

    async def delivered() -> None:
        for feed in state.feeds.values():
            await feed.fence()

    return SchemaWatch(
        agreement,
        DatabaseSchema("live", databases.live, capture),
        DatabaseSchema("shadow", databases.shadow, shadow_capture(capture)),
        metrics,
        on_change=shapes.take,
        read_obstacles=shapes.read_obstacles,
        advance_sequences=shapes.advance_sequences,
        delivered=delivered,
    )


def _feeds(
    databases: RunnerDatabases,
    index: KeyIndex,
    ledger: Ledger,
    shadow: ShadowAttribution,
    metrics: RunnerMetrics,
    watch: SchemaWatch,
    rows: RowWatch,
) -> dict[Role, TransactionFeed]:
    """Return the feed of live into the ledger, and that of the shadow into its attribution."""
    parents = ParentLookup(index, Catalog(watch.agreement.known), (databases.shadow, databases.live))

    async def look_up(references: Sequence[RowReference]) -> None:
        await parents.learn_with_retries(references, on_retry=metrics.retries.labels(RetriedStep.LOOKUP).inc)

    def keyed_in(role: Role) -> FindKeys:
        def keyed(transaction: Transaction) -> tuple[KeyedTransaction, tuple[RowReference, ...]]:
            watch.observe(role, transaction)
            if role is Role.MIRRORED and is_alignment(transaction):
                # Our own: nothing is attributed to it, so its keys are not looked for.
                return KeyedTransaction(transaction, NO_KEYS, rows.watched_of(transaction, ledger.rows_of)), ()
            return ledger.keyed(transaction)

        return keyed

    sinks = {Role.SERVED: ledger.deliver, Role.MIRRORED: shadow.deliver}
    feeds = {
        role: TransactionFeed(databases.captures[role], key=keyed_in(role), lookup=look_up, sink=rows.through(sink))
        for role, sink in sinks.items()
    }
    for role, feed in feeds.items():
        metrics.wal_retained.labels(role.value).set_function(partial(_wal_retained, feed))
    return feeds


def _wal_retained(feed: TransactionFeed) -> float:
    return float(feed.wal_retained_bytes)


def _checkpoints(
    capture: CaptureSettings,
    options: RunnerSettings,
    journal: RunnerJournal,
    offsets: OffsetWriter[JournalPosition],
    effects: EffectParts,
) -> CommitOnSave[JournalPosition] | CommitWithLog[JournalPosition]:
    live, ledger = effects.state.feeds[Role.SERVED], effects.ledger
    if capture.driver is not Driver.STREAM or capture.slot.kind is not SlotKind.PERSISTENT:
        return CommitOnSave(offsets.commit, ledger.applied_lsn, live.confirm, journal.stage)

    def confirm(checkpoint: LiveCommit | None) -> None:
        if checkpoint == ledger.last_commit:
            # Behind it are only fences and transactions of other tables: their log must be dropped as well.
            live.confirm(None)
        elif checkpoint is not None:
            live.confirm(checkpoint.end_lsn)

    exchanges = OpenExchanges[JournalPosition](options.clock_skew_ms * 1_000, options.post_response_wait_ms * 1_000)
    return CommitWithLog(exchanges, journal.reader.live_us, ledger.applied_commit, offsets.commit, confirm)


def _mirror(
    rules: RulesInForce, options: RunnerSettings, effects: EffectParts, client: MirrorClient, metrics: RunnerMetrics
) -> Mirror:
    budget = TokenBucket.full(options.confirm_per_s_max, options.confirm_per_s_max, now=time.monotonic())

    def may_confirm() -> bool:
        allowed = options.confirm and budget.take(time.monotonic())
        metrics.confirmations.labels("run" if allowed else "left_out").inc()
        return allowed

    return Mirror(
        client=client,
        effects=effects.shadow,
        feed=effects.state.feeds[Role.MIRRORED],
        primary_keys=effects.primary_keys,
        schemas=effects.schemas,
        rules=rules,
        lookups=Lookups(effects.index.natural_key, effects.index.natural_key),
        tagged_sides=frozenset(options.tagged_sides),
        may_confirm=may_confirm,
    )


def mirror_client(backends: BackendsSettings, options: RunnerSettings, *, body_max_bytes: int) -> MirrorClient:
    """Return a client of both sides' shadow instances."""
    return MirrorClient(
        {side: backends.of(side, Role.MIRRORED) for side in Side},
        timeout_s=options.timeout_s,
        connections_max=options.concurrency,
        body_max_bytes=body_max_bytes,
    )


@asynccontextmanager
async def _open_store(dsn: str, settings: StoreSettings) -> AsyncGenerator[Store | None, None]:
    if not dsn:
        logger.warning("store_missing", extra={"do": "set databases.store; comparisons are counted and not stored"})
        yield None
        return
    async with Store(dsn, settings, random.SystemRandom()) as opened:
        yield opened


async def _maintain(store: Store | None) -> None:
    while store is not None:
        try:
            await store.maintain(dt.datetime.now(dt.UTC))
        except StoreUnavailableError as error:
            logger.warning("store_maintenance_failed", extra={"error": str(error)})
        await asyncio.sleep(MAINTENANCE_S)


def _compared(
    use: ConfigurationUse, record_mismatch: Callable[[JournalEntry], None]
) -> Callable[[JournalEntry, ComparedExchange], None]:
    def compared(entry: JournalEntry, exchange: ComparedExchange) -> None:
        use.add(exchange)
        if exchange.comparison.verdict is Verdict.MISMATCH:
            record_mismatch(entry)

    return compared


def _changed_rules(
    reload: Callable[[], Settings | None], use: ConfigurationUse
) -> Callable[[], CompareSettings | None]:
    def changed() -> CompareSettings | None:
        settings = reload()
        if settings is None:
            return None
        use.changed(settings)
        if use.needs_restart:
            logger.warning("config_needs_restart", extra={"settings": list(use.needs_restart)})
        return settings.compare

    return changed


def _in_flight(reader: JournalReader, metrics: RunnerMetrics) -> Callable[[], float]:
    committed_at_start = reader.committed_sequence
    return lambda: reader.tail_sequence() - committed_at_start - metrics.ended


def _status(
    settings: Settings,
    schema: SchemaWatch | NoSchemaWatch,
    runner: Runner,
    buffer: ResultBuffer,
    metrics: RunnerMetrics,
    use: ConfigurationUse,
    journal: RunnerJournal,
) -> Callable[[], Mapping[str, object]]:
    return lambda: {
        "ready": runner.state.ready,
        "reader": settings.runner.reader,
        "capture": settings.capture.driver.value,
        "schema": schema.status,
        "shadow": {
            "resyncing": runner.state.resyncing,
            "resync_due": str(runner.state.resync_reason or ""),
            "needs_clone": runner.state.needs_clone,
        },
        "waiting": runner.ledger.waiting,
        "unattributed": runner.ledger.unattributed,
        "unsettled": runner.strays.unsettled,
        "untagged": runner.untagged,
        "use": use.status,
        "config": {"needs_restart": list(use.needs_restart)},
        "unsaved": buffer.unsaved,
        "exchanges": _exchanges_document(buffer.read_state()),
        "lag_s": buffer.lag_s(time.time_ns()),
        "ended": metrics.ended,
        "journal": writers_document(journal.shared) if journal.shared is not None else None,
    }


def _exchanges_document(state: RunnerState) -> Mapping[str, object]:
    """Return what the runner has read, and what of it has no saved outcome: for `shadow status`."""
    return {"read": state.read, "open": {writer: list(numbers) for writer, numbers in state.open.items()}}


Upkeep: TypeAlias = Mapping[str, Callable[[], Coroutine[object, object, None]]]
"""The tasks beside the runner, by name; each ends only when it is cancelled, or has nothing to do."""


async def _save(buffer: ResultBuffer, metrics: RunnerMetrics) -> None:
    """Save outcomes until the buffer is closed; then an unavailable store ends it: the next start reads again what is not saved."""

    def may_end(error: Exception) -> bool:
        return buffer.closing or ends_the_runner(error)

    await surviving(buffer.run, ErrorPlace.SAVING, metrics, may_end=may_end)


async def _run_marked(
    settings: Settings,
    journal: RunnerJournal,
    runner: Runner,
    buffer: ResultBuffer,
    upkeep: Upkeep,
    stop: asyncio.Event,
    metrics: RunnerMetrics,
) -> None:
    """Run, once the requests that a killed runner left behind have ended. That of a shared journal may have been on another machine."""
    folder = offset_path(Path(settings.journal.directory), settings.runner.reader).parent
    lease, waited = journal.lease, False

    def is_finished() -> bool:
        return waited and not runner.strays.unsettled

    if lease is None:
        marked = running_mark(folder, settings.runner.reader, is_finished)
    else:
        marked = contextlib.nullcontext(lease.taken_over)
    with marked as was_killed:
        if was_killed:
            wait_s = max(settings.runner.timeout_s, settings.runner.unsettled_s_max)
            logger.warning(
                "runner_was_killed", extra={"waits_s": wait_s, "for": "mirrored requests that it left running"}
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await stop.wait()
        waited = not (was_killed and stop.is_set())
        await _run(runner, buffer, upkeep, stop, metrics)
        if lease is not None:
            lease.leaves_requests = not is_finished()


async def _run(
    runner: Runner, buffer: ResultBuffer, upkeep: Upkeep, stop: asyncio.Event, metrics: RunnerMetrics
) -> None:
    """Run until `stop` is set or the runner ends, then let running items end and save what is buffered."""
    async with asyncio.TaskGroup() as tasks:
        others = [
            tasks.create_task(
                # (none of them may end the comparing, whatever it says)
                surviving(start, ErrorPlace.UPKEEP, metrics, may_end=lambda _: False, pause_s=UPKEEP_PAUSE_S),
                name=name,
            )
            for name, start in upkeep.items()
        ]
        saving = tasks.create_task(_save(buffer, metrics), name="result-buffer")
        running = tasks.create_task(runner.run(), name="runner")
        stopped = tasks.create_task(stop.wait(), name="stop")
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        runner.stop()
        try:
            async with asyncio.timeout(STOP_S):
                await running
        finally:
            buffer.close()
            for task in (stopped, *others):
                task.cancel()
        with contextlib.suppress(StoreUnavailableError):
            await saving
