"""State of the shadow: since when, and for which rows and keys, exchanges can be compared on it, and whether a resync is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from comparator.capture.attribution_keys import NO_KEYS, Key, Keys, RowId
from comparator.capture.errors import CaptureError
from comparator.exchanges.model import Role
from proxy.errors import DatabaseUnreachableError
from proxy.runner.clock import now_us
from proxy.runner.ledger import MirrorRun
from proxy.runner.metrics import RetriedStep, RunnerMetrics
from proxy.runner.skip_causes import RunnerSkip

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
DRIFTED_MAX = 10_000
"""Rows that may be known to differ; beyond it only a new clone helps."""

T = TypeVar("T")


class Feed(Protocol):
    """The transactions of one database."""

    @property
    def interruptions(self) -> int:
        """Number of times that transactions may have been lost."""
        ...

    @property
    def clock_us(self) -> int:
        """The database's time of the last commit that was read, in Unix microseconds; 0 where it is not known."""
        ...

    @property
    def resumed(self) -> bool:
        """True if delivery continued where an earlier reader had stopped."""
        ...

    @property
    def backlog(self) -> int:
        """Number of delivered transactions whose keys are not known yet."""
        ...

    async def start(self) -> None:
        """Begin delivery."""
        ...

    async def pump(self) -> None:
        """Pass transactions on until cancelled."""
        ...

    async def fence(self) -> None:
        """Return when everything that was committed before this call has been passed on."""
        ...

    def confirm(self, lsn: int | None) -> None:
        """Let the server drop its log up to `lsn`; None: up to everything that was delivered."""
        ...


class ResyncReason(StrEnum):
    """Reasons to compare whole tables; labels of `shadow_resyncs_total`."""

    START = "start"
    INTERRUPTED = "interrupted"
    CAPTURE_LOST = "capture_lost"
    DRIFT = "drift"
    OVERFLOW = "overflow"
    SCHEMA = "schema"
    ERROR = "error"


