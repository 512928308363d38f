"""Read the journal as a named consumer with a committed offset, merging all writers by time.

The only state that matters is the offset file, which is replaced atomically: a killed reader continues after its last commit.

Each writer's segments are in the order in which its exchanges ended, so the merge takes the earliest head. Two writers, with the
sequence and `ended_ns` of each exchange, and a clock that shows 300 ms:

    w0   1: 100 ms   2: 180 ms   3: 290 ms
    w1   1: 150 ms

    take() returns w0/1, w1/1, w0/2, with the positions {w0: 1}, {w0: 1, w1: 1}, {w0: 2, w1: 1}

w0/3 is held back until 390 ms (REORDER_NS): w1 may still be writing an exchange that ended before it. It is held back no longer than that
since it was read, whatever the clocks say: one may have jumped. With one writer nothing is held back.
"""

import asyncio
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.errors import JournalBusyError
from proxy.journal.delivery import Deliveries, LoadedKeys, MergedPosition, Unopened
from proxy.journal.driver import JournalEntry, JournalPosition, UnjournaledPeriod, UnreadRange
from proxy.journal.format import Record
from proxy.journal.frame_cursor import FrameCursor
from proxy.journal.offer_mark import offered, read_folder_id
from proxy.journal.reconciliation import WriterState
from proxy.journal.sealing import JournalKeys
from proxy.journal.segments import (
    LOCK,
    CommittedOffset,
    Tails,
    first_sequence_of,
    is_locked,
    load_committed,
    offset_path,
    segments,
    store_committed,
    writers,
)
from proxy.journal.writer_progress import WriterProgress
from proxy.journal.writer_sessions import CrashWatch

POLL_S = 0.01
WRITERS_POLL_S = 1.0
REORDER_NS = 100_000_000
"""Delay of an exchange of one of several writers, so that an earlier one of another writer can come first."""


class SegmentReader:
    """Read a journal under a name. Use as a context manager, or call `close`.

    Args:
        directory: the journal's folder.
        name: of the consumer; a new one begins with the oldest segment.
        keys: open what is sealed.
        load_keys: returns the keys as they are now, when a frame is sealed with another one; None for a reader that keeps its keys.
        skip_undecodable: note an exchange that cannot be decoded as unread and go on, instead of raising the error at each start.

    Attributes:
        live_us: the `live_us` of the last commit.

    Raises:
        JournalBusyError: another process reads under this name.
        JournalFormatError: the offset file cannot be read.
    """

    def __init__(
        self,
        directory: Path | str,
        name: str,
        *,
        keys: JournalKeys | None = None,
        load_keys: Callable[[], JournalKeys] | None = None,
        skip_undecodable: bool = False,
    ) -> None:
        self._directory = Path(directory)
        self._keys = LoadedKeys(keys, load_keys)
        self._path = offset_path(self._directory, name)
        self._lock_file = _lock(self._path.with_suffix(".lock"))
        committed = load_committed(self._path)
        self._committed = dict(committed.sequences)
        self._lost_before = committed.lost
        self.live_us = committed.live_us
        self._cursors: dict[str, _Cursor] = {}
        self._tails = Tails(self._directory)
        self._listed_at = 0.0
        self._deliveries = Deliveries(self._committed, self._keys, skip_undecodable=skip_undecodable)
        self._names: dict[str, str] = {}
        self._writers: list[str] = []
        self._crashes = CrashWatch(self._directory)
        self._crash_periods: list[UnjournaledPeriod] = []
        self._looked_us, self._looked_s = 0, 0.0
        self._progress = WriterProgress(self._directory)

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        """Return the next entries, oldest first; an empty list when none arrived within `wait_s`."""
        deadline = time.monotonic() + wait_s
        while True:
            entries = self.take(max_items)
            left_s = deadline - time.monotonic()
            if entries or left_s <= 0:
                return entries
            await asyncio.sleep(min(POLL_S, left_s))

    def take(self, max_items: int) -> list[JournalEntry]:
        """Return what is on disk now, at most `max_items`, without waiting."""
        self._list_writers()
        cursors = list(self._cursors.values())
        horizon_ns = time.time_ns() - REORDER_NS if len(cursors) > 1 else None
        self._progress.sample(self._writers)
        entries: list[JournalEntry] = []
        while len(entries) < max_items:
            filled = (cursor for cursor in cursors if cursor.fill())
            cursor = min(filled, key=lambda cursor: cursor.head.ended_ns, default=None)
            if cursor is None or (horizon_ns is not None and cursor.head.ended_ns > horizon_ns and cursor.is_fresh):
                break
            entry = self._entry(cursor)
            if entry is not None:
                entries.append(entry)
        here = {cursor.writer for cursor in cursors if cursor.fill()}
        self._progress.advance(self._deliveries.numbers, self._deliveries.ended_us, here)
        return entries

    def take_unread(self) -> list[UnreadRange]:
        """Return what could not be read since the last call."""
        return self._deliveries.take_unread()

    def begun_numbers(self) -> dict[str, int]:
        """Return the number behind which this reader began to read, by writer."""
        return {self._name_of(writer): sequence for writer, sequence in self._deliveries.begun.items()}

    def commit(self, position: JournalPosition | None, live_us: int = 0) -> None:
        """Store that everything up to `position` is done (None: what was committed before)."""
        if position is not None:
            assert isinstance(position, MergedPosition), "the position is not of a SegmentReader"
            self._committed = dict(position.sequences)
        self.live_us = live_us
        store_committed(self._path, CommittedOffset(self._committed, self._lost_before + self.lost, live_us))

    def complete_us(self, read_from_us: int) -> int:
        """Return the time before which every exchange that ended has been returned, at most `read_from_us`."""
        return min(read_from_us, self._progress.complete_us())

    def settled_us(self) -> int:
        """Return the time before which every request that began has been returned; 0 where it is not known."""
        return self._progress.settled_us()

    def has_several_writers(self) -> bool:
        """Return whether several processes write, or have written."""
        return len(self._writers) > 1

    def unjournaled(self, ended_us: int) -> list[UnjournaledPeriod]:
        """Return the times in which requests ran that are in no journal, or are late.

        Folders and locks are looked at again only where the last look was before `ended_us`, or before the marks of the writers were: a
        writer that is gone by its mark is not awaited any more, so it has to be known by then that its process was killed.
        """
        if self._looked_us <= ended_us or self._looked_s <= self._progress.sampled_s:
            self._looked_us, self._looked_s = time.time_ns() // 1_000, time.monotonic()
            self._crash_periods = self._crashes.periods(writers(self._directory))
        return [*self._crash_periods, *self._progress.late()]

    @property
    def lost(self) -> int:
        """Exchanges that could not be read: deleted before, or damaged on disk."""
        return self._deliveries.lost

    @property
    def committed_sequence(self) -> int:
        """Number of exchanges, of all ever appended, that are committed or lost for this reader."""
        return sum(self._committed.values())

    def tail_sequence(self) -> int:
        """Return how many exchanges were ever appended."""
        return sum(self._tails.read().values())

    def close(self) -> None:
        """Release the name. Idempotent."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
        for cursor in self._cursors.values():
            cursor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _list_writers(self) -> None:
        now = time.monotonic()
        if self._cursors and now - self._listed_at < WRITERS_POLL_S:
            return
        self._listed_at = now
        self._writers = writers(self._directory)
        for writer in self._writers:
            files = segments(self._directory / writer)
            if not files:
                continue
            if writer not in self._deliveries.numbers:
                # A new reader has not lost what retention deleted before.
                self._committed[writer] = first_sequence_of(files[0]) - 1
                self._deliveries.begin(writer, self._committed[writer])
            if writer not in self._cursors:
                self._cursors[writer] = _Cursor(self._directory / writer, self._deliveries.numbers[writer], self._keys)

    def _entry(self, cursor: "_Cursor") -> JournalEntry | None:
        sequence, record = cursor.pop()
        return self._deliveries.entry(cursor.writer, sequence, record, name=self._name_of(cursor.writer))

    def _name_of(self, writer: str) -> str:
        """Return a writer's name with the id of its folder, so that another journal at the same place has other names."""
        if writer not in self._names:
            self._names[writer] = unique_name(self._directory / writer)
        return self._names[writer]


