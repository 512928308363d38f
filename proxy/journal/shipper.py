"""Ship the spool of one machine to the broker of the shared journal, and keep it until every reader has committed it.

    SegmentWriter --frames--> <directory>/w0/*.seg --Shipper--> broker --SharedReader--> runner
                                      ^                            |
                                      +---- shipper.json <---- committed

The shipper reads the spool like any other reader, but what it commits as `shipper` is what all readers of the broker have committed. So
retention keeps the frames until then, and a broker that was emptied gets them again. It is a process of its own: neither the event loop
that serves clients nor the thread that writes the spool waits for it.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from proxy.config.journal import JournalSettings
from proxy.errors import BrokerFullError, BrokerUnavailableError, JournalFormatError, StreamGoneError
from proxy.journal.broker import Broker, Bundle, WriterReport
from proxy.journal.format import encode_frame
from proxy.journal.frame_cursor import FrameCursor
from proxy.journal.reconciliation import WriterState
from proxy.journal.segment_reader import unique_name, writer_states
from proxy.journal.segments import (
    CommittedOffset,
    all_committed,
    first_sequence_of,
    load_committed,
    offset_path,
    segments,
    store_committed,
    writers,
)
from proxy.journal.writer_sessions import CrashWatch
from proxy.private_file import write_private

logger = logging.getLogger(__name__)

READER: Final = "shipper"
"""Name under which the spool is read and committed."""
STATUS: Final = "shipper-status.json"
"""File in the spool's folder, with the last reports: what `shadow journal ship --status` shows while the broker is away."""
POLL_S: Final = 0.05
CHECK_S: Final = 1.0
"""Interval of looking whether the broker still holds what it was given, and what the readers have committed."""
RETRY_MAX_S: Final = 2.0
REPORT_S: Final = 0.1
WRITTEN_NS: Final = 100_000_000
"""Time within which an exchange that ended is in the spool; only what ended earlier is reported as complete."""
BATCH_BYTES: Final = 1024**2
BATCH_MAX: Final = 256
"""Bundles that are appended by one command."""
CLOSE_S: Final = 10.0
"""Time for what is left in the spool when the proxy ends."""


class ShipperStatus(msgspec.Struct, frozen=True):
    """The state of one machine's shipper, as its file tells it.

    Attributes:
        at_s: time of writing, Unix seconds.
        pid: of the process.
        problem: why nothing is shipped to any stream; "" where it is.
        warnings: what is wrong with the broker's settings.
        reports: of the writers.
        bundles: bundles shipped by this process; those that were shipped again count again.
        restarts: how often the broker had lost what it was given.
    """

    at_s: float
    pid: int
    problem: str
    warnings: tuple[str, ...]
    reports: tuple[WriterReport, ...]
    bundles: int
    restarts: int


def load_status(directory: Path) -> ShipperStatus | None:
    """Return what the shipper of a spool has written last, None where there was none.

    Raises:
        JournalFormatError: the file cannot be read.
    """
    try:
        return msgspec.json.decode((directory / STATUS).read_bytes(), type=ShipperStatus)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise JournalFormatError(f"{directory / STATUS}: {error}") from error


