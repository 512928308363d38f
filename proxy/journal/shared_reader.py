"""Read the shared journal: the streams of all writers on all machines, merged by time, as one reader whose place the store keeps.

`read` takes bundles from the broker, opens them and merges them (`time_merge`). Beside it a task reads what the writers report, tells the
broker what every reader has committed, and deletes that from the streams. A broker that is away costs time only: what the readers have not
committed is in the spools, and is shipped again where the broker has lost it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from proxy.config.journal import ValkeySettings
from proxy.errors import BrokerUnavailableError
from proxy.journal.broker import Broker, Bundle, WriterReport
from proxy.journal.delivery import Deliveries, LoadedKeys, MergedPosition, Unopened
from proxy.journal.driver import JournalEntry, JournalPosition, UnjournaledPeriod, UnreadRange
from proxy.journal.format import FRAME_HEADER, Record, intact, parse_frame_header
from proxy.journal.time_merge import TimeMerge

logger = logging.getLogger(__name__)

BUNDLES_MAX: Final = 256
"""Bundles of each writer that are held unopened; beyond it they stay in the broker."""
FETCH_S: Final = 0.05
REPORTS_S: Final = 0.1
COMMITS_S: Final = 1.0
RETRY_S: Final = 0.25
COMMIT_S: Final = 30.0
"""Time that a commit waits for the store."""


class ReaderOffsets(Protocol):
    """The place of a reader, kept outside of the broker."""

    numbers: Mapping[str, int]
    lost: int
    live_us: int

    async def store(self, numbers: Mapping[str, int], *, lost: int, live_us: int) -> None:
        """Store the place.

        Raises:
            StoreError, ProxyError: it could not be stored.
        """
        ...

    def stage(self, numbers: Mapping[str, int], *, lost: int) -> None:
        """Have the next transaction of verdicts store this place too."""
        ...

    async def slowest(self) -> Mapping[str, int]:
        """Return by writer the number that every reader of the journal has done."""
        ...


@dataclass(slots=True)
class PassingOffsets:
    """Implements ReaderOffsets for a reader that looks into the journal, and keeps nothing in it."""

    numbers: Mapping[str, int] = field(default_factory=dict[str, int])
    lost: int = 0
    live_us: int = 0

    async def store(self, numbers: Mapping[str, int], *, lost: int, live_us: int) -> None:
        """Keep the place in memory."""
        self.numbers, self.lost, self.live_us = numbers, lost, live_us

    def stage(self, numbers: Mapping[str, int], *, lost: int) -> None:
        """Do nothing."""

    async def slowest(self) -> Mapping[str, int]:
        """Return nothing: this reader does not count."""
        return {}


class SharedReader:
    """Reads as a named reader. Implements JournalReader; `open_shared_reader` runs it.

    Args:
        broker: of the journal.
        offsets: the reader's place.
        keys: open what is sealed.
        settings: section `journal.valkey`.
        skip_undecodable: note an exchange that cannot be decoded as unread and go on; otherwise reading it raises.

    Attributes:
        live_us: the `live_us` of the last commit.
        problem: why nothing can be read; "" while it can.
        trim_failures: times that what every reader has committed could not be deleted from the broker, because the store did not answer.
    """

    def __init__(
        self,
        broker: Broker,
        offsets: ReaderOffsets,
        keys: LoadedKeys,
        settings: ValkeySettings,
        *,
        skip_undecodable: bool,
    ) -> None:
        self.live_us = offsets.live_us
        self.problem = ""
        self.trim_failures = 0
        self._broker = broker
        self._offsets = offsets
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._committed = dict(offsets.numbers)
        self._lost_before = offsets.lost
        self._deliveries = Deliveries(self._committed, keys, skip_undecodable=skip_undecodable)
        self._merge: TimeMerge[tuple[int, Record | Unopened]] = TimeMerge(
            silent_max_ns=int(settings.silent_max_s * 1e9)
        )
        self._fetched: dict[str, int] = {}
        self._bundles: dict[str, deque[Bundle]] = {}
        self._reports: dict[str, WriterReport] = {}
        self._acknowledged: dict[str, int] = {}
        self._complete_us = 0
        self._lost_of: dict[str, int] = {}
        self._silent: frozenset[str] = frozenset()

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        """Return the next entries, oldest first; an empty list when none arrived within `wait_s`."""
        deadline = time.monotonic() + wait_s
        while True:
            entries = self._take(max_items)
            left_s = deadline - time.monotonic()
            if entries or left_s <= 0:
                return entries
            await self._fetch(min(FETCH_S, left_s))

    def take_unread(self) -> list[UnreadRange]:
        """Return what could not be read since the last call."""
        unread = self._deliveries.take_unread()
        for one in unread:
            self._lost_of[one.writer] = self._lost_of.get(one.writer, 0) + one.count
        return unread

    def begun_numbers(self) -> dict[str, int]:
        """Return the number behind which this reader began to read, by writer."""
        return dict(self._deliveries.begun)

    def complete_us(self, read_from_us: int) -> int:
        """Return the time before which every exchange of all awaited writers has been returned."""
        if not self.problem:
            limit_ns = read_from_us * 1_000
            complete_ns = self._merge.complete_ns(now_ns=time.monotonic_ns(), limit_ns=limit_ns)
            self._complete_us = max(self._complete_us, complete_ns // 1_000)
        return min(self._complete_us, read_from_us)

    def settled_us(self) -> int:
        """Return 0: requests in flight on other machines are not known."""
        return 0

    def has_several_writers(self) -> bool:
        """Return whether several processes write, or have written."""
        return len(self._reports) > 1

    def unjournaled(self, ended_us: int) -> list[UnjournaledPeriod]:
        """Return the times of the last requests of processes that were killed, as their machines report them.

        Nothing is returned before the reports of all awaited writers are as new as its end, so they tell of those that were gone by then.
        """
        del ended_us
        return [period for report in self._reports.values() for period in report.unjournaled]

    def commit(self, position: JournalPosition | None, live_us: int = 0) -> None:
        """Store that everything up to `position` is done (None: what was committed before). Not for the event loop's thread: it waits.

        Raises:
            OSError: the store did not take it in time.
            StoreError, ProxyError: it could not be stored.
        """
        assert position is None or isinstance(position, MergedPosition), "the position is not of a SharedReader"
        numbers = self._committed | dict(position.sequences if position is not None else ())
        storing = self._offsets.store(numbers, lost=self._lost_before + self.lost, live_us=live_us)
        asyncio.run_coroutine_threadsafe(storing, self._loop).result(COMMIT_S)
        self._committed.update(numbers)
        self.live_us = live_us

    def stage(self, position: JournalPosition) -> None:
        """Have the next transaction of verdicts store this position."""
        assert isinstance(position, MergedPosition), "the position is not of a SharedReader"
        self._offsets.stage(self._committed | dict(position.sequences), lost=self._lost_before + self.lost)

    @property
    def lost(self) -> int:
        """Exchanges that could not be read: dropped by a spool, or damaged in it."""
        return self._deliveries.lost

    @property
    def committed_sequence(self) -> int:
        """Number of exchanges, of all ever appended, that are committed or lost for this reader."""
        return sum(self._committed.values())

    def tail_sequence(self) -> int:
        """Return how many exchanges were ever appended, as far as the writers have reported."""
        known = self._committed.keys() | self._reports.keys()
        return sum(max(self._written(writer), self._deliveries.numbers.get(writer, 0)) for writer in known)

    @property
    def reports(self) -> Sequence[WriterReport]:
        """The last report of every writer."""
        return list(self._reports.values())

    def unread_count(self, writer: str) -> int:
        """Return how many exchanges of a writer's spool have not been read."""
        return max(0, self._written(writer) - self._deliveries.numbers.get(writer, 0))

    def lag_s(self, writer: str, now_ns: int) -> float:
        """Return how far the reading of a writer is behind, in seconds; 0 for one that has ended and is read.

        Args:
            writer: its name.
            now_ns: Unix nanoseconds.
        """
        reached_ns = self._merge.reached_ns(writer)
        if self._reports[writer].closed and not self.unread_count(writer):
            return 0.0
        return max(0.0, (now_ns - reached_ns) / 1e9) if reached_ns else 0.0

    def lost_counts(self) -> Mapping[str, int]:
        """Return how many exchanges of each writer could not be read, since this reader was opened."""
        return dict(self._lost_of)

    @property
    def silent_writers(self) -> frozenset[str]:
        """The writers that have not reported for `silent_max_s`, and are not waited for."""
        return self._silent

    def close(self) -> None:
        """Do nothing: `open_shared_reader` releases what was opened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def start(self) -> None:
        """Read what the writers report; a broker that is away is asked again later."""
        try:
            await self._follow_reports()
        except BrokerUnavailableError as error:
            self._fail(error)

    async def tend(self) -> None:
        """Follow the reports, and pass on what was committed, until cancelled."""
        committed_at = -COMMITS_S
        while True:
            try:
                await self._follow_reports()
                if time.monotonic() - committed_at >= COMMITS_S:
                    committed_at = time.monotonic()
                    await self._acknowledge()
            except BrokerUnavailableError as error:
                self._fail(error)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # noqa: BLE001 (the task's outermost loop: the store may be away, and its text says so)
                self.trim_failures += 1
                logger.warning("journal_not_trimmed", extra={"error": f"{type(error).__name__}: {error}"})
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(REPORTS_S)

    def _written(self, writer: str) -> int:
        report = self._reports.get(writer)
        return report.written if report is not None else 0

    def _take(self, max_items: int) -> list[JournalEntry]:
        entries: list[JournalEntry] = []
        while len(entries) < max_items:
            for writer, bundles in self._bundles.items():
                while bundles and self._merge.is_empty(writer):
                    self._open(writer, bundles.popleft())
            taken = self._merge.take(now_ns=time.monotonic_ns())
            if taken is None:
                break
            writer, (number, record) = taken
            entry = self._deliveries.entry(writer, number, record, name=writer)
            if entry is not None:
                entries.append(entry)
        return entries

    def _open(self, writer: str, bundle: Bundle) -> None:
        """Add the exchanges of a bundle; those of one that is damaged are found to be missing later."""
        header = parse_frame_header(bundle.frame)
        payload = bundle.frame[FRAME_HEADER.size :]
        items: list[tuple[int, tuple[int, Record | Unopened]]] = []
        if header is None or not intact(header, payload):
            logger.error("bundle_damaged", extra={"writer": writer, "last": bundle.last})
        else:
            records = self._keys.records(header, payload, place=writer)
            done = self._deliveries.numbers[writer]
            items = [
                (record.ended_ns, (number, record))
                for number, record in enumerate(records, header.first_sequence)
                if number > done
            ]
        self._merge.add(writer, items, fetched=bundle.last, now_ns=time.monotonic_ns())

    async def _fetch(self, wait_s: float) -> None:
        """Take the next bundles of the writers of which few are here."""
        after = {w: number for w, number in self._fetched.items() if len(self._bundles[w]) < BUNDLES_MAX // 2}
        if not after:
            await asyncio.sleep(wait_s)
            return
        try:
            found = await self._broker.read(after, bundles_max=BUNDLES_MAX // 2, wait_s=wait_s)
        except BrokerUnavailableError as error:
            self._fail(error)
            await asyncio.sleep(wait_s)
            return
        for writer, bundles in found.items():
            if writer in self._fetched:
                self._bundles[writer].extend(bundles)
                self._fetched[writer] = bundles[-1].last

    async def _follow_reports(self) -> None:
        reports = {report.writer: report for report in await self._broker.reports()}
        now_ns = time.monotonic_ns()
        if self.problem:
            logger.info("broker_answers", extra={"after": self.problem})
            self.problem = ""
            self._merge.excuse(now_ns=now_ns)
        is_new = any(writer not in self._deliveries.numbers for writer in reports)
        # (what the other readers have committed may be deleted already, before the shippers report it)
        done: Mapping[str, int] = await self._broker.acknowledged() if is_new else {}
        for writer, report in reports.items():
            if writer not in self._fetched:
                self._begin(report, max(report.base, done.get(writer, 0)), now_ns)
            self._merge.report(
                writer,
                report_ns=report.at_ns,
                shipped=report.shipped,
                complete_ns=report.known_ns,
                closed=report.closed,
                now_ns=now_ns,
            )
        # (a broker that was emptied has none until the shippers report again)
        self._reports |= reports
        silent = self._merge.silent(now_ns=now_ns)
        for writer in silent - reports.keys():
            self._end(writer)
        silent &= reports.keys()
        for writer in silent - self._silent:
            logger.warning("writer_silent", extra={"writer": writer, "host": self._reports[writer].host})
        for writer in self._silent - silent:
            logger.info("writer_reports_again", extra={"writer": writer})
        self._silent = silent

    def _begin(self, report: WriterReport, done: int, now_ns: int) -> None:
        """Begin to read a writer: where this reader has come to, or behind what every other reader has done."""
        writer = report.writer
        if writer not in self._deliveries.numbers:
            self._committed[writer] = done
            self._deliveries.begin(writer, done)
        self._fetched[writer] = self._deliveries.numbers[writer]
        self._bundles[writer] = deque()
        self._merge.begin(writer, fetched=self._fetched[writer], now_ns=now_ns)
        logger.info("writer_found", extra={"writer": writer, "host": report.host, "after": self._fetched[writer]})

    def _end(self, writer: str) -> None:
        """Read a writer no longer that was forgotten; should it report again, it is read on from where it was."""
        self._merge.forget(writer)
        del self._fetched[writer], self._bundles[writer], self._reports[writer]
        logger.info("writer_forgotten", extra={"writer": writer})

    async def _acknowledge(self) -> None:
        """Tell the shippers what every reader has committed, and delete it from the broker."""
        slowest = await self._offsets.slowest()
        await self._broker.acknowledge(slowest)
        for writer, number in slowest.items():
            if number > self._acknowledged.get(writer, 0):
                await self._broker.trim(writer, number)
                self._acknowledged[writer] = number

    def _fail(self, error: BrokerUnavailableError) -> None:
        if not self.problem:
            logger.error("broker_unavailable", extra={"error": str(error)})
        self.problem = str(error)


@asynccontextmanager
async def open_shared_reader(
    broker: Broker,
    offsets: ReaderOffsets,
    keys: LoadedKeys,
    settings: ValkeySettings,
    *,
    skip_undecodable: bool,
) -> AsyncGenerator[SharedReader, None]:
    """Read until the block ends; the arguments are those of SharedReader."""
    reader = SharedReader(broker, offsets, keys, settings, skip_undecodable=skip_undecodable)
    await reader.start()
    async with asyncio.TaskGroup() as tasks:
        tending = tasks.create_task(reader.tend(), name="journal-reports")
        try:
            yield reader
        finally:
            tending.cancel()
