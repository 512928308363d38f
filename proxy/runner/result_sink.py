"""Save comparisons: in the store and in the comparator's metrics."""

import datetime as dt
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from comparator.exchanges.comparison import Comparison, Verdict
from comparator.findings.cases import case_of
from comparator.findings.clustering import Clusterer
from comparator.findings.redaction import Redactor, digest_key, keyed_digest
from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings
from comparator.store.comparison_detail import ComparedExchange
from comparator.store.ended import EndedAs, EndedBatch, EndedExchanges
from comparator.store.store import Store
from comparator.store.timeline import Timeline, timeline_of
from proxy.config.journal import RedactionSettings
from proxy.journal.driver import JournalEntry, UnreadRange
from proxy.runner.intake import trace_id_of
from proxy.runner.mirror import MirrorResult
from proxy.runner.releases import ReleaseReader
from proxy.runner.result_buffer import Outcome
from proxy.runner.skip_causes import RunnerSkip

logger = logging.getLogger(__name__)

ID_MAX = 200
"""Length of the longest exchange id that is stored as it is when the store has refused an outcome."""


class ResultSink:
    """Saves batches of outcomes.

    Args:
        store: opened; None: comparisons are counted and not stored.
        compare: the section `compare` of the settings.
        redactor: removes secrets from what is saved.
        salt: keys the digests of ordering keys.
        metrics: the comparator's.
        releases: reads the releases of both sides.
        ended: returns the batch to store of exchanges that ended in this runner.
        on_compared: called with each exchange and its comparison, after it is saved and before the journal is committed.
    """

    def __init__(
        self,
        store: Store | None,
        compare: CompareSettings,
        redactor: Redactor,
        salt: bytes,
        *,
        metrics: ComparatorMetrics,
        releases: ReleaseReader,
        ended: Callable[[Sequence[EndedExchanges]], EndedBatch],
        on_compared: Callable[[JournalEntry, ComparedExchange], None] = lambda _entry, _compared: None,
    ) -> None:
        self._store = store
        self._salt = salt
        self._redactor = redactor
        self._clusterer = Clusterer(compare.dynamic, tables=compare.tables)
        self.metrics = metrics
        self._releases = releases
        self._ended_batch = ended
        self._on_compared = on_compared

    async def save(self, batch: Sequence[Outcome], unread: Sequence[UnreadRange] = ()) -> None:
        """Save the comparisons of a batch, and count the outcomes without one by cause.

        Raises:
            StoreUnavailableError: nothing was saved or counted; give the whole batch again.
        """
        compared = [
            (outcome.entry, outcome.mirrored, self._compared(outcome.entry, outcome.mirrored, comparison))
            for outcome in batch
            if outcome.mirrored is not None and (comparison := outcome.mirrored.comparison) is not None
        ]
        if self._store is not None:
            await self._store.add(
                [exchange for _, _, exchange in compared], _skipped(batch), ended=self._ended(batch, unread)
            )
        for entry, mirrored, exchange in compared:
            self._count(exchange, mirrored.compare_s)
            self._on_compared(entry, exchange)

    async def save_bare(self, outcome: Outcome, unread: Sequence[UnreadRange] = ()) -> None:
        """Save the verdict of an outcome without anything that came from the traffic: no differences, examples and findings.

        Raises:
            StoreUnavailableError: nothing was saved.
        """
        mirrored = outcome.mirrored
        if mirrored is None or mirrored.comparison is None or self._store is None:
            await self.save([outcome], unread)
            return
        entry, comparison = outcome.entry, mirrored.comparison
        exchange = replace(entry.exchange, id=storable_id(entry.exchange.id))
        bare = replace(comparison, differences=(), known=(), rule_hits=(), undescribed=(), differing_tables=())
        compared = ComparedExchange(exchange, mirrored.served, mirrored.mirrored, bare, dt.datetime.now(dt.UTC))
        await self._store.add([compared], ended=self._ended([outcome], unread))
        self._count(compared, mirrored.compare_s)
        self._on_compared(entry, compared)

    def _ended(self, batch: Sequence[Outcome], unread: Sequence[UnreadRange]) -> EndedBatch:
        """Return what a batch says of the exchanges by number; those that no journal has stored have none."""
        exchanges = [
            EndedExchanges(entry.writer, entry.number, entry.number, *_ended_as(outcome))
            for outcome in batch
            if (entry := outcome.entry).writer
        ]
        exchanges += [EndedExchanges(u.writer, u.first, u.last, EndedAs.UNREAD, u.cause.value) for u in unread]
        return self._ended_batch(exchanges)

    def _count(self, compared: ComparedExchange, seconds: float) -> None:
        route = compared.exchange.route
        self.metrics.observe(route, compared.comparison, occurrences=compared.occurrences, seconds=seconds)

    def _compared(self, entry: JournalEntry, mirrored: MirrorResult, comparison: Comparison) -> ComparedExchange:
        exchange = entry.exchange
        mismatch = comparison.verdict is Verdict.MISMATCH
        # Findings are told apart by the original values, so occurrences come before redaction.
        occurrences = self._clusterer.occurrences(exchange.route, comparison)
        return ComparedExchange(
            exchange=exchange,
            served=mirrored.served,
            mirrored=mirrored.mirrored,
            comparison=self._redactor.comparison(comparison),
            compared_at=dt.datetime.now(dt.UTC),
            key_digest=digest_key(exchange.key, self._salt) if exchange.key else None,
            target_digest=None if exchange.key else digest_key(exchange.request.target, self._salt),
            occurrences=tuple(map(self._redactor.occurrence, occurrences)),
            case=case_of(exchange, mirrored.served, mirrored.mirrored, self._redactor) if mismatch else None,
            release=self._releases.read(mirrored.served, mirrored.mirrored),
            timeline=_timeline(entry, mirrored),
        )