@dataclass(slots=True)
class _ShippedWriter:
    """One writer of the spool on its way to the broker.

    Attributes:
        folder: of the writer.
        name: of the writer, unique over all machines.
        base: exchanges up to this number are done.
        tail: number of the last exchange in the broker; None where it has no log of this writer.
        cursor: reads the spool, from behind `base`; None until the broker was asked what it holds.
        ahead: number and size of each bundle in the broker that is not done.
        waiting: a bundle that was read and not taken by the broker.
        known_ns: exchanges that ended before have a number up to `shipped`.
    """

    folder: Path
    name: str
    base: int
    tail: int | None = None
    cursor: FrameCursor | None = None
    ahead: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    ahead_bytes: int = 0
    waiting: deque[tuple[Bundle, int]] = field(default_factory=deque[tuple[Bundle, int]])
    shipped: int = 0
    known_ns: int = 0

    def restart(self, tail: int | None) -> None:
        """Read the spool again from behind `base`: what the broker still has is passed over."""
        if self.cursor is not None:
            self.cursor.close()
        self.cursor = FrameCursor(self.folder, self.base)
        self.tail = tail
        self.shipped = max(self.base, tail or 0)
        self.ahead.clear()
        self.ahead_bytes = 0
        self.waiting.clear()

    def commit(self, number: int) -> None:
        """Note that every reader has committed the exchanges up to this number."""
        self.base = max(self.base, number)
        while self.ahead and self.ahead[0][0] <= self.base:
            self.ahead_bytes -= self.ahead.popleft()[1]

    def fill(self, ahead_max_bytes: int) -> Sequence[tuple[Bundle, int]]:
        """Return the next bundles, with the time at which the last exchange of each ended; none while too much is ahead.

        One bundle is read in any case: it shows the age of what waits.
        """
        assert self.cursor is not None
        size = sum(len(bundle.frame) for bundle, _ in self.waiting)
        while not self.waiting or (
            len(self.waiting) < BATCH_MAX and size < BATCH_BYTES and self.ahead_bytes + size < ahead_max_bytes
        ):
            frame = self.cursor.next_frame()
            if frame is None:
                break
            header, payload = frame
            last = header.next_sequence - 1
            if last <= self.base:
                continue
            if self.tail is not None and last <= self.tail:
                self.add_ahead(last, header.size)
                continue
            data = encode_frame(
                payload,
                count=header.count,
                first_sequence=header.first_sequence,
                last_ended_ns=header.last_ended_ns,
            )
            self.waiting.append((Bundle(last, data), header.last_ended_ns))
            size += len(data)
        return list(self.waiting) if self.ahead_bytes < ahead_max_bytes else ()

    def add_ahead(self, last: int, size: int) -> None:
        """Note a bundle that is in the broker."""
        self.ahead.append((last, size))
        self.ahead_bytes += size

    def taken(self, bundles: Sequence[tuple[Bundle, int]]) -> None:
        """Note that the broker has these bundles."""
        for bundle, ended_ns in bundles:
            self.waiting.popleft()
            self.add_ahead(bundle.last, len(bundle.frame))
            self.tail = self.shipped = bundle.last
            self.known_ns = max(self.known_ns, ended_ns)

    def oldest_ns(self) -> int:
        """Return when the first bundle that is not shipped ended, Unix nanoseconds; 0 for none."""
        if self.waiting:
            return self.waiting[0][1]
        if self.cursor is not None:
            return 0
        cursor = FrameCursor(self.folder, self.base)
        try:
            frame = cursor.next_frame()
        finally:
            cursor.close()
        return frame[0].last_ended_ns if frame is not None else 0


