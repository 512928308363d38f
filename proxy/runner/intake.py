"""Read the journal, and decide for each exchange whether it is mirrored.

An exchange is mirrored only when everything that it committed has been delivered, and its rows are surely its own. While an exchange
that ran at the same time may not have been read yet, the decision is deferred, for up to `claim_wait_ms`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from comparator.capture.attribution import Claim, RequestWindow
from comparator.exchanges.model import Exchange, Failed, FailureCause, Side
from comparator.exchanges.skip import Skip
from proxy.config.runner import RunnerSettings
from proxy.http1.fields import first_value
from proxy.http1.forwarding_headers import TraceContext, parse_traceparent
from proxy.journal.driver import JournalEntry, UnjournaledPeriod, UnreadRange
from proxy.journal.redaction import is_redacted
from proxy.runner.clock import now_us
from proxy.runner.key_slice import EVERYTHING, KeySlice
from proxy.runner.ledger import Ledger
from proxy.runner.metrics import ErrorPlace, RunnerMetrics
from proxy.runner.outcomes import Outcomes
from proxy.runner.shadow_state import ResyncReason, ShadowState
from proxy.runner.skip_causes import RunnerSkip, SkipCause, attribution_skip, policy_of
from proxy.runner.survival import ends_the_runner, survived

READ_WAIT_S = 0.25
LOST_MAX: Final = 256
"""Losses in the journal that are remembered with their time."""
_GIVEN_UP: Final = frozenset({FailureCause.TIMEOUT, FailureCause.RESET, FailureCause.PROTOCOL})
"""Causes for which a request was given up after it had been sent."""


class ExchangeSource(Protocol):
    """The part of a journal's reader that the intake needs."""

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        """Return the next entries; an empty list when none arrived within `wait_s`."""
        ...

    def take_unread(self) -> list[UnreadRange]:
        """Return the exchanges that could not be read since the last call."""
        ...

    def complete_us(self, read_from_us: int) -> int:
        """Return the time before which every exchange that ended has been returned; at most when the last reading began."""
        ...

    def settled_us(self) -> int:
        """Return the time before which every request that began has been returned; 0 where it is not known."""
        ...

    def has_several_writers(self) -> bool:
        """Return whether several processes write: none of them sees that a request overlaps one of another's."""
        ...

    def unjournaled(self, ended_us: int) -> Sequence[UnjournaledPeriod]:
        """Return the times in which requests ran that are in no journal, or are late; every process that was gone at `ended_us` is known."""
        ...


class ServedEffects(Protocol):
    """The row changes that the served side committed for an exchange."""

    async def wait_until_delivered(self, entries: Sequence[JournalEntry]) -> None:
        """Return when everything that these exchanges committed is in the ledger."""
        ...

    def refusal(self, exchange: Exchange) -> RunnerSkip | None:
        """Return the cause for which the rows of this exchange cannot be compared, None when they can."""
        ...

    def was_released(self, window: RequestWindow) -> bool:
        """Return whether changes of this window may have been released as background already."""
        ...

    def open(self, exchange: Exchange, window: RequestWindow) -> None:
        """Open the window of an exchange that was read."""
        ...

    def claim(self, exchange: Exchange, window: RequestWindow, *, mirror: bool, complete: bool) -> Claim | None:
        """Claim the transactions of an exchange, as `Ledger.claim` does."""
        ...


@dataclass(frozen=True, slots=True)
class ReadExchange:
    """An exchange that was read, the window in which it can have written, and the cause for which it is not mirrored."""

    entry: JournalEntry
    window: RequestWindow
    cause: SkipCause | None


def trace_of(exchange: Exchange) -> TraceContext | None:
    """Return the trace context that was sent to the served side, None for none."""
    sent = first_value(exchange.request.headers, "traceparent")
    return parse_traceparent(sent) if sent is not None else None


def trace_id_of(exchange: Exchange) -> str:
    """Return the trace id that was sent to the served side, "" for none."""
    context = trace_of(exchange)
    return context.trace_id if context is not None else ""


def _may_still_run(exchange: Exchange) -> bool:
    """Return whether a side was sent the request and gave no response: it may go on, and write."""
    failed = exchange.outcome.cause if isinstance(exchange.outcome, Failed) else None
    return failed in _GIVEN_UP or exchange.skip == Skip.FALLBACK


