"""Reads the journal, and says of each exchange whether it is mirrored, or why not.

Nothing is mirrored before all that the exchange committed has been delivered, and its rows are known to be its own: what cannot be
told yet waits up to `claim_wait_ms` for what ran at the same time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from comparator.capture.attribution import Claim, RequestWindow
from comparator.exchanges.model import EffectsOutcome, Exchange, Failed, Role, Side
from proxy.config.runner import RunnerSettings
from proxy.journal.reader import JournalEntry
from proxy.journal.redaction import DIGEST_PREFIX
from proxy.runner.ledger import Ledger
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.outcomes import Outcomes
from proxy.runner.shadow_attribution import now_us
from proxy.runner.shadow_state import ShadowState

READ_WAIT_S = 0.25
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Journal(Protocol):
    """What the runner needs of a journal reader."""

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        """The next entries."""
        ...

    def tail_sequence(self) -> int:
        """How many exchanges were ever appended."""
        ...

    @property
    def lost(self) -> int:
        """Exchanges gone before they could be read."""
        ...


@dataclass(frozen=True, slots=True)
class AttributedExchange:
    """An exchange that was read, when it can have written, and why it is not mirrored ("" when it is)."""

    entry: JournalEntry
    window: RequestWindow
    cause: str


def trace_id_of(exchange: Exchange) -> str:
    """The trace id of the traceparent that was sent to the served side, "" for none."""
    sent = next((value for name, value in exchange.request.headers if name.lower() == "traceparent"), "")
    return sent.split("-")[1] if sent.count("-") == 3 else ""


def is_redacted(exchange: Exchange) -> bool:
    """Whether a secret of the request is gone: the journal keeps digests only, or its key is not here.

    Sent as it is, the other side would refuse it, which says nothing about that side.
    """
    request = exchange.request
    if any(value.startswith(DIGEST_PREFIX) for _, value in request.headers) or f"={DIGEST_PREFIX}" in request.target:
        return True
    mark = DIGEST_PREFIX.encode()
    return request.body.startswith(mark) or b'"' + mark in request.body


@dataclass(slots=True)
class Intake:
    """The reading half of the shadow runner; what is to be done goes to the ledger.

    Attributes:
        reaches: whether a side has a shadow instance.
        known_us: exchanges that ended before this Unix time have been read; 0 before the first reading.
    """

    settings: RunnerSettings
    journal: Journal
    ledger: Ledger
    outcomes: Outcomes
    standing: ShadowState
    metrics: RunnerMetrics
    reaches: Callable[[Side], bool]
    known_us: int = 0
    _unsure: list[tuple[int, AttributedExchange]] = field(default_factory=list[tuple[int, AttributedExchange]])
    _lost_seen: int = 0

    async def run(self) -> None:
        """Read until the standing says to stop."""
        feeds = self.standing.feeds
        while not self.standing.stopping.is_set():
            asked_us = now_us()
            entries = await self.journal.read(self.settings.batch_max, READ_WAIT_S)
            self._count_lost()
            if not entries:
                self.known_us = max(self.known_us, asked_us)
                continue
            self.metrics.read.inc(len(entries))
            if feeds:
                await self._settle_delay(entries)
                await self.standing.retry("served_fence", feeds[Role.SERVED].fence)
                self.standing.notice_interruptions()
            await self._take_in(entries)
            self.known_us = max(self.known_us, entries[-1].exchange.ended_ns // 1_000)
            self.standing.wake.set()

    async def settle_unsure(self) -> None:
        """Settle those that waited until every exchange that ran at the same time was known."""
        now = min(now_us(), self.known_us)
        due = [taken for due_us, taken in self._unsure if due_us <= now]
        self._unsure = [waiting for waiting in self._unsure if waiting[0] > now]
        for taken in due:
            await self._settle(taken, sure=True)

    async def _settle_delay(self, entries: Sequence[JournalEntry]) -> None:
        """Let a service that writes after its response finish, before the fence says that all is in."""
        if self.settings.post_response_wait_ms:
            newest_s = (
                max(entry.exchange.ended_ns for entry in entries) / 1e9 + self.settings.post_response_wait_ms / 1e3
            )
            await asyncio.sleep(max(0.0, newest_s - time.time()))

    async def _take_in(self, entries: Sequence[JournalEntry]) -> None:
        # All windows of a batch are opened before any is settled, so that overlaps are seen.
        for taken in [self._open(entry) for entry in entries]:
            await self._settle(taken)

    def _open(self, entry: JournalEntry) -> AttributedExchange:
        """Make an exchange known, with everything that can be said against mirroring it."""
        exchange = entry.exchange
        again = exchange.id in self.outcomes or self.ledger.knows(exchange.id)
        # The id is the client's to choose: a second exchange of that id gets a window of its own, and is not mirrored.
        window = self._window(exchange, f"{exchange.id} {entry.sequence}" if again else exchange.id)
        cause = self._refusal(exchange) or ("duplicate_id" if again else "")
        if self.standing.feeds and not cause and self.ledger.gave_up(window):
            cause = "late"
        self.outcomes.begin(entry, by_id=not again)
        if self.standing.feeds:
            self.ledger.open(exchange, window)
        return AttributedExchange(entry, window, cause)

    async def _settle(self, taken: AttributedExchange, *, sure: bool = False) -> None:
        entry, window, cause = taken.entry, taken.window, taken.cause
        exchange = entry.exchange
        if not cause and self.ledger.waiting > self.settings.queue_max:
            cause = "overload"
        if not self.standing.feeds:
            await self._take_in_without_effects(entry, window, cause)
            return
        if not exchange.key and not cause:
            # Nothing ties rows to it on a side that does not name the request: its response alone is compared.
            self.ledger.settle(exchange, window, admit=False)
            await self._take_in_without_effects(entry, window, cause)
            return
        claim = self.ledger.settle(exchange, window, admit=not cause, sure=sure)
        if claim is None:
            self._unsure.append((exchange.ended_ns // 1_000 + self.settings.claim_wait_ms * 1_000, taken))
            return
        self.metrics.effects.labels(Role.SERVED.value, claim.outcome.value).inc()
        if not cause and claim.outcome is not EffectsOutcome.ATTRIBUTED:
            cause = claim.outcome.value
        if cause:
            await self.outcomes.end(entry, None, cause)

    async def _take_in_without_effects(self, entry: JournalEntry, window: RequestWindow, cause: str) -> None:
        if cause:
            await self.outcomes.end(entry, None, cause)
        else:
            claim = Claim(EffectsOutcome.OFF, (), frozenset(window.keys))
            self.ledger.add_unattributed_run(entry.exchange, claim)

    def _window(self, exchange: Exchange, name: str) -> RequestWindow:
        clock_skew_us = self.settings.clock_skew_ms * 1_000
        return RequestWindow(
            id=name,
            keys=set(self.ledger.route_keys(exchange)),
            opened_us=exchange.started_ns // 1_000 - clock_skew_us,
            closed_us=exchange.ended_ns // 1_000 + clock_skew_us + self.settings.post_response_wait_ms * 1_000,
            tagged=exchange.served_by in self.settings.tagged_sides,
            trace_id=trace_id_of(exchange),
        )

    def _refusal(self, exchange: Exchange) -> str:
        """Why this exchange is not mirrored whatever else runs, "" when it is."""
        feeds = self.standing.feeds
        if exchange.skip:
            return exchange.skip
        if isinstance(exchange.outcome, Failed):
            return "served_failed"
        if exchange.request.body_truncated:
            return "truncated_request"
        if not self.reaches(exchange.served_by.other):
            return "no_shadow_instance"
        if self.standing.contradicts_live:
            return "needs_clone"
        started_us = exchange.started_ns // 1_000
        if feeds and started_us < self.standing.comparable_from_us:
            return "repeated" if started_us < self.standing.resumed_from_us else "not_captured"
        if feeds and not exchange.key and exchange.request.method not in SAFE_METHODS:
            return "no_key"
        if is_redacted(exchange):
            return "redacted"
        if exchange.ended_ns - exchange.started_ns > self.settings.claim_wait_ms * 1_000_000:
            return "slow"
        return ""

    def _count_lost(self) -> None:
        if self.journal.lost > self._lost_seen:
            self.metrics.dropped.labels("journal").inc(self.journal.lost - self._lost_seen)
            self._lost_seen = self.journal.lost
