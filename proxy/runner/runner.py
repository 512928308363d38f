"""Carry out the work in the ledger: mirrored runs, and live's changes on the shadow.

`intake` reads the journal into the ledger. Every exchange that is read ends in exactly one of compared, skipped, failed or dropped
(`outcomes`); only then may its journal position be committed. All queueing is here: live never waits. When a database, the other side
or the store does not answer, work is repeated or skipped and counted; nothing is lost silently.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from comparator.capture.attribution import KeyedTransaction
from comparator.capture.attribution_keys import Keys, RowId
from comparator.exchanges.model import EffectsOutcome, Exchange, Role, Side
from comparator.exchanges.row_changes import RowChange
from proxy.config.runner import RunnerSettings
from proxy.errors import ShadowDriftError
from proxy.runner.clock import now_us
from proxy.runner.intake import Intake, ServedEffects, trace_of
from proxy.runner.ledger import BackgroundApply, Ledger, MirrorRun, RowRepair, WorkItem
from proxy.runner.metrics import ErrorPlace, RetriedStep, RunnerMetrics
from proxy.runner.mirror import Align, MirrorResult
from proxy.runner.outcomes import Outcomes
from proxy.runner.resynchronizer import Resynchronizer
from proxy.runner.row_targets import Alignment, RowTarget, alignment
from proxy.runner.row_writer import CONTRADICTED, NOTHING_WRITTEN, WrittenRows, named_rows
from proxy.runner.shadow_attribution import GivenUp, GivenUpEnd
from proxy.runner.shadow_state import ResyncReason, ShadowState
from proxy.runner.skip_causes import RunnerSkip, attribution_skip
from proxy.runner.survival import survived, surviving
from proxy.runner.verdict_queue import VerdictQueue

logger = logging.getLogger(__name__)

HOUSEKEEPING_S = 0.25
NAME_REQUESTS = (
    "let it call pg_logical_emit_message(true, 'shadow.request', X-Request-Id) in each transaction that writes, or remove it from"
    " runner.tagged_sides"
)


class ShadowTables(Protocol):
    """The tables of the shadow, as far as they are kept equal to live's."""

    async def write(self, work: Alignment) -> WrittenRows:
        """Make changes once.

        Raises:
            ShadowDriftError: the shadow holds rows that contradict live.
            DatabaseUnreachableError: the shadow database did not answer.
        """
        ...

    async def repair(self, rows: Iterable[RowId]) -> WrittenRows:
        """Copy rows from live.

        Raises:
            ShadowDriftError, DatabaseUnreachableError: as `write`.
        """
        ...


class ExchangeMirror(Protocol):
    """Runs an exchange on the shadow, compares, and aligns."""

    async def run(self, run: MirrorRun, align: Align, *, delivered_us: int = 0) -> MirrorResult:
        """Run one exchange; as `Mirror.run`."""
        ...


class SchemaGuard(Protocol):
    """The tables that both databases define alike, while definitions change."""

    @property
    def version(self) -> int:
        """A number that grows whenever definitions were read."""
        ...

    @property
    def settled(self) -> Sequence[str]:
        """Tables that are defined alike again, and due for a resync."""
        ...

    def refusal(self, exchange: Exchange, changes: Iterable[RowChange]) -> RunnerSkip | None:
        """Return the cause for which an exchange whose served side made these changes cannot be compared, None if it can be."""
        ...

    def applicable(self, changes: Sequence[RowChange], xid: int) -> Sequence[RowChange]:
        """Return the changes of a transaction of live that the shadow gets now."""
        ...

    async def has_changed(self, version: int) -> bool:
        """Check the definitions; return whether any has changed since this version."""
        ...

    async def run(self) -> None:
        """Watch until cancelled."""
        ...


