"""Open the journal for a runner: files on this machine, or the shared one under the lease of the runner's name."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from comparator import postgres
from comparator.postgres import UNAVAILABLE
from comparator.settings import StoreSettings
from comparator.store.store import Fence, Store
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalDriver, JournalSettings
from proxy.config.runner import RunnerSettings
from proxy.errors import JournalBusyError, RunnerRunningError
from proxy.journal.driver import JournalPosition, JournalReader
from proxy.journal.registry import journal_exists, journal_keys, open_reader, open_shared
from proxy.journal.shared_reader import SharedReader
from proxy.runner.lease import RunnerLease, holding
from proxy.runner.metrics import RunnerMetrics

logger = logging.getLogger(__name__)

RUNNER_IS_UP = "the runner is up; stop it first: both would write to the shadow database"
CONNECT_TIMEOUT_S = 10.0
SHOW_S = 1.0
END_FORMER_READER = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active"


@dataclass(frozen=True, slots=True)
class RunnerJournal:
    """The journal as a runner has opened it.

    Attributes:
        reader: continues behind what was committed.
        shared: the same reader, where the journal is the shared one.
        lease: of the runner's name, where the journal is the shared one.
    """

    reader: JournalReader
    shared: SharedReader | None = None
    lease: RunnerLease | None = None

    @property
    def fence(self) -> Fence | None:
        """The check in each transaction of verdicts; None where the operating system keeps other runners away."""
        return self.lease.fence if self.lease is not None else None

    def stage(self, position: JournalPosition) -> None:
        """Have the next transaction of verdicts store this position, where the store keeps it."""
        if self.shared is not None:
            self.shared.stage(position)


@asynccontextmanager
async def open_runner_journal(
    journal: JournalSettings,
    runner: RunnerSettings,
    environ: Mapping[str, str],
    store: Store | None,
    *,
    wait: Callable[[RunnerLease], Awaitable[bool]] | None = None,
) -> AsyncGenerator[RunnerJournal | None, None]:
    """Open the journal for as long as the block lasts.

    Args:
        journal: section of the settings.
        runner: section of the settings, for the names of the readers.
        environ: for SHADOW_JOURNAL_KEY.
        store: keeps the place in a shared journal.
        wait: takes the lease of a shared journal, and returns False if it is not to be waited for any more; the block then gets None.
            Without it another holder is an error.

    Raises:
        JournalBusyError: another process reads under this name.
        LeaseLostError: in an exception group, when another runner takes over.
        SettingsError, JournalKeyError, JournalFormatError: the journal cannot be opened.
    """
    keys = journal_keys(journal, environ)
    if journal.driver is JournalDriver.FILES:
        with open_reader(journal, runner.reader, keys=keys, environ=environ, skip_undecodable=True) as reader:
            yield RunnerJournal(reader)
        return
    assert store is not None, "proxy.config.checks requires a store"
    lease = RunnerLease(store, runner.reader, runner.readers)
    if wait is not None and not await wait(lease):
        yield None
        return
    holder = None if lease.epoch else await lease.take()
    if holder is not None:
        raise JournalBusyError(f"{holder} reads the journal as {runner.reader!r}: stop that runner first")
    async with (
        holding(lease),
        open_shared(journal, lease, keys=keys, environ=environ, skip_undecodable=True) as shared,
    ):
        yield RunnerJournal(shared, shared, lease)


@asynccontextmanager
async def runner_stopped(
    journal: JournalSettings, databases: DatabasesSettings, name: str
) -> AsyncGenerator[None, None]:
    """Keep the runner from starting during the block: both would undo what the other writes to the shadow.

    Args:
        journal: the section `journal` of the settings. Without a journal of files on this machine, there is no runner either.
        databases: the section `databases`; the store has the lease of a shared journal.
        name: of the runner as a reader of the journal, which the block occupies.

    Raises:
        RunnerRunningError: the runner is up.
    """
    if journal.driver is JournalDriver.VALKEY:
        async with Store(databases.store, StoreSettings(), random.SystemRandom()) as store:
            lease = RunnerLease(store, name)
            if await lease.take() is not None:
                raise RunnerRunningError(RUNNER_IS_UP)
            async with holding(lease):
                yield
        return
    if not journal_exists(journal):
        yield
        return
    try:
        reader = open_reader(journal, name)
    except JournalBusyError as error:
        raise RunnerRunningError(RUNNER_IS_UP) from error
    with reader:
        yield


async def show_writers(reader: SharedReader, metrics: RunnerMetrics) -> None:
    """Set the gauges of a shared journal's writers, and count their losses, until cancelled."""
    counted: Counter[str] = Counter()
    trims_counted = 0
    shown: set[str] = set()
    while True:
        metrics.broker_up.set(0 if reader.problem else 1)
        metrics.trim_failures.inc(reader.trim_failures - trims_counted)
        trims_counted = reader.trim_failures
        present = {report.writer: report for report in reader.reports}
        now_ns = time.time_ns()
        for writer, report in present.items():
            metrics.writer_unread.labels(writer).set(reader.unread_count(writer))
            metrics.writer_lag.labels(writer).set(reader.lag_s(writer, now_ns))
            metrics.writer_silent.labels(writer).set(writer in reader.silent_writers)
            metrics.writer_clock_ahead.labels(writer).set(report.clock_ahead_ns / 1e9)
            lost = reader.lost_counts().get(writer, 0)
            metrics.writer_lost.labels(writer).inc(lost - counted[writer])
            counted[writer] = lost
        for writer in shown - present.keys():
            for gauge in (metrics.writer_unread, metrics.writer_lag, metrics.writer_silent, metrics.writer_clock_ahead):
                gauge.remove(writer)
        shown = set(present)
        await asyncio.sleep(SHOW_S)


def writers_document(reader: SharedReader) -> Mapping[str, object]:
    """Return what the runner's status says of a shared journal."""
    now_ns = time.time_ns()
    return {
        "problem": reader.problem,
        "writers": {
            report.writer: {
                "host": report.host,
                "unread": reader.unread_count(report.writer),
                "lag_s": round(reader.lag_s(report.writer, now_ns), 3),
                "lost": reader.lost_counts().get(report.writer, 0),
                "silent": report.writer in reader.silent_writers,
                "ended": report.closed,
                "paused": report.pause,
                "clock_ahead_ms": round(report.clock_ahead_ns / 1e6, 3),
            }
            for report in reader.reports
        },
    }


async def end_former_reader(dsn: str, slot: str) -> None:
    """Have the live database's server end the connection of a runner that lost its lease, and with it the slot's use.

    A machine that is gone leaves the connection open until the server notices, which takes a minute by default.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            conn = await postgres.connect(dsn, timeout_s=CONNECT_TIMEOUT_S)
            try:
                ended = await conn.fetch(END_FORMER_READER, slot)
            finally:
                await postgres.disconnect(conn, timeout_s=CONNECT_TIMEOUT_S)
    except (asyncpg.PostgresError, *UNAVAILABLE) as error:
        logger.warning("former_reader_not_ended", extra={"slot": slot, "error": str(error)})
        return
    if ended:
        logger.warning("former_reader_ended", extra={"slot": slot})
