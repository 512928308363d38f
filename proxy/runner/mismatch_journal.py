"""Copy exchanges that differed to a journal that is kept longer: `routes[].record_if.only: mismatches`.

The proxy does not know verdicts, so it journals such a route in full. The runner copies what differed to `journal.mismatches`, which is
sealed with the same keys. The copy is read like any journal, with `shadow journal --directory` or `shadow replay`.
A runner that is killed between a verdict and its commit copies the exchange again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from comparator.exchanges.model import Exchange, Response
from proxy.config.journal import JournalSettings, RedactionMode, RedactionSettings
from proxy.config.routes import RecordOnly, RouteSettings
from proxy.http1.error_responses import FAILURE_STATUS
from proxy.journal.driver import JournalEntry, JournalWriter
from proxy.journal.registry import open_writer
from proxy.runner.metrics import RunnerMetrics
from proxy.serving.record_filter import RecordCandidate, RecordFilter, compile_filter, selects

logger = logging.getLogger(__name__)

NO_REDACTION = RedactionSettings(mode=RedactionMode.SEAL)
"""Records that are to have digests have them already when they are copied."""

RecordMismatch = Callable[[JournalEntry], None]
"""Called with each exchange whose verdict is a mismatch; never waits."""


class MismatchRecorder:
    """Copies the exchanges that the filters of their routes select.

    Args:
        filters: by route; other routes are not copied.
        writer: of the mismatch journal, started.
        metrics: count what was copied.
    """

    def __init__(self, filters: Mapping[str, RecordFilter], writer: JournalWriter, metrics: RunnerMetrics) -> None:
        self._filters = filters
        self._writer = writer
        self._metrics = metrics
        self._recorded: Counter[str] = Counter()

    def record(self, entry: JournalEntry) -> None:
        """Copy an exchange that differed, if the filter of its route selects it."""
        exchange = entry.exchange
        record_filter = self._filters.get(exchange.route)
        if record_filter is None or not selects(record_filter, candidate_of(exchange, self._recorded[exchange.route])):
            return
        assert entry.record is not None, "the exchange was read from a journal"
        if self._writer.append_record(entry.record):
            self._recorded[exchange.route] += 1
            self._metrics.mismatch_journal_written.labels(exchange.route).inc()


def candidate_of(exchange: Exchange, recorded: int) -> RecordCandidate:
    """Return the properties of an exchange that a filter looks at, by the response that its client got.

    Args:
        exchange: without a response of the served side, it has the status of the proxy's own error response.
        recorded: number of exchanges of its route that were copied before.
    """
    outcome = exchange.outcome
    return RecordCandidate(
        method=exchange.request.method,
        status=outcome.status if isinstance(outcome, Response) else FAILURE_STATUS[outcome.cause],
        duration_ms=(exchange.ended_ns - exchange.started_ns) / 1e6,
        response_bytes=len(outcome.body) if isinstance(outcome, Response) else 0,
        ended_ns=exchange.ended_ns,
        recorded=recorded,
    )


@contextmanager
def open_mismatch_journal(
    routes: Sequence[RouteSettings], journal: JournalSettings, environ: Mapping[str, str], metrics: RunnerMetrics
) -> Generator[RecordMismatch]:
    """Open the mismatch journal until the block ends, if a route has one; yield the function that copies to it.

    Raises:
        JournalKeyError: the journal has no key.
        SettingsError: the `until` of a filter is not a time.
    """
    filters = {
        route.name: compile_filter(route.record_if, f"routes ({route.name}).record_if")
        for route in routes
        if route.record_if and route.record_if.only is RecordOnly.MISMATCHES
    }
    if not filters:
        yield lambda _: None
        return
    writer = open_writer(mismatch_journal_settings(journal), environ, keys_of=journal)
    writer.start()
    metrics.mismatch_journal_dropped.set_function(lambda: float(writer.counts.dropped.total()))
    directory, routes_recorded = journal.mismatches.directory, sorted(filters)
    logger.info("mismatch_journal_opened", extra={"directory": directory, "routes": routes_recorded})
    try:
        yield MismatchRecorder(filters, writer, metrics).record
    finally:
        writer.close()


def mismatch_journal_settings(journal: JournalSettings) -> JournalSettings:
    """Return the settings of the mismatch journal: those of the journal, but for folder, retention and redaction."""
    mismatches = journal.mismatches
    return msgspec.structs.replace(
        journal, directory=mismatches.directory, retention=mismatches.retention, redaction=NO_REDACTION
    )
