"""Give each exchange that was read exactly one outcome: compared, skipped or failed. Count it, and pass it on to be saved."""

from dataclasses import dataclass, field
from typing import Protocol

from comparator.exchanges.comparison import Verdict
from proxy.journal.driver import JournalEntry, UnreadRange
from proxy.runner.key_slice import EVERYTHING, KeySlice
from proxy.runner.metrics import RunnerDropCause, RunnerMetrics
from proxy.runner.mirror import MirrorResult
from proxy.runner.skip_causes import RunnerSkip, SkipCause


class OutcomeBuffer(Protocol):
    """Saves the outcomes of exchanges, each after its `begin`."""

    def begin(self, entry: JournalEntry) -> None:
        """Note an exchange that was read."""
        ...

    async def add(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: SkipCause | None) -> None:
        """Save a comparison (`mirrored`), or the cause for which there is none. Waits while the buffer is full."""
        ...

    def add_unread(self, unread: UnreadRange) -> None:
        """Save that exchanges could not be read."""
        ...


@dataclass(slots=True)
class Outcomes:
    """The exchanges that have no outcome yet, by id."""

    buffer: OutcomeBuffer
    metrics: RunnerMetrics
    slice: KeySlice = EVERYTHING
    _entries: dict[str, JournalEntry] = field(default_factory=dict[str, JournalEntry])
    _delivered_us: dict[str, int] = field(default_factory=dict[str, int])

    def __contains__(self, exchange_id: str) -> bool:
        return exchange_id in self._entries

    def __getitem__(self, exchange_id: str) -> JournalEntry:
        return self._entries[exchange_id]

    def delivered_us(self, exchange_id: str) -> int:
        """Return when everything that an exchange without an outcome had committed was known, Unix microseconds."""
        return self._delivered_us[exchange_id]

    def begin(self, entry: JournalEntry, *, by_id: bool, delivered_us: int = 0) -> None:
        """Add an exchange that was read. The second one of an id has its own outcome, but is not found `by_id`."""
        self.buffer.begin(entry)
        if by_id:
            self._entries[entry.exchange.id] = entry
            self._delivered_us[entry.exchange.id] = delivered_us

    def end_unread(self, unread: UnreadRange) -> None:
        """Count exchanges that could not be read, and pass them on."""
        if self.slice.owns_losses_of(unread.writer):
            self.metrics.dropped.labels(RunnerDropCause(unread.cause.value)).inc(unread.count)
        else:
            self.metrics.other_slice.inc(unread.count)
        self.buffer.add_unread(unread)

    async def end(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: SkipCause | None) -> None:
        """Count an outcome and pass it on.

        Args:
            entry: the exchange.
            mirrored: the result of its run; None when it was not mirrored.
            cause: why there is no comparison; None when there is one.
        """
        exchange = entry.exchange
        comparison = mirrored.comparison if mirrored is not None else None
        if comparison is None:
            assert cause is not None, "an exchange without a comparison has a cause"
            if cause is RunnerSkip.OTHER_SLICE:
                self.metrics.other_slice.inc()
            else:
                self.metrics.skipped.labels(exchange.route, cause.value).inc()
        elif comparison.verdict is Verdict.FAILED:
            self.metrics.failed.labels(exchange.route, comparison.cause_label).inc()
        else:
            self.metrics.compared.labels(exchange.route, comparison.verdict.value).inc()
            if comparison.response_only:
                reason = comparison.effects_note
                self.metrics.response_only.labels(exchange.route, comparison.verdict.value, reason).inc()
            if comparison.partial:
                self.metrics.in_part.labels(exchange.route, comparison.verdict.value).inc()
        if self._entries.get(exchange.id) is entry:
            del self._entries[exchange.id], self._delivered_us[exchange.id]
        await self.buffer.add(entry, mirrored, cause)