def _timeline(entry: JournalEntry, mirrored: MirrorResult) -> Timeline | None:
    if mirrored.times is None:
        return None
    exchange, trace_id = entry.exchange, trace_id_of(entry.exchange)
    return timeline_of(
        exchange, mirrored.times, mirrored.served, mirrored.mirrored, writer=entry.writer, trace_id=trace_id
    )


def _skipped(batch: Sequence[Outcome]) -> Counter[tuple[str, dt.datetime, str, str]]:
    """Count the exchanges that were not compared, by stage, minute, route and cause."""
    return Counter(
        (
            outcome.entry.exchange.stage,
            dt.datetime.fromtimestamp(outcome.entry.exchange.started_ns // 60_000_000_000 * 60, dt.UTC),
            outcome.entry.exchange.route,
            outcome.cause.value,
        )
        for outcome in batch
        if outcome.cause not in (None, RunnerSkip.OTHER_SLICE)
    )


def _ended_as(outcome: Outcome) -> tuple[EndedAs, str]:
    comparison = outcome.mirrored.comparison if outcome.mirrored is not None else None
    if outcome.cause is RunnerSkip.OTHER_SLICE:
        return EndedAs.OTHER_SLICE, ""
    if comparison is None:
        return EndedAs.SKIPPED, outcome.cause.value if outcome.cause is not None else ""
    if comparison.verdict is Verdict.FAILED:
        return EndedAs.FAILED, comparison.cause_label
    return EndedAs.COMPARED, comparison.verdict.value


def storable_id(exchange_id: str) -> str:
    """Return the id of an exchange, which its client may have chosen, as a text that every store takes."""
    is_plain = exchange_id.isascii() and exchange_id.isprintable() and len(exchange_id) <= ID_MAX
    return (
        exchange_id
        if is_plain
        else f"sha256:{hashlib.sha256(exchange_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
    )


def redactor_of(compare: CompareSettings, journal: RedactionSettings, salt: bytes) -> Redactor:
    """Return a redactor of what `compare.redact` names, and of what the journal redacts."""
    return Redactor(
        (*compare.redact, *journal.json_paths),
        keyed_digest(salt),
        names=(*journal.headers, *journal.query, *journal.names),
        exempt=journal.exempt,
        recognize=journal.recognize,
        natural_keys={name: tuple(table.natural_key) for name, table in compare.tables.items()},
        body_max_bytes=compare.body_max_bytes,
    )