class StrayEffects(Protocol):
    """The transactions of the shadow that no mirrored request made."""

    def take_strays(self, *, now_us: int) -> Sequence[KeyedTransaction]:
        """Remove and return them."""
        ...

    def is_unsettled(self, keys: Keys) -> bool:
        """Return whether a request on one of these keys gave no response, and may still be writing."""
        ...

    def answered(self) -> Sequence[GivenUp]:
        """Return the requests whose late response has come, and which wait for `end_answered`."""
        ...

    def end_answered(self, answered: Iterable[GivenUp]) -> None:
        """Note that everything that these requests have committed has been delivered."""
        ...

    def end_given_up(self, *, now_us: int) -> Sequence[tuple[GivenUpEnd, KeyedTransaction | None]]:
        """End waiting for the late writes of requests for which it is time; return how, with a stand-in for writes to be repaired."""
        ...

    @property
    def unsettled(self) -> int:
        """Number of requests whose late writes are waited for."""
        ...

    @property
    def untagged_sides(self) -> frozenset[Side]:
        """Sides that are configured to name their requests, and do not."""
        ...


class Checkpoints(Protocol):
    """Commits the journal, and confirms live's log, as far as nothing of them is needed again."""

    @property
    def resumed_us(self) -> int:
        """Time (Unix microseconds) of the last checkpoint of the run before; 0 for none."""
        ...

    def start(self, from_us: int) -> None:
        """Replace the checkpoint of an earlier run, which this one does not resume."""
        ...

    def checkpoint(self, known_us: int) -> None:
        """Commit, and confirm once that is stored; never waits for the disk.

        Args:
            known_us: every exchange that began before it, and did not take longer than `claim_wait_ms`, has been read.
        """
        ...