class Shipper:
    """Ships every writer's frames in their order. For one event loop, of a process of its own.

    Args:
        settings: section `journal`.
        broker: of the shared journal.

    Attributes:
        problem: why nothing is shipped; "" while something is.
    """

    def __init__(self, settings: JournalSettings, broker: Broker) -> None:
        self.problem = ""
        self._settings = settings
        self._directory = Path(settings.directory)
        self._crashes = CrashWatch(self._directory)
        self._broker = broker
        self._streams: dict[str, _ShippedWriter] = {}
        self._path = offset_path(self._directory, READER)
        self._committed: dict[str, int] = {}
        self._checked_at = self._reported_at = -CHECK_S
        self._clock_ahead_ns = 0
        self._warnings: tuple[str, ...] = ()
        self._bundles = 0
        self._restarts = 0
        self._host = socket.gethostname()
        self._checked = False

    async def run(self, stop: asyncio.Event) -> None:
        """Ship until `stop` is set, and then what is left, within CLOSE_S.

        One process at a time ships a spool: another one waits until it ends.
        """
        with contextlib.ExitStack() as stack:
            while (lock := _lock(self._path.with_suffix(".lock"))) is None:
                if await _stopped(stop, POLL_S):
                    return
            stack.callback(os.close, lock)
            self._committed = dict(load_committed(self._path).sequences)
            pause_s = POLL_S
            while not stop.is_set():
                moved = await self._try_round()
                pause_s = min(pause_s * 2, RETRY_MAX_S) if self.problem else POLL_S
                if not moved:
                    await _stopped(stop, pause_s)
            await self._finish()

    async def round(self) -> bool:
        """Ship what is in the spool now, as far as one command per writer takes it; return whether something was.

        Raises:
            BrokerUnavailableError: the broker did not take everything.
        """
        began_ns = time.time_ns()
        states = self._list_writers()
        if not self._checked or time.monotonic() - self._checked_at >= CHECK_S:
            await self._check()
        moved = False
        paused: set[str] = set()
        for stream in self._streams.values():
            bundles = stream.fill(self._settings.valkey.ahead_max_bytes)
            if bundles:
                await self._append(stream, bundles)
                moved = True
            elif stream.waiting:
                paused.add(stream.name)
            written = states[stream.folder.name].written
            if stream.shipped >= written or (not bundles and stream.name not in paused):
                # (or the rest is damaged)
                stream.known_ns = max(stream.known_ns, began_ns - WRITTEN_NS)
        if moved or time.monotonic() - self._reported_at >= REPORT_S:
            await self._report(states, paused)
        return moved

    async def _try_round(self) -> bool:
        try:
            moved = await self.round()
        except StreamGoneError as error:
            self._checked = False
            logger.warning("shipping_restarted", extra={"error": str(error)})
            return True
        except (BrokerUnavailableError, JournalFormatError, OSError) as error:
            self._fail(error)
            return False
        if self.problem:
            logger.info("shipping_resumed", extra={"after": self.problem})
            self.problem = ""
        return moved

    def _fail(self, error: Exception) -> None:
        """Log the first failure of a series, and look again at what the broker holds when it is back."""
        kind = "broker_full" if isinstance(error, BrokerFullError) else "broker_unavailable"
        problem = f"{kind if isinstance(error, BrokerUnavailableError) else 'spool_unreadable'}: {error}"
        if not self.problem:
            logger.error("shipping_failed", extra={"error": problem})
        self.problem = problem
        self._checked = False
        with contextlib.suppress(OSError):
            self._write_status(self._reports({}, frozenset()))

    async def _finish(self) -> None:
        """Ship the rest, and tell the readers that they need not wait for these writers."""
        deadline = time.monotonic() + CLOSE_S
        while time.monotonic() < deadline:
            if not await self._try_round() and not self.problem:
                # (everything is shipped, or the readers are too far behind)
                break
            await asyncio.sleep(POLL_S if self.problem else 0)
        try:
            states = self._list_writers()
            unshipped = {s.name: states[s.folder.name].written - s.shipped for s in self._streams.values()}
            if left := {name: count for name, count in unshipped.items() if count > 0}:
                logger.warning("spool_not_shipped", extra={"exchanges": left})
            await self._report(states, frozenset(), closing=True)
        except (BrokerUnavailableError, OSError) as error:
            logger.warning("shipping_failed", extra={"error": str(error)})

    def _list_writers(self) -> dict[str, WriterState]:
        """Return the states of the spool's writers by folder, and begin with those that are new."""
        states = {state.writer: state for state in writer_states(self._directory)}
        by_folder: dict[str, WriterState] = {}
        begun = False
        for folder in writers(self._directory):
            path = self._directory / folder
            files = segments(path)
            name = unique_name(path)
            if not files or name not in states:
                continue
            by_folder[folder] = states[name]
            stream = self._streams.get(folder)
            if stream is None or stream.name != name:
                self._streams[folder] = _ShippedWriter(path, name, self._begin(folder, first_sequence_of(files[0]) - 1))
                self._checked, begun = False, True
        for gone in self._streams.keys() - by_folder.keys():
            del self._streams[gone]
        if begun:
            self._store()
        return by_folder

    def _begin(self, folder: str, oldest: int) -> int:
        """Return the number behind which a writer is shipped.

        Of a new one that is where the readers of this machine have come to, where it had a journal of files before.
        """
        if folder not in self._committed:
            local = (
                own.sequences.get(folder, 0) for name, own in all_committed(self._directory).items() if name != READER
            )
            self._committed[folder] = max(oldest, min(local, default=0))
        return self._committed[folder]

    def _store(self) -> None:
        """Let retention delete what every reader has committed."""
        self._committed |= {folder: stream.base for folder, stream in self._streams.items()}
        store_committed(self._path, CommittedOffset(self._committed))

    async def _check(self) -> None:
        """Compare what the broker holds with what it was given, and take over what the readers have committed."""
        before_ns = time.time_ns()
        clock_ns = await self._broker.clock_ns()
        self._clock_ahead_ns = (before_ns + time.time_ns()) // 2 - clock_ns
        acknowledged = await self._broker.acknowledged()
        moved = False
        for stream in self._streams.values():
            if acknowledged.get(stream.name, 0) > stream.base:
                stream.commit(acknowledged[stream.name])
                moved = True
        if moved:
            self._store()
        tails = await self._broker.tails([stream.name for stream in self._streams.values()])
        for stream in self._streams.values():
            tail = tails.get(stream.name)
            if stream.cursor is not None and stream.tail is not None and (tail or 0) < stream.tail:
                self._restarts += 1
                logger.warning(
                    "broker_emptied", extra={"writer": stream.name, "shipped": stream.tail, "held": tail or 0}
                )
                stream.restart(tail)
            elif stream.cursor is None or stream.tail != tail:
                stream.restart(tail)
        if not self._checked:
            self._warn(await self._broker.warnings())
        self._checked, self._checked_at = True, time.monotonic()

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in set(warnings) - set(self._warnings):
            logger.warning("broker_settings_unsafe", extra={"detail": warning})
        self._warnings = tuple(warnings)

    async def _append(self, stream: _ShippedWriter, bundles: Sequence[tuple[Bundle, int]]) -> None:
        await self._broker.append(stream.name, [bundle for bundle, _ in bundles], begins=stream.tail is None)
        stream.taken(bundles)
        self._bundles += len(bundles)

    async def _report(
        self, states: dict[str, WriterState], paused: set[str] | frozenset[str], *, closing: bool = False
    ) -> None:
        reports = self._reports(states, paused, closing=closing)
        self._reported_at = time.monotonic()
        await self._broker.report(reports)
        self._write_status(reports)

    def _reports(
        self, states: dict[str, WriterState], paused: set[str] | frozenset[str], *, closing: bool = False
    ) -> list[WriterReport]:
        now_ns = time.time_ns()
        states = states or {s.folder.name: s_state for s in self._streams.values() if (s_state := _state(s))}
        reports: list[WriterReport] = []
        for stream in self._streams.values():
            state = states.get(stream.folder.name)
            if state is None:
                continue
            complete = stream.shipped >= state.written
            reports.append(
                WriterReport(
                    writer=stream.name,
                    host=self._host,
                    at_ns=now_ns,
                    clock_ahead_ns=self._clock_ahead_ns,
                    offered=state.offered,
                    written=state.written,
                    running=state.running,
                    earlier=state.earlier,
                    base=stream.base,
                    shipped=stream.shipped,
                    known_ns=stream.known_ns,
                    spool_bytes=_size(stream.folder),
                    oldest_ns=stream.oldest_ns(),
                    pause="readers_behind" if stream.name in paused else "",
                    closed=closing and complete and not state.running,
                    unjournaled=tuple(self._crashes.periods([stream.folder.name])),
                )
            )
        return reports

    def _write_status(self, reports: Sequence[WriterReport]) -> None:
        status = ShipperStatus(
            time.time(), os.getpid(), self.problem, self._warnings, tuple(reports), self._bundles, self._restarts
        )
        path = self._directory / STATUS
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        write_private(temporary, msgspec.json.encode(status))
        temporary.replace(path)


def _state(stream: _ShippedWriter) -> WriterState | None:
    states = writer_states(stream.folder.parent)
    return next((state for state in states if state.writer == stream.name), None)


def _size(folder: Path) -> int:
    """Return the bytes of a writer's segments; retention may delete some meanwhile."""
    total = 0
    for path in segments(folder):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _lock(path: Path) -> int | None:
    """Return the descriptor of the shipper's lock, None while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for the stop, at most so long; return whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
