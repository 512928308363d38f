"""Keeps the exchanges that differed where they stay longer: `routes[].record_if.only: mismatches`.

The proxy does not know verdicts; so these routes are journaled in full, and the runner copies what differed, as it stands on the disk
(secrets stay redacted and sealed), into a journal of its own, `journal.mismatches`. It is read like any journal: `shadow journal
--directory`, `shadow replay`. A runner that is killed between the verdict and its commit copies an exchange again.
"""

import logging
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import msgspec

from comparator.exchanges.model import Exchange, Response
from proxy.config.journal import JournalSettings, RedactionSettings
from proxy.config.routes import RecordOnly
from proxy.config.settings import Settings
from proxy.http1.error_responses import FAILURE_STATUS
from proxy.journal.driver import JournalEntry, JournalWriter
from proxy.journal.registry import open_writer
from proxy.runner.metrics import RunnerMetrics
from proxy.serving.record_filter import RecordCandidate, RecordFilter, compile_rule, selects

logger = logging.getLogger(__name__)

NOT_AGAIN = RedactionSettings(headers=(), query=(), json_paths=(), tokens=False)
"""What is copied was redacted before; to redact it again would make digests of digests."""


class MismatchRecorder:
    """Copies the exchanges that routes' rules want.

    Args:
        wanted: the rule of each route that has one.
        writer: started; None when no route has a rule.
        metrics: counts what was copied.
    """

    def __init__(
        self, wanted: Mapping[str, RecordFilter], writer: JournalWriter | None, metrics: RunnerMetrics
    ) -> None:
        self._wanted = wanted
        self._writer = writer
        self._metrics = metrics
        self._taken: Counter[str] = Counter()

    def take(self, entry: JournalEntry) -> None:
        """Copy an exchange that differed, if its route's rule wants it; never waits."""
        exchange = entry.exchange
        wanted = self._wanted.get(exchange.route)
        if wanted is None or self._writer is None or not selects(wanted, served(exchange, self._taken[exchange.route])):
            return
        assert entry.record is not None, "what is copied was read from a journal"
        if self._writer.append_record(entry.record):
            self._taken[exchange.route] += 1
            self._metrics.captured.labels(exchange.route).inc()


def served(exchange: Exchange, taken: int) -> RecordCandidate:
    """What a rule asks of an exchange; a side that gave no response counts as the status that the client got."""
    outcome = exchange.outcome
    return RecordCandidate(
        method=exchange.request.method,
        status=outcome.status if isinstance(outcome, Response) else FAILURE_STATUS[outcome.cause],
        duration_ms=(exchange.ended_ns - exchange.started_ns) / 1e6,
        response_bytes=len(outcome.body) if isinstance(outcome, Response) else 0,
        ended_ns=exchange.ended_ns,
        taken=taken,
    )


@contextmanager
def open_captures(
    settings: Settings, environ: Mapping[str, str], metrics: RunnerMetrics
) -> Generator[MismatchRecorder]:
    """The capture journal, where a route asks for one, until the block ends.

    Raises:
        JournalKeyError: it was written with another key.
        SettingsError: a rule's `until` is no time.
    """
    rules = [
        (one.name, one.record_if)
        for one in settings.routes
        if one.record_if and one.record_if.only is RecordOnly.MISMATCHES
    ]
    wanted = {name: compile_rule(rule, f"routes ({name}).record_if") for name, rule in rules}
    if not wanted:
        yield MismatchRecorder({}, None, metrics)
        return
    writer = open_writer(journal_of(settings.journal), environ, key_of=settings.journal)
    writer.start()
    metrics.captures_lost.set_function(lambda: float(writer.counts.dropped.total()))
    logger.info("captures_opened", extra={"directory": settings.journal.mismatches.directory, "routes": sorted(wanted)})
    try:
        yield MismatchRecorder(wanted, writer, metrics)
    finally:
        writer.close()


def journal_of(journal: JournalSettings) -> JournalSettings:
    """The settings of the capture journal: those of the journal, but for its folder, its retention and the redaction."""
    captures = journal.mismatches
    return msgspec.structs.replace(
        journal, directory=captures.directory, retention=captures.retention, redaction=NOT_AGAIN
    )
