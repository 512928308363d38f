"""Gives each exchange that was read exactly one outcome: compared, skipped or failed; counts it, and hands it on to be kept."""

from dataclasses import dataclass, field
from typing import Protocol

from comparator.verdict import Verdict
from proxy.journal.reader import JournalEntry
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import MirrorResult


class OutcomeSink(Protocol):
    """Takes the outcome of each exchange, once, after it was announced."""

    def begin(self, entry: JournalEntry) -> None:
        """An exchange was read."""
        ...

    async def keep(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: str) -> None:
        """Keep a comparison (`mirrored`), or the reason why there is none (`cause`). Waits while the buffer is full."""
        ...


@dataclass(slots=True)
class Outcomes:
    """The exchanges that have no outcome yet, found by id."""

    results: OutcomeSink
    metrics: RunnerMetrics
    _entries: dict[str, JournalEntry] = field(default_factory=dict[str, JournalEntry])

    def __contains__(self, exchange_id: str) -> bool:
        return exchange_id in self._entries

    def __getitem__(self, exchange_id: str) -> JournalEntry:
        return self._entries[exchange_id]

    def begin(self, entry: JournalEntry, *, by_id: bool) -> None:
        """An exchange was read. A second one of an id has an outcome of its own, and is not found by the id."""
        self.results.begin(entry)
        if by_id:
            self._entries[entry.exchange.id] = entry

    async def end(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: str) -> None:
        """Count and keep what came of it; `cause` says why when there is no comparison."""
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
