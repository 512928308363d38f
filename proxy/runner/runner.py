"""Carries out what the ledger orders: mirrored runs, and live's changes on the shadow.

`intake` reads the journal into the ledger. Every exchange that is read ends in exactly one of compared, skipped, failed or dropped
(`outcomes`); only then may its journal position be committed. Live is never waited for and never asked to wait: all queueing is here.
When a database, the other side or the store does not answer, work is repeated or skipped and counted; nothing is lost silently.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from comparator.capture.attribution_keys import Key, RowId
from comparator.exchanges.model import Exchange, Failed, FailureCause, Role
from comparator.exchanges.row_changes import RowChange
from proxy.config.runner import RunnerSettings
from proxy.errors import ShadowDriftError
from proxy.runner.checkpoint import CheckpointCommitter
from proxy.runner.intake import Intake
from proxy.runner.ledger import BackgroundApply, Item, Ledger, MirrorRun, RowRepair
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import Mirror, MirrorResult
from proxy.runner.outcomes import Outcomes
from proxy.runner.resync import NOTHING_SEEN, ResyncResult, TransactionSnapshot, Waiting
from proxy.runner.row_targets import RowTarget, targets
from proxy.runner.row_writer import WrittenRows
from proxy.runner.shadow_attribution import ShadowAttribution, now_us
from proxy.runner.shadow_state import ShadowState

logger = logging.getLogger(__name__)

HOUSEKEEPING_S = 0.25
SNAPSHOT_KEPT_S = 60
RESYNC_CALM_S = 60
RESYNC_PAUSE_FIRST_S = 0.25
RESYNC_PAUSE_MAX_S = 30.0
REWIND_PAUSE_MAX_S = 2.0
NOTHING_RESYNCED = ResyncResult({}, NOTHING_SEEN, NOTHING_SEEN)


@dataclass(slots=True)
class Runner:
    """The loops of the shadow runner.

    Attributes:
        intake: reads the journal into the ledger.
        primary_keys: of the captured tables.
        write: writes row targets to the shadow, once; raises ShadowDriftError or ShadowUnreachableError.
        truncate: empties tables of the shadow.
        resync: compares whole tables and mends the shadow.
        repair: copies single rows from live to the shadow.
        resuming: lets go of journal and log together, so that a restart goes on where this run ended; None where nothing keeps
            live's changes over a restart.
    """

    settings: RunnerSettings
    intake: Intake
    ledger: Ledger
    mirror: Mirror
    shadow: ShadowAttribution
    standing: ShadowState
    outcomes: Outcomes
    metrics: RunnerMetrics
    primary_keys: Mapping[str, Sequence[str]]
    write: Callable[[Sequence[RowTarget]], Awaitable[WrittenRows]]
    truncate: Callable[[Sequence[str]], Awaitable[None]]
    resync: Callable[[Waiting | None], Awaitable[ResyncResult]]
    repair: Callable[[Iterable[RowId]], Awaitable[int]]
    resuming: CheckpointCommitter | None = None
    _repaired: dict[RowId, int] = field(default_factory=dict[RowId, int])
    _unsettled: dict[Key, int] = field(default_factory=dict[Key, int])
    _shed: list[Exchange] = field(default_factory=list[Exchange])
    _running: int = 0
    _resync_pause_s: float = 0.0
    _resynced_us: int = 0
    _seen: TransactionSnapshot = NOTHING_SEEN

    def stop(self) -> None:
        """Read no more, let what runs end, then return from `run`."""
        self.standing.stopping.set()
        self.standing.wake.set()

    @property
    def backlog(self) -> int:
        """Live transactions without keys yet, and everything that waits for the shadow."""
        return sum(feed.backlog for feed in self.standing.feeds.values()) + self.ledger.waiting

    async def run(self) -> None:
        """Work until `stop`."""
        for feed in self.standing.feeds.values():
            await feed.start()
        self.standing.forget_interruptions()
        resumed = self._resumed()
        self.standing.resumed_from_us = resumed
        self.standing.comparable_from_us = resumed or now_us()
        if self.resuming is not None and not resumed:
            # From now on the slot keeps all; where an earlier one had begun says nothing any more.
            self.resuming.commit(None, self.standing.comparable_from_us)
        if self.settings.resync == "auto" and self.standing.feeds:
            self.standing.ask_resync("start", missed=not resumed)
        self.standing.started = True
        logger.info("runner_began", extra={"resumed": bool(resumed)})
        async with asyncio.TaskGroup() as tasks:
            pumps = [tasks.create_task(feed.pump(), name=f"pump-{role}") for role, feed in self.standing.feeds.items()]
            upkeep = [tasks.create_task(work(), name=work.__name__) for work in (self._housekeep, self._tend)]
            dispatching = tasks.create_task(self._dispatch(tasks), name="dispatch")
            await self.intake.run()
            await dispatching
            for task in (*pumps, *upkeep):
                task.cancel()

    def _resumed(self) -> int:
        """The Unix time from which nothing was missed when this run goes on where the one before ended; 0 when it does not."""
        resuming = self.resuming
        if resuming is None or not resuming.begun_at or not self.standing.feeds[Role.SERVED].resumed:
            return 0
        # Without a resync nobody would take back what the run before left half done.
        return resuming.begun_at + self.settings.clock_skew_ms * 1_000 if self.settings.resync == "auto" else 0

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self.standing.wake.clear()
            while self.standing.resync_reason and not self._running and not self.standing.stopping.is_set():
                await self._space_resyncs()
                await self._resync()
            if not self.standing.resync_reason:
                for number, item in self.ledger.take(self.settings.concurrency - self._running):
                    self._running += 1
                    tasks.create_task(self._carry_out(number, item), name=f"item-{number}")
            if self.standing.stopping.is_set() and not self._running:
                return
            await self.standing.wake.wait()

    async def _carry_out(self, number: int, item: Item) -> None:
        try:
            match item:
                case MirrorRun():
                    await self._run(item)
                case BackgroundApply():
                    await self._apply(item)
                case RowRepair():
                    await self._repair(item)
        except Exception:
            # The outermost frame of a task: the shadow may now differ from live, which a resync mends.
            logger.exception("shadow_item_failed", extra={"item": type(item).__name__})
            self.metrics.errors.labels("item").inc()
            self.standing.ask_resync("error", missed=self._contradicts_often())
            if isinstance(item, MirrorRun) and item.exchange.id in self.outcomes:
                await self.outcomes.end(self.outcomes[item.exchange.id], None, "internal")
        finally:
            self._running -= 1
            self.ledger.done(number)
            self.standing.wake.set()

    async def _run(self, run: MirrorRun) -> None:
        entry = self.outcomes[run.exchange.id]
        cause = self._not_comparable(run)
        if cause:
            await self._apply_all(run)
            await self.outcomes.end(entry, None, cause)
            return
        mirrored = await self.mirror.carry_out(run, self.align)
        self._note_unsettled(run, mirrored)
        self._notice_strays()
        route, side = run.exchange.route, mirrored.mirrored.side
        self.metrics.mirrored_seconds.labels(route, side.value).observe(mirrored.mirrored.duration_ns / 1e9)
        if self.standing.feeds:
            self.metrics.effects.labels(Role.MIRRORED.value, mirrored.mirrored.effects.outcome.value).inc()
        await self.outcomes.end(entry, mirrored, "" if mirrored.comparison is not None else "capture_lost")
        if mirrored.comparison is None:
            self.standing.ask_resync("capture_lost")

    def _not_comparable(self, run: MirrorRun) -> str:
        """Why the shadow is not in the state from which this exchange started, "" if it is."""
        if self.standing.contradicts_live:
            return "needs_clone"
        started_us = run.exchange.started_ns // 1_000
        if self.standing.feeds and started_us < self.standing.comparable_from_us:
            return "not_captured"
        if any(self._unsettled.get(key, 0) > now_us() for key in run.claim.keys):
            return "unsettled"
        rows = (row for keyed in run.claim.transactions for row in keyed.rows)
        return "repaired" if any(self._repaired.get(row, 0) > started_us for row in rows) else ""

    def _note_unsettled(self, run: MirrorRun, mirrored: MirrorResult) -> None:
        """A side that gave no response may still be at it: for as long again, nothing is compared on its keys.

        What it commits late is nobody's, and taken back; in between another's effects and its own could not be told apart.
        """
        outcome = mirrored.mirrored.outcome
        if isinstance(outcome, Failed) and outcome.cause is not FailureCause.REFUSED:
            until_us = now_us() + int(self.settings.timeout_s * 1_000_000)
            self._unsettled.update(dict.fromkeys(run.claim.keys, until_us))

    async def _apply_all(self, run: MirrorRun) -> None:
        for keyed in run.claim.transactions:
            transaction = keyed.transaction
            await self._apply(BackgroundApply(transaction.changes, transaction.xid, transaction.end_lsn))

    async def _apply(self, item: BackgroundApply) -> None:
        if self._seen.covers(item.xid):
            return
        truncated = [change.table for change in item.changes if change.op.value == "truncate"]
        if truncated and self.settings.align:
            await self.standing.retry("truncate", lambda: self.truncate(truncated))
        await self.align(targets(item.changes, (), self.primary_keys))

    async def _repair(self, item: RowRepair) -> None:
        """Copy rows from live, which may be ahead: exchanges that began before are not compared on their keys."""
        for row in item.rows:
            self._repaired[row] = now_us()
        try:
            await self.standing.retry("repair", lambda: self.repair(item.rows))
        except ShadowDriftError as error:
            logger.warning("shadow_drift", extra={"error": str(error), "rows": len(item.rows)})
            self.standing.ask_resync("drift", missed=self._contradicts_often())

    async def align(self, wanted: Sequence[RowTarget]) -> WrittenRows:
        """Write row targets; repeated until the shadow answers. A contradiction asks for a resync."""
        if not wanted or not self.settings.align:
            return WrittenRows(0, 0)
        try:
            aligned = await self.standing.retry("align", lambda: self.write(wanted))
        except ShadowDriftError as error:
            logger.warning("shadow_drift", extra={"error": str(error), "rows": len(wanted)})
            self.metrics.drifted_rows.inc()
            self.standing.ask_resync("drift", missed=self._contradicts_often())
            return WrittenRows(0, 1)
        self.metrics.aligned_rows.inc(aligned.rows)
        if aligned.drifted:
            logger.warning("shadow_drift", extra={"rows": aligned.drifted})
            self.metrics.drifted_rows.inc(aligned.drifted)
        return aligned

    def _mended_lately(self) -> bool:
        """Whether the last resync is recent."""
        return now_us() - self._resynced_us < RESYNC_CALM_S * 1_000_000

    def _contradicts_often(self) -> bool:
        """Whether what waits leads from one contradiction into the next: then it is given up, as a whole."""
        return self._mended_lately() and self._resync_pause_s > REWIND_PAUSE_MAX_S

    async def _space_resyncs(self) -> None:
        """Each reads all of live's tables: one that follows another closely waits, longer each time."""
        self._resync_pause_s = self._resync_pause_s if self._mended_lately() else 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._resync_pause_s):
                await self.standing.stopping.wait()
        self._resync_pause_s = min(RESYNC_PAUSE_MAX_S, max(RESYNC_PAUSE_FIRST_S, 2 * self._resync_pause_s))

    async def _resync(self) -> None:
        reason, missed = self.standing.resync_reason, self.standing.missed
        self.standing.resync_reason, self.standing.missed, self.standing.resyncing = "", False, True
        # What is committed after a fence is captured; so what the tables are compared by misses nothing from then on.
        for role, feed in self.standing.feeds.items():
            await self.standing.retry(f"{role}_fence", feed.fence)
        try:
            waiting = None if missed else self._waiting_for_shadow
            resynced = await self.standing.retry("resync", lambda: self.resync(waiting))
        except ShadowDriftError as error:
            logger.error("shadow_needs_clone", extra={"error": str(error), "do": "shadow align clone"})
            resynced = NOTHING_RESYNCED
            self.standing.contradicts_live = True
        else:
            self.standing.contradicts_live = False
        # What the resync saw is on the shadow; to apply it again would bring back what was overwritten in a gap.
        self._seen = NOTHING_SEEN if resynced.rewound else resynced.live
        self.shadow.forget(resynced.shadow)
        self.metrics.resynced_rows.inc(resynced.total)
        self.standing.resyncing = False
        self.standing.notice_interruptions()
        self._resynced_us = now_us()
        if not resynced.rewound:
            self.standing.comparable_from_us = self._resynced_us
        self.metrics.resyncs.labels(reason).inc()
        logger.info("shadow_resynced", extra={"reason": reason, "rows": resynced.total, "comparable": resynced.rewound})

    async def _waiting_for_shadow(self, seen: TransactionSnapshot) -> Sequence[RowChange]:
        """The changes that a reading of live saw, and that are still to be done on the shadow. Call only while nothing runs."""
        await self.standing.feeds[Role.SERVED].fence()
        return self.ledger.waiting_changes(seen.covers)

    async def _housekeep(self) -> None:
        """What must go on whatever does not answer: nothing here waits."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self._shed_load()
            released = self.ledger.release(before_us=self._known_us() - self.settings.claim_wait_ms * 1_000)
            self.metrics.background.inc(released)
            self._notice_strays()
            self._forget_repairs()
            self._forget_snapshot()
            self.standing.notice_interruptions()
            self._let_go()
            self.standing.wake.set()

    def _known_us(self) -> int:
        """Exchanges that ended before this time are known. A runner that reads too late to hold all changes goes by the clock."""
        if self.ledger.unattributed > self.settings.rows_max:
            return now_us()
        return min(now_us(), self.intake.known_us)

    def _let_go(self) -> None:
        """Say how far nothing is needed again; not while the shadow may differ from live."""
        if not self.standing.feeds or self.standing.resync_pending:
            return
        if self.resuming is None:
            self.standing.feeds[Role.SERVED].confirm(self.ledger.dealt_with())
            return
        try:
            self.resuming.checkpoint(self._known_us() - self.settings.claim_wait_ms * 1_000)
        except OSError as error:
            logger.warning("journal_position_not_committed", extra={"error": str(error)})
            self.metrics.errors.labels("commit").inc()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await self.intake.settle_unsure()
            shed, self._shed = self._shed, []
            for exchange in shed:
                await self.outcomes.end(self.outcomes[exchange.id], None, "overload")

    def _shed_load(self) -> None:
        """Bound what waits while the shadow is away or too slow; live never waits."""
        if self.ledger.rows > self.settings.rows_max:
            logger.warning("shadow_load_shed", extra={"rows": self.ledger.rows})
            self.standing.ask_resync("overflow", missed=True)
            self._shed += self.ledger.shed()

    def _notice_strays(self) -> None:
        for keyed in self.shadow.strays():
            self.metrics.strays.inc()
            self.ledger.repair(keyed)

    def _forget_repairs(self) -> None:
        horizon = now_us() - 4 * self.settings.claim_wait_ms * 1_000
        if self._repaired and min(self._repaired.values()) < horizon:
            self._repaired = {row: at for row, at in self._repaired.items() if at >= horizon}
        if self._unsettled and min(self._unsettled.values()) < now_us():
            self._unsettled = {key: until for key, until in self._unsettled.items() if until >= now_us()}

    def _forget_snapshot(self) -> None:
        """Transaction ids come round again: the last resync's are compared only while one of its time may come."""
        if not self.backlog and now_us() - self._resynced_us > SNAPSHOT_KEPT_S * 1_000_000:
            self._seen = NOTHING_SEEN