class _Cursor:
    """The place of a reader in one writer's segments. Holds the records of one frame at a time.

    Args:
        folder: of the writer.
        done: sequence of the last exchange that was read.
        keys: open its frames.
    """

    def __init__(self, folder: Path, done: int, keys: LoadedKeys) -> None:
        self.writer = folder.name
        self._next = done + 1
        self._keys = keys
        self._frames = FrameCursor(folder, done)
        self._records: deque[tuple[int, Record | Unopened]] = deque()
        self._read_at_ns = 0

    @property
    def head(self) -> Record | Unopened:
        """The next record; call `fill` first."""
        return self._records[0][1]

    @property
    def is_fresh(self) -> bool:
        """True while the frame of the next record was read less than REORDER_NS ago."""
        return time.monotonic_ns() - self._read_at_ns < REORDER_NS

    def pop(self) -> tuple[int, Record | Unopened]:
        """Remove and return the next record with its sequence."""
        return self._records.popleft()

    def fill(self) -> bool:
        """Return whether there is a next record, reading a frame if none is held."""
        while not self._records:
            frame = self._frames.next_frame()
            if frame is None:
                return False
            header, payload = frame
            self._read_at_ns = time.monotonic_ns()
            for index, record in enumerate(self._keys.records(header, payload, place=str(self._frames.path))):
                sequence = header.first_sequence + index
                if sequence >= self._next:
                    self._records.append((sequence, record))
            self._next = max(self._next, header.next_sequence)
        return True

    def close(self) -> None:
        """Close the open segment."""
        self._frames.close()


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise JournalBusyError(
            f"another process reads the journal as {path.stem!r}: stop the other runner, or give this one a runner.name of its own"
        ) from error
    return descriptor


def writer_states(directory: Path) -> list[WriterState]:
    """Return the state of every writer of a journal, as its folders and its shared memory show it."""
    tails = Tails(directory).read()
    states: list[WriterState] = []
    for writer, written in tails.items():
        folder = directory / writer
        marks = offered(folder)
        states.append(
            WriterState(
                unique_name(folder),
                offered=marks.last if marks else None,
                written=written,
                running=is_locked(folder / LOCK),
                earlier=marks.earlier if marks else 0,
            )
        )
    return states


def unique_name(folder: Path) -> str:
    """Return a writer's name with the id of its folder, so that another journal at the same place has other names."""
    identity = read_folder_id(folder)
    return f"{folder.name}-{identity[:8]}" if identity else folder.name
