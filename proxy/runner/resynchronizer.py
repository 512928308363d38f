"""Carry out the resyncs that are requested: never while an item runs, and with growing pauses, for each reads all of live's tables."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from comparator.exchanges.model import Role
from comparator.exchanges.row_changes import RowChange
from proxy.errors import ShadowDriftError
from proxy.runner.clock import now_us
from proxy.runner.ledger import Ledger
from proxy.runner.metrics import RetriedStep, RunnerMetrics
from proxy.runner.resync import NOTHING_RESYNCED, PendingChanges, ResyncResult
from proxy.runner.row_writer import WrittenRows, named_rows
from proxy.runner.shadow_state import ResyncReason, ShadowState
from proxy.runner.transaction_snapshot import NOTHING_SEEN, TransactionSnapshot

logger = logging.getLogger(__name__)

RECENT_S = 60
PAUSE_FIRST_S = 0.25
PAUSE_MAX_S = 30.0
SPARING_PAUSE_MAX_S = 2.0
"""While pauses are no longer than this, exchanges that wait stay comparable; beyond it their contradictions do not end."""
SNAPSHOT_KEPT_S = 60

FENCE_STEPS = {Role.SERVED: RetriedStep.SERVED_FENCE, Role.MIRRORED: RetriedStep.MIRRORED_FENCE}


class TableSchemas(Protocol):
    """The tables that both databases define alike, while definitions change."""

    @property
    def version(self) -> int:
        """A number that grows whenever definitions were read."""
        ...

    @property
    def settled(self) -> Sequence[str]:
        """Tables that are defined alike again, and due for a resync."""
        ...

    def enter(self, tables: Sequence[str]) -> None:
        """Take the new shapes of these tables into use."""
        ...

    def resume(self, tables: Sequence[str], copied: TransactionSnapshot) -> None:
        """Compare these tables again, which a resync has made equal, unless their definitions changed once more."""
        ...

    def applicable(self, changes: Sequence[RowChange], xid: int) -> Sequence[RowChange]:
        """Return the changes of a transaction of live that the shadow gets now."""
        ...

    def forget_copied(self) -> None:
        """Forget the transactions that the resyncs of single tables have copied."""
        ...

    async def has_changed(self, version: int) -> bool:
        """Check the definitions; return whether any has changed since this version."""
        ...

    async def confirmed(self) -> None:
        """Return when a check that began after this call has been made."""
        ...


@dataclass(slots=True)
class Resynchronizer:
    """Compares whole tables when the state requests it.

    Attributes:
        resync: compares whole tables, the named ones or all, and writes what differs on the shadow.
        discard: drops the captured transactions of the shadow that a resync has overwritten.
        schema: the tables that both databases define alike.
    """

    state: ShadowState
    ledger: Ledger
    metrics: RunnerMetrics
    resync: Callable[[PendingChanges | None, frozenset[str] | None], Awaitable[ResyncResult]]
    discard: Callable[[TransactionSnapshot], None]
    schema: TableSchemas
    _pause_s: float = 0.0
    _last_us: int = 0
    _copied: TransactionSnapshot = NOTHING_SEEN
    _copied_tables: frozenset[str] | None = None

    def not_copied(self, xid: int, changes: Sequence[RowChange]) -> Sequence[RowChange]:
        """Return the changes of a transaction of live that the last resync has not copied.

        Example: live inserts row 7 (transaction 100) and deletes it (101), both captured before a resync that saw both. The shadow has
        no row 7 then. Applying 100 once more would bring it back until 101 is applied.
        """
        if not self._copied.covers(xid):
            return changes
        copied = self._copied_tables
        return () if copied is None else [change for change in changes if change.table not in copied]

    @property
    def fails_repeatedly(self) -> bool:
        """True if each resync is soon followed by a contradiction: then exchanges that wait are given up as a whole."""
        return self._is_recent() and self._pause_s > SPARING_PAUSE_MAX_S

    async def run_requested(self) -> None:
        """Carry out the requested resync, after a pause that grows while one follows another closely."""
        self._pause_s = self._pause_s if self._is_recent() else 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self.state.stopping.wait()
        self._pause_s = min(PAUSE_MAX_S, max(PAUSE_FIRST_S, 2 * self._pause_s))
        await self._run()

    async def _run(self) -> None:
        state = self.state
        reason, missed = state.resync_reason, state.changes_missed
        assert reason is not None, "a resync was requested"
        tables = None if missed else state.resync_tables
        state.resync_reason, state.changes_missed, state.resyncing = None, False, True
        state.resync_tables = frozenset()
        version = self.schema.version
        # Everything committed after a fence is captured, so what the resync does not see is applied afterwards.
        for role, feed in state.feeds.items():
            await state.retry(FENCE_STEPS[role], feed.fence)
        try:
            pending = None if missed else self._pending_changes
            result = await state.retry(RetriedStep.RESYNC, lambda: self.resync(pending, tables))
        except ShadowDriftError as error:
            if await self.schema.has_changed(version):
                # It met a table that was being redefined; the others are compared without it.
                logger.info("shadow_resync_repeated", extra={"reason": reason, "error": str(error)})
                state.resyncing = False
                state.request_resync(reason, changes_missed=missed, tables=tables)
                return
            logger.error("shadow_needs_clone", extra={"error": str(error), "do": "shadow align clone"})
            result = NOTHING_RESYNCED
            state.needs_clone = True
        else:
            state.needs_clone = state.needs_clone and tables is not None
            state.end_drift(tables, result.unequal)
            if result.unequal:
                named = named_rows(WrittenRows(result.total, unequal=result.unequal))
                logger.error(
                    "shadow_rows_not_mended", extra={**named, "do": "see RUNBOOK: rows that do not become equal"}
                )
        self._note_copied(result, tables)
        self.metrics.resynced_rows.inc(result.total)
        state.resyncing = False
        state.check_interruptions()
        self._last_us = now_us()
        if not result.rewound:
            state.comparable_from_us = self._last_us
        self.metrics.resyncs.labels(reason).inc()
        logger.info("shadow_resynced", extra={"reason": reason, "rows": result.total, "comparable": result.rewound})

    async def run_for_schema(self) -> None:
        """Make the tables equal that both databases define alike again, and go on comparing them. Call only while no item runs.

        Nothing that waits for them is taken back: it was written under another definition, and is not compared.
        """
        state, tables, version = self.state, self.schema.settled, self.schema.version
        for role, feed in state.feeds.items():
            await state.retry(FENCE_STEPS[role], feed.fence)
        self.schema.enter(tables)
        try:
            result = await state.retry(RetriedStep.RESYNC, lambda: self.resync(None, frozenset(tables)))
        except ShadowDriftError as error:
            if await self.schema.has_changed(version):
                return
            # They contradict tables that are not resynced with them.
            logger.warning("shadow_drifted", extra={"error": str(error), "tables": tables})
            state.request_resync(ResyncReason.SCHEMA, changes_missed=True)
            self.schema.resume(tables, NOTHING_SEEN)
            return
        await self.schema.confirmed()
        state.end_drift(frozenset(tables), result.unequal)
        self.schema.resume(tables, result.live)
        self._last_us = now_us()
        self.metrics.resynced_rows.inc(result.total)
        self.metrics.resyncs.labels(ResyncReason.SCHEMA).inc()
        logger.info("shadow_resynced", extra={"reason": ResyncReason.SCHEMA, "rows": result.total, "tables": tables})

    def _note_copied(self, result: ResyncResult, tables: frozenset[str] | None) -> None:
        """Remember which captured transactions have no effect any more: of live, because they were copied, and of the shadow."""
        self._copied = NOTHING_SEEN if result.rewound else result.live
        self._copied_tables = tables
        if tables is None:
            # Transactions of the shadow that touched other tables as well have to be repaired, as strays.
            self.discard(result.shadow)

    async def _pending_changes(self, seen: TransactionSnapshot) -> Sequence[RowChange]:
        """Return the changes that a reading of live saw, and that still wait for the shadow. Call only while no item runs."""
        await self.state.feeds[Role.SERVED].fence()
        return self.ledger.pending_changes(seen.covers, self.schema.applicable)

    def forget_copied(self) -> None:
        """Forget the transactions of the last resync once none of its time can arrive: their ids will be used again."""
        if now_us() - self._last_us > SNAPSHOT_KEPT_S * 1_000_000:
            self._copied = NOTHING_SEEN
            self.schema.forget_copied()

    def _is_recent(self) -> bool:
        return now_us() - self._last_us < RECENT_S * 1_000_000
