"""How far the shadow can be trusted now: from when on exchanges are comparable, and whether whole tables have to be compared."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from comparator.capture.errors import CaptureError
from comparator.exchanges.model import Role
from proxy.errors import ShadowUnreachableError
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.transaction_feed import TransactionFeed

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0

T = TypeVar("T")


@dataclass(slots=True)
class ShadowState:
    """What intake and runner both go by.

    Attributes:
        feeds: the captures of both databases by role; empty when the capture is off.
        comparable_from_us: exchanges begun before this Unix time are not compared.
        resumed_from_us: where a run that goes on begins to compare; what had begun before had its outcome. 0 for a new run.
        contradicts_live: a resync failed: only a new clone helps.
        resync_reason: why whole tables have to be compared, "" when they need not.
        missed: changes of live may be lost: what waits then cannot be compared any more.
        resyncing: they are being compared.
        started: both captures have begun.
        wake: set when the dispatcher has something to look at.
        stopping: set when nothing more is to be read.
    """

    feeds: Mapping[Role, TransactionFeed]
    metrics: RunnerMetrics
    comparable_from_us: int = 0
    resumed_from_us: int = 0
    contradicts_live: bool = False
    resync_reason: str = ""
    missed: bool = False
    resyncing: bool = False
    started: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _interruptions: Mapping[Role, int] = field(default_factory=dict[Role, int])

    @property
    def ready(self) -> bool:
        """Whether an exchange that begins now will be compared: both captures run, and no resync is due."""
        return self.started and not self.resync_reason and not self.contradicts_live

    @property
    def resync_pending(self) -> bool:
        """Whether the shadow is known to differ, or may."""
        return self.resyncing or bool(self.resync_reason)

    def ask_resync(self, reason: str, *, missed: bool = False) -> None:
        """Compare whole tables as soon as nothing runs; with `missed`, exchanges begun before its end are not compared."""
        self.resync_reason = self.resync_reason or reason
        self.missed = self.missed or missed
        self.wake.set()

    def forget_interruptions(self) -> None:
        """Take the interruptions up to now for known."""
        self._interruptions = self._counts()

    def notice_interruptions(self) -> None:
        """Ask for a resync when a capture was cut since the last look."""
        counts, before = self._counts(), self._interruptions
        if counts != before:
            self._interruptions = counts
            missed = counts[Role.SERVED] != before.get(Role.SERVED, 0)
            logger.warning("shadow_capture_interrupted", extra={"interruptions": counts, "missed": missed})
            self.ask_resync("interrupted", missed=missed)

    def _counts(self) -> dict[Role, int]:
        return {role: feed.interruptions for role, feed in self.feeds.items()}

    async def retry(self, what: str, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step with backoff until what it needs answers; `what` is a label of shadow_retries_total."""
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                return await step()
            except (ShadowUnreachableError, CaptureError) as error:
                logger.warning("shadow_step_repeated", extra={"what": what, "error": str(error)})
                self.metrics.retries.labels(what).inc()
                if self.stopping.is_set():
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(BACKOFF_MAX_S, wait_s * 2)