@dataclass(slots=True)
class Runner:
    """The loops of the shadow runner.

    Attributes:
        resync_at_start: compare whole tables before anything is mirrored.
        intake: reads the journal into the ledger.
        served_effects: live's transactions, by exchange.
        strays: the shadow's transactions that no mirrored request made.
        primary_keys: of the captured tables.
        tables: those of the shadow.
        schema: the tables that both databases define alike.
        verdicts: hold each result until the definitions are known to have been the same.
    """

    settings: RunnerSettings
    resync_at_start: bool
    intake: Intake
    ledger: Ledger
    mirror: ExchangeMirror
    served_effects: ServedEffects
    strays: StrayEffects
    state: ShadowState
    outcomes: Outcomes
    metrics: RunnerMetrics
    primary_keys: Mapping[str, Sequence[str]]
    tables: ShadowTables
    resynchronizer: Resynchronizer
    schema: SchemaGuard
    verdicts: VerdictQueue
    checkpoints: Checkpoints
    _shed: list[Exchange] = field(default_factory=list[Exchange])
    _untagged: frozenset[tuple[Role, Side]] = frozenset()
    _running: int = 0

    def stop(self) -> None:
        """Read no more, let running items end, then return from `run`."""
        self.state.stopping.set()
        self.state.wake.set()

    @property
    def backlog(self) -> int:
        """Number of live transactions without keys yet, and of everything that waits for the shadow."""
        return sum(feed.backlog for feed in self.state.feeds.values()) + self.ledger.waiting

    async def run(self) -> None:
        """Work until `stop`."""
        for feed in self.state.feeds.values():
            await feed.start()
        self.state.reset_interruptions()
        resumed_us = self._resumed_us()
        self.state.resumed_from_us = resumed_us
        self.state.comparable_from_us = resumed_us or now_us()
        if not resumed_us:
            self.checkpoints.start(self.state.comparable_from_us)
        if self.resync_at_start:
            self.state.request_resync(ResyncReason.START, changes_missed=not resumed_us)
        self.state.started = True
        logger.info("mirroring_started", extra={"resumed": bool(resumed_us)})
        async with asyncio.TaskGroup() as tasks:
            pumps = [
                tasks.create_task(self._survive(feed.pump, ErrorPlace.CAPTURE, resync=True), name=f"pump-{role}")
                for role, feed in self.state.feeds.items()
            ]
            upkeep = [
                tasks.create_task(self._survive(work, place), name=work.__qualname__)
                for work, place in (
                    (self._housekeep, ErrorPlace.HOUSEKEEPING),
                    (self._end_waiting, ErrorPlace.HOUSEKEEPING),
                    (self._await_late_responses, ErrorPlace.HOUSEKEEPING),
                    (self.schema.run, ErrorPlace.SCHEMA),
                    (self.verdicts.run, ErrorPlace.VERDICT),
                )
            ]
            dispatch = self._survive(lambda: self._dispatch(tasks), ErrorPlace.DISPATCH, resync=True)
            dispatching = tasks.create_task(dispatch, name="dispatch")
            await self._survive(self.intake.run, ErrorPlace.INTAKE)
            await dispatching
            await self.verdicts.drain()
            for task in (*pumps, *upkeep):
                task.cancel()

    async def _survive(self, work: Callable[[], Awaitable[None]], place: ErrorPlace, *, resync: bool = False) -> None:
        """Run a loop through errors; after one that may have lost changes, compare whole tables."""

        def on_error() -> None:
            if resync:
                self.state.request_resync(ResyncReason.ERROR, changes_missed=True)

        await surviving(work, place, self.metrics, on_error=on_error)

    def _resumed_us(self) -> int:
        """Return the Unix time from which nothing was missed, if this run resumes where the one before ended; else 0."""
        before_us = self.checkpoints.resumed_us
        # Without a resync, nothing would undo what the run before left half done.
        if not before_us or not self.state.feeds[Role.SERVED].resumed or not self.resync_at_start:
            return 0
        return before_us + self.settings.clock_skew_ms * 1_000

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self.state.wake.clear()
            while self._resync_is_due() and not self._running and not self.state.stopping.is_set():
                if self.schema.settled:
                    await self.resynchronizer.run_for_schema()
                else:
                    await self.resynchronizer.run_requested()
            if not self._resync_is_due():
                for number, item in self.ledger.start_ready(self.settings.concurrency - self._running):
                    self._running += 1
                    tasks.create_task(self._carry_out(number, item), name=f"item-{number}")
            if self.state.stopping.is_set() and not self._running:
                return
            await self.state.wake.wait()

    def _resync_is_due(self) -> bool:
        return bool(self.state.resync_reason or self.schema.settled)

    async def _carry_out(self, number: int, item: WorkItem) -> None:
        try:
            match item:
                case MirrorRun():
                    await self._mirror(item)
                case BackgroundApply():
                    await self._apply(item)
                case RowRepair():
                    await self._repair(item)
        except Exception:  # noqa: BLE001 (survived, which logs it)
            # The outermost frame of a task. The shadow may differ from live now, so whole tables are compared.
            logger.error("shadow_item_failed", extra={"item": type(item).__name__})
            survived(ErrorPlace.ITEM, self.metrics)
            self._request_resync(ResyncReason.ERROR)
            if isinstance(item, MirrorRun) and item.exchange.id in self.outcomes:
                await self.outcomes.end(self.outcomes[item.exchange.id], None, RunnerSkip.INTERNAL)
        finally:
            self._running -= 1
            self.ledger.finish(number)
            self.state.wake.set()

    async def _mirror(self, run: MirrorRun) -> None:
        entry = self.outcomes[run.exchange.id]
        cause = self._incomparable(run)
        if cause is not None:
            await self._apply_all(run)
            await self.outcomes.end(entry, None, cause)
            return
        delivered_us = self.outcomes.delivered_us(run.exchange.id)
        result = await self.mirror.run(run, self.align, delivered_us=delivered_us)
        self._repair_strays()
        route, mirrored = run.exchange.route, result.mirrored
        trace = trace_of(run.exchange)
        self.metrics.mirrored_seconds.labels(route, mirrored.side.value).observe(
            mirrored.duration_ns / 1e9,
            exemplar={"trace_id": trace.trace_id} if trace is not None and trace.sampled else None,
        )
        self.metrics.count_effects(Role.MIRRORED, mirrored.effects.outcome)
        if result.comparison is not None:
            self.verdicts.add(entry, run.claim.keys, result)
            return
        if mirrored.effects.outcome is not EffectsOutcome.LOST:
            await self.outcomes.end(entry, result, attribution_skip(mirrored.effects.outcome))
            return
        await self.outcomes.end(entry, result, RunnerSkip.CAPTURE_LOST)
        self.state.request_resync(ResyncReason.CAPTURE_LOST)

    def _incomparable(self, run: MirrorRun) -> RunnerSkip | None:
        """Return the cause for which the shadow is not in the state from which this exchange started, None if it is."""
        if self.state.needs_clone:
            return RunnerSkip.NEEDS_CLONE
        changes = [change for keyed in run.claim.transactions for change in keyed.transaction.changes]
        refusal = self.schema.refusal(run.exchange, changes)
        if refusal is not None:
            return refusal
        if self.strays.is_unsettled(run.claim.keys):
            return RunnerSkip.UNSETTLED
        return self.served_effects.refusal(run.exchange) or self.state.quarantine_of(run)

    async def _apply_all(self, run: MirrorRun) -> None:
        for keyed in run.claim.transactions:
            transaction = keyed.transaction
            await self._apply(BackgroundApply(transaction.changes, transaction.xid, transaction.end_lsn))

    async def _apply(self, item: BackgroundApply) -> None:
        changes = self.schema.applicable(self.resynchronizer.not_copied(item.xid, item.changes), item.xid)
        await self.align(alignment(changes, (), self.primary_keys))

    async def _repair(self, item: RowRepair) -> None:
        self.state.quarantine_rows(item.rows)
        try:
            written = await self.state.retry(RetriedStep.REPAIR, lambda: self.tables.repair(item.rows))
            self._report(replace(written, drifted=()), ())
            self.state.end_drift_of(item.rows.difference(written.unequal))
            await self.align(alignment((), item.changes, self.primary_keys))
        except ShadowDriftError as error:
            logger.warning("shadow_drifted", extra={"error": str(error), "rows": len(item.rows)})
            self._request_resync(ResyncReason.DRIFT)

    async def align(self, work: Alignment) -> WrittenRows:
        """Make changes on the shadow, repeated until it answers. A contradiction with live requests a resync."""
        if not work or not self.settings.align:
            return NOTHING_WRITTEN
        if work.unknown:
            logger.warning(
                "shadow_rows_unknown", extra={"tables": sorted(work.unknown), "do": "none: they are resynced"}
            )
            self._request_resync(ResyncReason.DRIFT, work.unknown)
        version = self.schema.version
        try:
            written = await self._write(work, version)
        except ShadowDriftError as error:
            logger.warning("shadow_drifted", extra={"error": str(error), "rows": len(work.rows)})
            self.metrics.drifted_rows.inc()
            self._request_resync(ResyncReason.DRIFT)
            return CONTRADICTED
        self.metrics.aligned_rows.inc(written.rows)
        self._report(written, work.rows)
        return written

    async def _write(self, work: Alignment, version: int) -> WrittenRows:
        """Write, once more without the tables that turn out to have been redefined meanwhile.

        Raises:
            ShadowDriftError: the shadow contradicts live in tables that both define alike.
        """
        try:
            return await self.state.retry(RetriedStep.ALIGN, lambda: self.tables.write(work))
        except ShadowDriftError:
            if not await self.schema.has_changed(version):
                raise
        rest = replace(
            work,
            rows=[row for row in work.rows if row.table in self.primary_keys],
            truncated=tuple(table for table in work.truncated if table in self.primary_keys),
        )
        return await self.state.retry(RetriedStep.ALIGN, lambda: self.tables.write(rest))

    def _report(self, written: WrittenRows, rows: Sequence[RowTarget]) -> None:
        """Count and name the rows of an alignment that were not, or are not, what they should be; have the latter resynced."""
        drifted = (*written.drifted, *written.unequal)
        if not drifted:
            return
        self.metrics.drifted_rows.inc(len(drifted))
        logger.warning("shadow_drifted", extra={"rows": len(drifted), **named_rows(written)})
        if written.unequal:
            keys = self.ledger.keys_of_images(
                (row.table, image) for row in rows for image in (row.current, row.target) if image
            )
            if self.state.add_drifted(written.unequal, keys):
                self._request_resync(ResyncReason.DRIFT, {table for table, _ in written.unequal})

    def _request_resync(self, reason: ResyncReason, tables: Collection[str] | None = None) -> None:
        self.state.request_resync(reason, changes_missed=self.resynchronizer.fails_repeatedly, tables=tables)

    async def _housekeep(self) -> None:
        """Release, shed, repair and commit at intervals, without waiting for anything that may not answer."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self._shed_load()
            released = self.ledger.release_unclaimed(before_us=self._claimed_us())
            self.metrics.background.inc(released)
            self._repair_strays()
            self._end_given_up()
            self._report_untagged()
            self.state.end_quarantine(rows_before_us=now_us() - 4 * self.settings.claim_wait_ms * 1_000)
            if not self.backlog:
                self.resynchronizer.forget_copied()
            self.state.check_interruptions()
            self._checkpoint()
            self.state.wake.set()

    def _claimed_us(self) -> int:
        """Return the Unix time before which every exchange that may claim a transaction has been read.

        While too much is unclaimed to be held, the clock decides instead of what was read.
        """
        known_us = now_us()
        if self.ledger.unattributed <= self.settings.rows_max:
            known_us = min(known_us, self.intake.known_us)
        return known_us - self.settings.claim_wait_ms * 1_000

    def _checkpoint(self) -> None:
        """Commit what is not needed again; not while the shadow may differ from live."""
        if not self.state.resync_pending:
            self.checkpoints.checkpoint(self._claimed_us())

    async def _end_waiting(self) -> None:
        """Decide on deferred exchanges, and end those that were shed, at intervals."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await self.intake.decide_deferred()
            shed, self._shed = self._shed, []
            for exchange in shed:
                await self.outcomes.end(self.outcomes[exchange.id], None, RunnerSkip.OVERLOAD)

    async def _await_late_responses(self) -> None:
        """Take a request that was given up for ended once its response has come, and all that it has committed before is delivered."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            if answered := self.strays.answered():
                await self.state.retry(RetriedStep.MIRRORED_FENCE, self.state.feeds[Role.MIRRORED].fence)
                self.strays.end_answered(answered)

    def _shed_load(self) -> None:
        """Drop what waits while the shadow is unavailable or too slow: memory is bounded, and live never waits."""
        if self.ledger.is_overfull(self.settings.rows_max):
            logger.warning("shadow_load_shed", extra={"rows": self.ledger.rows})
            self.state.request_resync(ResyncReason.OVERFLOW, changes_missed=True)
            self._shed += self.ledger.shed()

    def _end_given_up(self) -> None:
        for end, stand_in in self.strays.end_given_up(now_us=now_us()):
            self.metrics.given_up.labels(end).inc()
            if stand_in is not None:
                logger.warning("late_writes_lost", extra={"rows": len(stand_in.rows), "do": "none: they are repaired"})
                self.ledger.repair(stand_in)
        self.metrics.unsettled.set(self.strays.unsettled)

    def _report_untagged(self) -> None:
        """Report each side that does not name its requests although it is configured to, once, and its return."""
        by_role = {Role.SERVED: self.ledger.untagged_sides, Role.MIRRORED: self.strays.untagged_sides}
        untagged = frozenset((role, side) for role, sides in by_role.items() for side in sides)
        for role, side in sorted(untagged ^ self._untagged):
            self.metrics.untagged.labels(role, side).set((role, side) in untagged)
            if (role, side) in untagged:
                logger.warning("side_untagged", extra={"side": side, "role": role, "do": NAME_REQUESTS})
            else:
                logger.info("side_tagged", extra={"side": side, "role": role})
        self._untagged = untagged

    @property
    def untagged(self) -> list[str]:
        """The sides that do not name their requests although they are configured to, with their roles."""
        return sorted(f"{side} ({role})" for role, side in self._untagged)

    def _repair_strays(self) -> None:
        for keyed in self.strays.take_strays(now_us=now_us()):
            self.metrics.strays.inc()
            self.ledger.repair(keyed)
