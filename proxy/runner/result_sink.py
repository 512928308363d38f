"""What is kept of each outcome: the comparison in the store, what it found in the metrics, and the evidence of its route."""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Sequence

import msgspec
from prometheus_client import CollectorRegistry

from comparator.cases import case_of
from comparator.errors import StoreUnavailableError
from comparator.findings.clustering import Clusterer
from comparator.findings.evidence import Evidence, Wanted, judge
from comparator.metrics import ComparatorMetrics
from comparator.redaction import Redactor, digest_key
from comparator.store import queries
from comparator.store.store import Store
from comparator.stored_comparison import ComparedExchange
from comparator.verdict import Verdict
from proxy.config.settings import Settings
from proxy.journal.reader import JournalEntry
from proxy.runner.result_buffer import Outcome

logger = logging.getLogger(__name__)

EVIDENCE_S = 15.0


class ResultSink:
    """Takes batches of outcomes.

    Args:
        store: opened, or None: then only the metrics know.
        settings: for redaction and the names of the routes.
        salt: keys the digests of redacted values and of ordering keys.
        registry: for the comparator's metrics.
        differed: called with each exchange whose verdict is a mismatch, once that is kept and before the journal is committed.
    """

    def __init__(
        self,
        store: Store | None,
        settings: Settings,
        salt: bytes,
        registry: CollectorRegistry,
        *,
        differed: Callable[[JournalEntry], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._salt = salt
        self._redactor = redactor_of(settings, salt)
        self._clusterer = Clusterer(settings.compare.dynamic)
        self.metrics = ComparatorMetrics(registry, [route.name for route in settings.routes], settings.compare.tables)
        self._differed = differed
        self._evidence: dict[tuple[str, str], Evidence] = {}

    async def keep(self, batch: Sequence[Outcome]) -> None:
        """Keep the comparisons of a batch; what was not compared lives in the metrics only.

        Raises:
            StoreUnavailableError: nothing was kept or counted; give the whole batch again.
        """
        judged = [kept for kept in batch if kept.mirrored and kept.mirrored.comparison]
        compared = [self._compared(kept) for kept in judged]
        if self._store is not None:
            await self._store.add(compared)
        for kept, one in zip(judged, compared, strict=True):
            self._note(one, kept.mirrored.compare_s if kept.mirrored else 0.0)
            if one.comparison.verdict is Verdict.MISMATCH:
                self._differed(kept.entry)

    async def keep_evidence(self) -> None:
        """Store each route's evidence from time to time; runs until cancelled."""
        while True:
            await asyncio.sleep(EVIDENCE_S)
            if self._store is None:
                continue
            try:
                await self._store_evidence(self._store)
            except StoreUnavailableError as error:
                logger.warning("evidence_not_kept", extra={"error": str(error)})

    async def _store_evidence(self, store: Store) -> None:
        now = dt.datetime.now(dt.UTC)
        async with store.connection() as conn:
            for (route, served_by), evidence in self._evidence.items():
                judged = judge(evidence, Wanted())
                summary = msgspec.json.encode(judged)
                overall = judged.overall
                row = queries.EvidenceRow(route, served_by, now, overall.outcome, overall.reason, summary)
                await queries.add_evidence(conn, row)

    def _note(self, one: ComparedExchange, seconds: float) -> None:
        route = one.exchange.route
        self.metrics.observe(route, one.comparison, sightings=one.occurrences, seconds=seconds)
        evidence = self._evidence.setdefault((route, one.exchange.served_by.value), Evidence())
        evidence.add(one.comparison, one.served, one.mirrored)

    def _compared(self, kept: Outcome) -> ComparedExchange:
        exchange, mirrored = kept.entry.exchange, kept.mirrored
        assert mirrored is not None
        assert mirrored.comparison is not None
        comparison = mirrored.comparison
        wrong = comparison.verdict is Verdict.MISMATCH
        sightings = self._clusterer.sightings(exchange.route, comparison)
        return ComparedExchange(
            exchange=exchange,
            served=mirrored.served,
            mirrored=mirrored.mirrored,
            comparison=self._redactor.comparison(comparison),
            compared_at=dt.datetime.now(dt.UTC),
            key_digest=digest_key(exchange.key, self._salt) if exchange.key else None,
            occurrences=tuple(map(self._redactor.sighting, sightings)),
            case=case_of(exchange, mirrored.served, mirrored.mirrored, self._redactor) if wrong else None,
        )


def redactor_of(settings: Settings, salt: bytes) -> Redactor:
    """What is kept of a comparison lacks what `compare.redact` names, and what the journal takes for a secret."""
    journal, compare = settings.journal.redaction, settings.compare
    declared = (*compare.redact, *journal.headers, *journal.json_paths)
    return Redactor(declared, salt, query=journal.query, body_max_bytes=compare.body_max_bytes)
