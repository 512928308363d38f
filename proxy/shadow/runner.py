"""Tails the journal and carries out what the ledger orders: mirrored runs, and live's changes on the shadow.

Every exchange that is read ends in exactly one of compared, skipped, failed or dropped; only then may its journal position be
committed. Live is never waited for and never asked to wait: all queueing is here. When a database, the other side or the store
does not answer, work is repeated or skipped and counted; nothing is lost silently.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from comparator.capture.attribute import Claim, Window
from comparator.capture.errors import CaptureError
from comparator.capture.keys import RowId
from comparator.exchange import EffectsOutcome, Exchange, Failed, Role, Side
from comparator.verdict import Verdict
from proxy.errors import ShadowDriftError, ShadowUnreachableError
from proxy.journal.reading import Entry
from proxy.shadow.align import Aligned
from proxy.shadow.feed import Feed
from proxy.shadow.ledger import Apply, Item, Ledger, Repair, Run
from proxy.shadow.metrics import RunnerMetrics
from proxy.shadow.mirror import Mirror, Mirrored
from proxy.shadow.resync import NOTHING_SEEN, Resynced, Snapshot
from proxy.shadow.settings import RunnerSettings
from proxy.shadow.shadow_side import ShadowSide, now_us
from proxy.shadow.targets import RowTarget, targets

logger = logging.getLogger(__name__)

READ_WAIT_S = 0.25
HOUSEKEEPING_S = 0.25
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
SNAPSHOT_KEPT_S = 60
RESYNC_CALM_S = 60
RESYNC_PAUSE_FIRST_S = 0.25
RESYNC_PAUSE_MAX_S = 30.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
NOTHING_RESYNCED = Resynced({}, NOTHING_SEEN, NOTHING_SEEN)

T = TypeVar("T")


class Journal(Protocol):
    """What the runner needs of a journal reader."""

    async def read(self, max_items: int, wait_s: float) -> list[Entry]:
        """The next entries."""
        ...

    def tail_sequence(self) -> int:
        """How many exchanges were ever appended."""
        ...

    @property
    def lost(self) -> int:
        """Exchanges gone before they could be read."""
        ...


class Results(Protocol):
    """Takes the outcome of each exchange, once, after it was announced."""

    def begin(self, entry: Entry) -> None:
        """An exchange was read."""
        ...

    async def keep(self, entry: Entry, mirrored: Mirrored | None, cause: str) -> None:
        """Keep a comparison (`mirrored`), or the reason why there is none (`cause`). Waits while the buffer is full."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """An exchange that was read, when it can have written, and why it is not mirrored ("" when it is)."""

    entry: Entry
    window: Window
    cause: str


def trace_id_of(exchange: Exchange) -> str:
    """The trace id of the traceparent that was sent to the served side, "" for none."""
    sent = next((value for name, value in exchange.request.headers if name.lower() == "traceparent"), "")
    return sent.split("-")[1] if sent.count("-") == 3 else ""


@dataclass(slots=True)
class Runner:
    """The loops of the shadow runner.

    Attributes:
        feeds: the captures of both databases by role; empty when the capture is off.
        primary_keys: of the captured tables.
        write: writes row targets to the shadow, once; raises ShadowDriftError or ShadowUnreachableError.
        truncate: empties tables of the shadow.
        resync: compares whole tables and mends the shadow.
        repair: copies single rows from live to the shadow.
        reaches: whether a side has a shadow instance.
    """

    settings: RunnerSettings
    journal: Journal
    ledger: Ledger
    mirror: Mirror
    feeds: Mapping[Role, Feed]
    shadow: ShadowSide
    results: Results
    metrics: RunnerMetrics
    primary_keys: Mapping[str, Sequence[str]]
    write: Callable[[Sequence[RowTarget]], Awaitable[Aligned]]
    truncate: Callable[[Sequence[str]], Awaitable[None]]
    resync: Callable[[], Awaitable[Resynced]]
    repair: Callable[[Iterable[RowId]], Awaitable[int]]
    reaches: Callable[[Side], bool]
    comparable_from_us: int = 0
    _entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    _repaired: dict[RowId, int] = field(default_factory=dict[RowId, int])
    _unsure: list[tuple[int, Taken]] = field(default_factory=list[tuple[int, Taken]])
    _shed: list[Exchange] = field(default_factory=list[Exchange])
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _running: int = 0
    _resync_reason: str = ""
    _resyncing: bool = False
    _contradicts_live: bool = False
    _resync_pause_s: float = 0.0
    _seen: Snapshot = NOTHING_SEEN
    _interruptions: int = 0
    _lost_seen: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _started: bool = False

    @property
    def ready(self) -> bool:
        """Whether an exchange that begins now will be compared: both captures run, and no resync is due."""
        return self._started and not self._resync_reason and not self._contradicts_live

    def stop(self) -> None:
        """Read no more, let what runs end, then return from `run`."""
        self._stopping.set()
        self._wake.set()

    @property
    def backlog(self) -> int:
        """Live transactions without keys yet, and everything that waits for the shadow."""
        return sum(feed.backlog for feed in self.feeds.values()) + self.ledger.waiting

    @property
    def resync_pending(self) -> bool:
        """Whether the shadow is known to differ, or may."""
        return self._resyncing or bool(self._resync_reason)

    def ask_resync(self, reason: str) -> None:
        """Compare whole tables as soon as nothing runs; exchanges begun before its end are not compared."""
        self._resync_reason = self._resync_reason or reason
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`."""
        for feed in self.feeds.values():
            await feed.start()
        self._interruptions = self._interruption_count()
        self.comparable_from_us = now_us()
        if self.settings.resync == "auto" and self.feeds:
            self._resync_reason = "start"
        self._started = True
        async with asyncio.TaskGroup() as tasks:
            pumps = [tasks.create_task(feed.pump(), name=f"pump-{role}") for role, feed in self.feeds.items()]
            upkeep = [tasks.create_task(work(), name=work.__name__) for work in (self._housekeep, self._tend)]
            dispatching = tasks.create_task(self._dispatch(tasks), name="dispatch")
            await self._ingest()
            await dispatching
            for task in (*pumps, *upkeep):
                task.cancel()

    # --- reading ---------------------------------------------------------------------------------------------------------

    async def _ingest(self) -> None:
        while not self._stopping.is_set():
            entries = await self.journal.read(self.settings.batch_max, READ_WAIT_S)
            self._count_lost()
            if not entries:
                continue
            self.metrics.read.inc(len(entries))
            if self.feeds:
                await self._settle_delay(entries)
                await self.patiently("served_fence", self.feeds[Role.SERVED].fence)
                self._notice_interruptions()
            await self._take_in(entries)
            self._wake.set()

    async def _settle_delay(self, entries: Sequence[Entry]) -> None:
        """Let a service that writes after its reply finish, before the fence says that all is in."""
        if self.settings.settle_ms:
            newest_s = max(entry.exchange.ended_ns for entry in entries) / 1e9 + self.settings.settle_ms / 1e3
            await asyncio.sleep(max(0.0, newest_s - time.time()))

    async def _take_in(self, entries: Sequence[Entry]) -> None:
        # All windows of a batch are opened before any is settled, so that overlaps are seen.
        for taken in [self._open(entry) for entry in entries]:
            await self._settle(taken)

    def _open(self, entry: Entry) -> Taken:
        """Make an exchange known, with everything that can be said against mirroring it."""
        exchange = entry.exchange
        again = exchange.id in self._entries or self.ledger.knows(exchange.id)
        # The id is the caller's to choose: a second exchange of that id gets a window of its own, and is not mirrored.
        window = self._window(exchange, f"{exchange.id} {entry.sequence}" if again else exchange.id)
        cause = self._refusal(exchange) or ("duplicate_id" if again else "")
        if self.feeds and not cause and self.ledger.gave_up(window):
            cause = "late"
        self.results.begin(entry)
        if not again:
            self._entries[exchange.id] = entry
        if self.feeds:
            self.ledger.open(exchange, window)
        return Taken(entry, window, cause)

    async def _settle(self, taken: Taken, *, sure: bool = False) -> None:
        entry, window, cause = taken.entry, taken.window, taken.cause
        exchange = entry.exchange
        if not cause and self.ledger.waiting > self.settings.queue_max:
            cause = "overload"
        if not self.feeds:
            await self._take_in_without_effects(entry, window, cause)
            return
        if not exchange.key and not cause:
            # Nothing ties rows to it on a side that does not name the request: its reply alone is compared.
            self.ledger.settle(exchange, window, admit=False)
            await self._take_in_without_effects(entry, window, cause)
            return
        claim = self.ledger.settle(exchange, window, admit=not cause, sure=sure)
        if claim is None:
            self._unsure.append((exchange.ended_ns // 1_000 + self.settings.hold_ms * 1_000, taken))
            return
        self.metrics.effects.labels(Role.SERVED.value, claim.outcome.value).inc()
        if not cause and claim.outcome is not EffectsOutcome.ATTRIBUTED:
            cause = claim.outcome.value
        if cause:
            await self._end(entry, None, cause)

    async def _take_in_without_effects(self, entry: Entry, window: Window, cause: str) -> None:
        if cause:
            await self._end(entry, None, cause)
        else:
            claim = Claim(EffectsOutcome.OFF, (), frozenset(window.keys))
            self.ledger.add_unattributed_run(entry.exchange, claim)

    def _window(self, exchange: Exchange, name: str) -> Window:
        skew_us = self.settings.skew_ms * 1_000
        return Window(
            id=name,
            keys={("address", exchange.key.lower())} if exchange.key else set(),
            opened_us=exchange.started_ns // 1_000 - skew_us,
            closed_us=exchange.ended_ns // 1_000 + skew_us + self.settings.settle_ms * 1_000,
            tagged=exchange.served_by in self.settings.tagged_sides,
            trace_id=trace_id_of(exchange),
        )

    def _refusal(self, exchange: Exchange) -> str:
        """Why this exchange is not mirrored whatever else runs, "" when it is."""
        if exchange.skip:
            return exchange.skip
        if isinstance(exchange.outcome, Failed):
            return "served_failed"
        if exchange.request.body_truncated:
            return "truncated_request"
        if not self.reaches(exchange.served_by.other):
            return "no_shadow_instance"
        if self._contradicts_live:
            return "needs_clone"
        if self.feeds and exchange.started_ns // 1_000 < self.comparable_from_us:
            return "not_captured"
        if self.feeds and not exchange.key and exchange.request.method not in SAFE_METHODS:
            return "no_key"
        if exchange.ended_ns - exchange.started_ns > self.settings.hold_ms * 1_000_000:
            return "slow"
        return ""

    # --- carrying out ----------------------------------------------------------------------------------------------------

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            while self._resync_reason and not self._running and not self._stopping.is_set():
                await self._space_resyncs()
                await self._resync()
            if not self._resync_reason:
                for number, item in self.ledger.take(self.settings.concurrency - self._running):
                    self._running += 1
                    tasks.create_task(self._carry_out(number, item), name=f"item-{number}")
            if self._stopping.is_set() and not self._running:
                return
            await self._wake.wait()

    async def _carry_out(self, number: int, item: Item) -> None:
        try:
            match item:
                case Run():
                    await self._run(item)
                case Apply():
                    await self._apply(item)
                case Repair():
                    await self._repair(item)
        except Exception:
            # The outermost frame of a task: the shadow may now differ from live, which a resync mends.
            logger.exception("shadow_item_failed", extra={"item": type(item).__name__})
            self.metrics.errors.labels("item").inc()
            self.ask_resync("error")
            if isinstance(item, Run) and item.exchange.id in self._entries:
                await self._end(self._entries[item.exchange.id], None, "internal")
        finally:
            self._running -= 1
            self.ledger.done(number)
            self._wake.set()

    async def _run(self, run: Run) -> None:
        entry = self._entries[run.exchange.id]
        cause = self._not_comparable(run)
        if cause:
            await self._apply_all(run)
            await self._end(entry, None, cause)
            return
        mirrored = await self.mirror.carry_out(run, self.align)
        self._notice_strays()
        route, side = run.exchange.route, mirrored.mirrored.side
        self.metrics.mirrored_seconds.labels(route, side.value).observe(mirrored.mirrored.duration_ns / 1e9)
        if self.feeds:
            self.metrics.effects.labels(Role.MIRRORED.value, mirrored.mirrored.effects.outcome.value).inc()
        await self._end(entry, mirrored, "" if mirrored.comparison is not None else "capture_lost")
        if mirrored.comparison is None:
            self.ask_resync("capture_lost")

    def _not_comparable(self, run: Run) -> str:
        """Why the shadow is not in the state from which this exchange started, "" if it is."""
        if self._contradicts_live:
            return "needs_clone"
        started_us = run.exchange.started_ns // 1_000
        if self.feeds and started_us < self.comparable_from_us:
            return "not_captured"
        rows = (row for keyed in run.claim.transactions for row in keyed.rows)
        return "repaired" if any(self._repaired.get(row, 0) > started_us for row in rows) else ""

    async def _apply_all(self, run: Run) -> None:
        for keyed in run.claim.transactions:
            transaction = keyed.transaction
            await self._apply(Apply(transaction.changes, transaction.xid, transaction.end_lsn))

    async def _apply(self, item: Apply) -> None:
        if self._seen.covers(item.xid):
            return
        truncated = [change.table for change in item.changes if change.op.value == "truncate"]
        if truncated and self.settings.align:
            await self.patiently("truncate", lambda: self.truncate(truncated))
        await self.align(targets(item.changes, (), self.primary_keys))

    async def _repair(self, item: Repair) -> None:
        """Copy rows from live, which may be ahead: exchanges that began before are not compared on their keys."""
        for row in item.rows:
            self._repaired[row] = now_us()
        try:
            await self.patiently("repair", lambda: self.repair(item.rows))
        except ShadowDriftError as error:
            logger.warning("shadow_drift", extra={"error": str(error), "rows": len(item.rows)})
            self.ask_resync("drift")

    async def align(self, wanted: Sequence[RowTarget]) -> Aligned:
        """Write row targets; repeated until the shadow answers. A contradiction asks for a resync."""
        if not wanted or not self.settings.align:
            return Aligned(0, 0)
        try:
            aligned = await self.patiently("align", lambda: self.write(wanted))
        except ShadowDriftError as error:
            logger.warning("shadow_drift", extra={"error": str(error), "rows": len(wanted)})
            self.metrics.drifted_rows.inc()
            self.ask_resync("drift")
            return Aligned(0, 1)
        self.metrics.aligned_rows.inc(aligned.rows)
        if aligned.drifted:
            logger.warning("shadow_drift", extra={"rows": aligned.drifted})
            self.metrics.drifted_rows.inc(aligned.drifted)
        return aligned

    async def _space_resyncs(self) -> None:
        """Each reads all of live's tables: one that follows another closely waits, longer each time."""
        calm = now_us() - self.comparable_from_us > RESYNC_CALM_S * 1_000_000
        self._resync_pause_s = 0.0 if calm else self._resync_pause_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._resync_pause_s):
                await self._stopping.wait()
        self._resync_pause_s = min(RESYNC_PAUSE_MAX_S, max(RESYNC_PAUSE_FIRST_S, 2 * self._resync_pause_s))

    async def _resync(self) -> None:
        reason, self._resync_reason, self._resyncing = self._resync_reason, "", True
        # What is committed after a fence is captured; so what the tables are compared by misses nothing from then on.
        for role, feed in self.feeds.items():
            await self.patiently(f"{role}_fence", feed.fence)
        try:
            resynced = await self.patiently("resync", self.resync)
        except ShadowDriftError as error:
            logger.error("shadow_needs_clone", extra={"error": str(error), "do": "shadow align clone"})
            resynced = NOTHING_RESYNCED
            self._contradicts_live = True
        else:
            self._contradicts_live = False
        # What the resync saw is on the shadow; to apply it again would bring back what was overwritten in a gap.
        self._seen = resynced.live
        self.shadow.forget(resynced.shadow)
        self.metrics.resynced_rows.inc(resynced.total)
        self._resyncing = False
        self._notice_interruptions()
        self.comparable_from_us = now_us()
        self.metrics.resyncs.labels(reason).inc()
        logger.info("shadow_resynced", extra={"reason": reason, "rows": resynced.total})

    # --- ends and upkeep -------------------------------------------------------------------------------------------------

    async def _end(self, entry: Entry, mirrored: Mirrored | None, cause: str) -> None:
        exchange = entry.exchange
        comparison = mirrored.comparison if mirrored is not None else None
        if comparison is None:
            self.metrics.skipped.labels(exchange.route, cause).inc()
        elif comparison.verdict is Verdict.FAILED:
            self.metrics.failed.labels(exchange.route, comparison.cause.value).inc()
        else:
            self.metrics.compared.labels(exchange.route, comparison.verdict.value).inc()
        if self._entries.get(exchange.id) is entry:
            del self._entries[exchange.id]
        await self.results.keep(entry, mirrored, cause)

    async def _housekeep(self) -> None:
        """What must go on whatever does not answer: nothing here waits."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self._shed_load()
            released = self.ledger.release(before_us=now_us() - self.settings.hold_ms * 1_000)
            self.metrics.background.inc(released)
            self._notice_strays()
            self._forget_repairs()
            self._forget_snapshot()
            self._notice_interruptions()
            if self.feeds:
                self.feeds[Role.SERVED].confirm(self.ledger.dealt_with())
            self._wake.set()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await self._settle_unsure()
            shed, self._shed = self._shed, []
            for exchange in shed:
                await self._end(self._entries[exchange.id], None, "overload")

    def _shed_load(self) -> None:
        """Bound what waits while the shadow is away or too slow; live never waits."""
        if self.ledger.rows > self.settings.rows_max:
            logger.warning("shadow_load_shed", extra={"rows": self.ledger.rows})
            self.ask_resync("overflow")
            self._shed += self.ledger.shed()

    async def _settle_unsure(self) -> None:
        """Settle those that waited until every exchange that ran at the same time was known."""
        now = now_us()
        due = [taken for due_us, taken in self._unsure if due_us <= now]
        self._unsure = [waiting for waiting in self._unsure if waiting[0] > now]
        for taken in due:
            await self._settle(taken, sure=True)

    def _notice_strays(self) -> None:
        for keyed in self.shadow.strays():
            self.metrics.strays.inc()
            self.ledger.repair(keyed)

    def _forget_repairs(self) -> None:
        horizon = now_us() - 4 * self.settings.hold_ms * 1_000
        if self._repaired and min(self._repaired.values()) < horizon:
            self._repaired = {row: at for row, at in self._repaired.items() if at >= horizon}

    def _forget_snapshot(self) -> None:
        """Transaction ids come round again: the last resync's are compared only while one of its time may come."""
        if not self.backlog and now_us() - self.comparable_from_us > SNAPSHOT_KEPT_S * 1_000_000:
            self._seen = NOTHING_SEEN

    def _notice_interruptions(self) -> None:
        count = self._interruption_count()
        if count != self._interruptions:
            self._interruptions = count
            logger.warning("shadow_capture_interrupted", extra={"interruptions": count})
            self.ask_resync("interrupted")

    def _interruption_count(self) -> int:
        return sum(feed.interruptions for feed in self.feeds.values())

    def _count_lost(self) -> None:
        if self.journal.lost > self._lost_seen:
            self.metrics.dropped.labels("journal").inc(self.journal.lost - self._lost_seen)
            self._lost_seen = self.journal.lost

    async def patiently(self, what: str, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step with backoff until what it needs answers; `what` is a label of shadow_retries_total."""
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                return await step()
            except (ShadowUnreachableError, CaptureError) as error:
                logger.warning("shadow_step_repeated", extra={"what": what, "error": str(error)})
                self.metrics.retries.labels(what).inc()
                if self._stopping.is_set():
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(BACKOFF_MAX_S, wait_s * 2)