def _last_end_us(exchanges: Iterable[ReadExchange]) -> int:
    """Return when the last of these exchanges ended."""
    return max(read.entry.exchange.ended_ns for read in exchanges) // 1_000


@dataclass(slots=True)
class Intake:
    """The reading half of the shadow runner; the ledger gets what has to be done.

    Attributes:
        reaches: whether a side has a shadow instance.
        slice: exchanges that this runner mirrors; the changes of all others are applied to the shadow as they are.
        known_us: exchanges that ended before this Unix time have been read; 0 before the first reading.
    """

    settings: RunnerSettings
    source: ExchangeSource
    ledger: Ledger
    effects: ServedEffects
    outcomes: Outcomes
    state: ShadowState
    metrics: RunnerMetrics
    reaches: Callable[[Side], bool]
    slice: KeySlice = EVERYTHING
    known_us: int = 0
    _lost: deque[UnjournaledPeriod] = field(default_factory=lambda: deque[UnjournaledPeriod](maxlen=LOST_MAX))
    _deferred: list[tuple[int, ReadExchange]] = field(default_factory=list[tuple[int, ReadExchange]])

    async def run(self) -> None:
        """Read until the runner stops."""
        while not self.state.stopping.is_set():
            read_from_us = now_us()
            entries = await self.source.read(self.settings.batch_max, READ_WAIT_S)
            if not entries:
                self._end_unread()
                self.known_us = max(self.known_us, self.source.complete_us(read_from_us))
                continue
            self.metrics.read.inc(len(entries))
            await self.effects.wait_until_delivered(entries)
            # All windows of a batch are opened before any of it claims, so that overlaps are found.
            delivered_us = now_us()
            opened = [self._open(entry, delivered_us) for entry in entries]
            self._end_unread()
            unjournaled = self.source.unjournaled(_last_end_us(opened))
            for exchange in opened:
                await self._decide_or_skip(exchange, unjournaled)
            ended_us = entries[-1].exchange.ended_ns // 1_000
            self.known_us = max(self.known_us, min(ended_us, self.source.complete_us(read_from_us)))
            self.state.wake.set()

    def _end_unread(self) -> None:
        """Give their outcome to the exchanges that could not be read, once those before them are known to be in flight."""
        for unread in self.source.take_unread():
            self.outcomes.end_unread(unread)
            if unread.period is not None:
                self._lost.append(unread.period)

    async def decide_deferred(self) -> None:
        """Decide on those deferred exchanges for which every exchange that ran at the same time is known by now."""
        now = min(now_us(), self.known_us)
        due = [read for due_us, read in self._deferred if due_us <= now or self._is_settled(read.window)]
        if not due:
            return
        chosen = {id(read) for read in due}
        self._deferred = [deferred for deferred in self._deferred if id(deferred[1]) not in chosen]
        unjournaled = self.source.unjournaled(_last_end_us(due))
        for read in due:
            await self._decide_or_skip(read, unjournaled, complete=True)

    def _is_settled(self, window: RequestWindow) -> bool:
        """Return whether every request that may have written in this window has been read."""
        clock_skew_us = self.settings.clock_skew_ms * 1_000
        return window.closed_us is not None and window.closed_us + clock_skew_us < self.source.settled_us()

    def _may_be_unjournaled(self, window: RequestWindow, unjournaled: Sequence[UnjournaledPeriod]) -> bool:
        """Return whether a request that is in no journal may have written in this window.

        Such a request was in flight or had just ended when its process was killed, and its backend goes on with it:

            last exchange on disk    12:00:00.4    killed after that, and seen to be gone 12:00:01.2
            may have written         from claim_wait_ms before, until timeout_s after that
        """
        before_us, behind_us = self.settings.claim_wait_ms * 1_000, round(self.settings.timeout_s * 1e6)
        closed_us = window.opened_us if window.closed_us is None else window.closed_us
        ongoing = any(
            period.from_us - before_us <= closed_us and window.opened_us <= period.until_us + behind_us
            for period in unjournaled
        )
        # (what was lost behind its response has ended by then)
        return ongoing or any(
            period.from_us - before_us <= closed_us and window.opened_us <= period.until_us for period in self._lost
        )

    async def _decide_or_skip(
        self, read: ReadExchange, unjournaled: Sequence[UnjournaledPeriod], *, complete: bool = False
    ) -> None:
        """Decide on an exchange; one that breaks this takes none of the others along."""
        try:
            read.window.unjournaled = self._may_be_unjournaled(read.window, unjournaled)
            await self._decide(read, complete=complete or self._is_settled(read.window))
        except Exception as error:
            if ends_the_runner(error):
                raise
            survived(ErrorPlace.INTAKE, self.metrics)
            self.state.request_resync(ResyncReason.ERROR, changes_missed=True)
            internal = RunnerSkip.INTERNAL if read.cause is not RunnerSkip.OTHER_SLICE else read.cause
            await self.outcomes.end(read.entry, None, internal)

    def _open(self, entry: JournalEntry, delivered_us: int) -> ReadExchange:
        exchange = entry.exchange
        duplicate = exchange.id in self.outcomes or self.ledger.has_window(exchange.id)
        # The id is the client's to choose: a second exchange of that id gets a window of its own, and is not mirrored.
        window = self._window(exchange, f"{exchange.id} {entry.sequence}" if duplicate else exchange.id)
        cause = self._refusal(exchange) or (RunnerSkip.DUPLICATE_ID if duplicate else None)
        if cause is None and self.effects.was_released(window):
            cause = RunnerSkip.LATE
        self.outcomes.begin(entry, by_id=not duplicate, delivered_us=delivered_us)
        self.effects.open(exchange, window)
        return ReadExchange(entry, window, cause)

    async def _decide(self, read: ReadExchange, *, complete: bool = False) -> None:
        """Mirror the exchange, skip it, or defer the decision."""
        exchange, cause = read.entry.exchange, read.cause
        if cause is None and self.ledger.waiting > self.settings.queue_max:
            cause = RunnerSkip.OVERLOAD
        claim = self.effects.claim(exchange, read.window, mirror=cause is None, complete=complete)
        if claim is None:
            # (not later than from now on: the clock of the proxy may be ahead of ours)
            ended_us = min(exchange.ended_ns // 1_000, now_us())
            self._deferred.append((ended_us + self.settings.claim_wait_ms * 1_000, read))
            return
        cause = cause or attribution_skip(claim.outcome)
        if cause is not None:
            await self.outcomes.end(read.entry, None, cause)

    def _window(self, exchange: Exchange, window_id: str) -> RequestWindow:
        clock_skew_us = self.settings.clock_skew_ms * 1_000
        wait_us = self.settings.post_response_wait_ms * 1_000
        if _may_still_run(exchange):
            wait_us = max(wait_us, round(self.settings.timeout_s * 1e6))
        return RequestWindow(
            id=window_id,
            keys=set(self.ledger.route_keys(exchange)),
            opened_us=exchange.started_ns // 1_000 - clock_skew_us,
            closed_us=exchange.ended_ns // 1_000 + clock_skew_us + wait_us,
            # (the side that failed may have written as well)
            tagged=exchange.served_by in self.settings.tagged_sides and exchange.skip != Skip.FALLBACK,
            trace_id=trace_id_of(exchange),
            side=exchange.served_by,
            began_us=exchange.started_ns // 1_000,
            ended_us=exchange.ended_ns // 1_000,
            known_alone=not self.source.has_several_writers(),
        )

    def _refusal(self, exchange: Exchange) -> SkipCause | None:
        """Return the cause for which this exchange is not mirrored, whatever else runs."""
        if not self.slice.owns(exchange):
            return RunnerSkip.OTHER_SLICE
        policy = policy_of(exchange)
        if policy is not None:
            return policy
        if isinstance(exchange.outcome, Failed):
            return RunnerSkip.SERVED_FAILED
        if exchange.request.body_truncated:
            return RunnerSkip.TRUNCATED_REQUEST
        if not self.reaches(exchange.served_by.other):
            return RunnerSkip.NO_SHADOW_INSTANCE
        if self.state.needs_clone:
            return RunnerSkip.NEEDS_CLONE
        refusal = self.effects.refusal(exchange)
        if refusal is not None:
            return refusal
        if is_redacted(exchange.request):
            return RunnerSkip.REDACTED
        if exchange.ended_ns - exchange.started_ns > self.settings.claim_wait_ms * 1_000_000:
            return RunnerSkip.SLOW
        return None