@dataclass(slots=True)
class ShadowState:
    """The shared state of intake, runner and resynchronizer.

    Attributes:
        feeds: of both databases.
        comparable_from_us: exchanges that began before this Unix time are not compared; 0 compares all.
        resumed_from_us: where a run that resumes begins to compare; what had begun before had its outcome. 0 for a new run.
        needs_clone: a resync failed: the shadow contradicts live, and only a new clone helps.
        resync_reason: a resync is due for this reason.
        resync_tables: names of the tables that it is due for; None for all.
        changes_missed: changes of live may be lost, so exchanges that wait now cannot be compared any more.
        resyncing: whole tables are being compared.
        started: both captures have begun.
        wake: set when the dispatcher has something to look at.
        stopping: set when nothing more is to be read.
    """

    feeds: Mapping[Role, Feed]
    metrics: RunnerMetrics
    comparable_from_us: int = 0
    resumed_from_us: int = 0
    needs_clone: bool = False
    resync_reason: ResyncReason | None = None
    resync_tables: frozenset[str] | None = frozenset()
    changes_missed: bool = False
    resyncing: bool = False
    started: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _interruptions: Mapping[Role, int] = field(default_factory=dict[Role, int])
    _repaired_us: dict[RowId, int] = field(default_factory=dict[RowId, int])
    _drifted: dict[RowId, Keys] = field(default_factory=dict[RowId, Keys])
    _drifted_keys: frozenset[Key] = frozenset()

    @property
    def ready(self) -> bool:
        """True if an exchange that begins now will be compared: both captures run, and no resync is due."""
        return self.started and self.resync_reason is None and not self.needs_clone

    @property
    def resync_pending(self) -> bool:
        """True if the shadow differs from live, or may."""
        return self.resyncing or self.resync_reason is not None

    def request_resync(
        self, reason: ResyncReason, *, changes_missed: bool = False, tables: Collection[str] | None = None
    ) -> None:
        """Request a comparison of whole tables, which begins as soon as no item runs.

        Args:
            reason: for the log and the metrics; an earlier request keeps its own.
            changes_missed: exchanges that began before the end of the resync are not compared.
            tables: names of the tables to compare, besides those that are requested already; None for all.
        """
        self.resync_reason = self.resync_reason or reason
        requested = self.resync_tables
        self.resync_tables = None if tables is None or requested is None else requested.union(tables)
        self.changes_missed = self.changes_missed or changes_missed
        self.wake.set()

    def reset_interruptions(self) -> None:
        """Ignore the interruptions up to now."""
        self._interruptions = self._interruption_counts()

    def check_interruptions(self) -> None:
        """Request a resync if a capture was interrupted since the last check."""
        counts, before = self._interruption_counts(), self._interruptions
        if counts != before:
            self._interruptions = counts
            missed = counts[Role.SERVED] != before.get(Role.SERVED, 0)
            logger.warning("shadow_capture_interrupted", extra={"interruptions": counts, "changes_missed": missed})
            self.request_resync(ResyncReason.INTERRUPTED, changes_missed=missed)

    def _interruption_counts(self) -> dict[Role, int]:
        return {role: feed.interruptions for role, feed in self.feeds.items()}

    def quarantine_rows(self, rows: Iterable[RowId]) -> None:
        """Exclude rows that are about to be copied from live: live may be ahead of the exchanges that began before."""
        self._repaired_us.update(dict.fromkeys(rows, now_us()))

    def add_drifted(self, rows: Iterable[RowId], keys: Iterable[Key]) -> bool:
        """Exclude rows that differ from live's, and their attribution keys, until a resync has made them equal.

        Returns:
            Whether any of them was not excluded before: of the others a resync is due, or has failed to make them equal.
        """
        added = {row: frozenset(keys) for row in rows if row not in self._drifted}
        if len(self._drifted) + len(added) > DRIFTED_MAX:
            self.needs_clone = True
            logger.error(
                "shadow_needs_clone", extra={"error": f"{DRIFTED_MAX} rows differ", "do": "shadow align clone"}
            )
        else:
            self._set_drifted(self._drifted | added)
        return bool(added)

    def end_drift(self, tables: Collection[str] | None, unequal: Collection[RowId]) -> None:
        """Include rows again that a resync has made equal.

        Args:
            tables: names of the tables that were compared; None for all.
            unequal: rows that differ still.
        """
        kept = {
            row: keys
            for row, keys in self._drifted.items()
            if row in unequal or (tables is not None and row[0] not in tables)
        }
        self._set_drifted(kept | {row: NO_KEYS for row in unequal if row not in kept})

    def end_drift_of(self, rows: Iterable[RowId]) -> None:
        """Include rows again that have been copied from live."""
        mended = frozenset(rows)
        if not mended.isdisjoint(self._drifted):
            self._set_drifted({row: keys for row, keys in self._drifted.items() if row not in mended})

    def _set_drifted(self, rows: dict[RowId, Keys]) -> None:
        self._drifted = rows
        self._drifted_keys = NO_KEYS.union(*rows.values())

    def end_quarantine(self, *, rows_before_us: int) -> None:
        """Drop the quarantine of rows repaired before this time."""
        if self._repaired_us and min(self._repaired_us.values()) < rows_before_us:
            self._repaired_us = {row: at for row, at in self._repaired_us.items() if at >= rows_before_us}

    def quarantine_of(self, run: MirrorRun) -> RunnerSkip | None:
        """Return the cause for which a run's rows are excluded, None when they are not."""
        rows = [row for keyed in run.claim.transactions for row in keyed.rows]
        if self._drifted and (
            not self._drifted_keys.isdisjoint(run.claim.keys) or any(r in self._drifted for r in rows)
        ):
            return RunnerSkip.DRIFTED
        started_us = run.exchange.started_ns // 1_000
        return RunnerSkip.REPAIRED if any(self._repaired_us.get(row, 0) > started_us for row in rows) else None

    async def retry(self, step: RetriedStep, work: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step with exponential backoff until the database that it needs answers.

        Args:
            step: its name.
            work: the step.

        Raises:
            DatabaseUnreachableError, CaptureError: it failed while the runner stops.
        """
        wait_s, logged = BACKOFF_FIRST_S, ""
        while True:
            try:
                return await work()
            except (DatabaseUnreachableError, CaptureError) as error:
                # (once for each reason: a database may be down for hours)
                if str(error) != logged:
                    logged = str(error)
                    logger.warning("shadow_step_repeated", extra={"step": step, "error": logged})
                self.metrics.retries.labels(step).inc()
                if self.stopping.is_set():
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(BACKOFF_MAX_S, wait_s * 2)
