"""The one who follows: entries in the order they were served, from a named, committed offset.

A reader sees the segments of all writers of a journal and merges them by time. Nothing is remembered in memory that matters: what
was committed is in one small file, replaced as a whole, so a killed reader begins again right after its last commit.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from comparator.exchanges.model import Exchange
from proxy.errors import JournalBusyError, JournalFormatError
from proxy.journal.format import (
    FRAME_HEADER,
    SEGMENT_HEADER,
    Record,
    decode_payload,
    exchange_of,
    intact,
    parse_frame_header,
    parse_segment_header,
)
from proxy.journal.redaction import RedactionKeys, unseal
from proxy.journal.segments import (
    CommittedOffset,
    Tails,
    first_sequence_of,
    frames,
    load_committed,
    next_frame,
    offset_path,
    segments,
    store_committed,
    writers,
)

logger = logging.getLogger(__name__)

POLL_S = 0.01
WRITERS_S = 1.0
SETTLE_NS = 100_000_000
"""How long an exchange of one of several writers is held back, so that an earlier one of another writer can come first."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader is: for each writer the sequence of the last exchange, in the reader's order."""

    sequences: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One exchange read. `sequence` counts all exchanges ever appended up to this one, over all writers.

    `record` is the exchange as it stands on the disk, its secrets redacted.
    """

    position: Position
    sequence: int
    exchange: Exchange
    record: Record | None = None


class SegmentReader:
    """Reads a journal as `name`. Use as a context manager, or `close`; one process reads under a name at a time.

    Args:
        directory: the journal's folder.
        name: whose committed offset to begin after; a new name begins with the oldest segment.
        keys: to put back what was sealed; without them the digests stand in its place.

    Raises:
        JournalBusyError: another process reads under this name.
        JournalFormatError: the offset file cannot be read.
    """

    def __init__(self, directory: Path | str, name: str, *, keys: RedactionKeys | None = None) -> None:
        self.lost = 0
        """Exchanges that were gone before they could be read: deleted unread, or damaged on disk."""
        self._directory = Path(directory)
        self._keys = keys
        self._path = offset_path(self._directory, name)
        self._lock_file = _take_lock(self._path.with_suffix(".lock"))
        committed = load_committed(self._path)
        self._committed = dict(committed.sequences)
        self._lost_before = committed.lost
        self.live_us = committed.live_us
        """The `live_us` of the last commit, see `Committed`."""
        self._cursors: dict[str, _Cursor] = {}
        self._tails = Tails(self._directory)
        self._looked_at = 0.0
        self._delivered = dict(self._committed)

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        """The next entries, oldest first; empty when nothing came within `wait_s`."""
        deadline = time.monotonic() + wait_s
        while True:
            entries = self.take(max_items)
            left_s = deadline - time.monotonic()
            if entries or left_s <= 0:
                return entries
            await asyncio.sleep(min(POLL_S, left_s))

    def take(self, max_items: int) -> list[JournalEntry]:
        """What is there now, at most `max_items`, without waiting."""
        self._look_for_writers()
        cursors = list(self._cursors.values())
        horizon_ns = time.time_ns() - SETTLE_NS if len(cursors) > 1 else None
        entries: list[JournalEntry] = []
        while len(entries) < max_items:
            cursor = min((one for one in cursors if one.fill()), key=lambda one: one.head.ended_ns, default=None)
            if cursor is None or (horizon_ns is not None and cursor.head.ended_ns > horizon_ns):
                break
            entries.append(self._entry(cursor))
        return entries

    def commit(self, position: Position | None, live_us: int = 0) -> None:
        """Store that everything up to `position` (None: as before) is done; it will not be read again under this name."""
        if position is not None:
            self._committed = dict(position.sequences)
        self.live_us = live_us
        store_committed(self._path, CommittedOffset(self._committed, self._lost_before + self.lost, live_us))

    @property
    def committed_sequence(self) -> int:
        """How many of the exchanges ever appended are committed (or lost) for this reader."""
        return sum(self._committed.values())

    def tail_sequence(self) -> int:
        """How many exchanges were ever appended: minus `committed_sequence`, what this reader still has to do."""
        return sum(self._tails.look().values())

    def seek_to_end(self) -> None:
        """Go on after everything that is on disk now, uncommitted."""
        self._delivered = self._tails.look()
        self._cursors.clear()
        self._looked_at = 0.0

    def close(self) -> None:
        """Let the name go. Idempotent."""
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

    def _look_for_writers(self) -> None:
        now = time.monotonic()
        if self._cursors and now - self._looked_at < WRITERS_S:
            return
        self._looked_at = now
        for writer in writers(self._directory):
            files = segments(self._directory / writer)
            if not files:
                continue
            if writer not in self._delivered:
                # What retention deleted before this reader had a name was never its to read.
                self._committed[writer] = self._delivered[writer] = first_sequence_of(files[0]) - 1
            if writer not in self._cursors:
                self._cursors[writer] = _Cursor(self._directory / writer, self._delivered.get(writer, 0))

    def _entry(self, cursor: "_Cursor") -> JournalEntry:
        sequence, record = cursor.pop()
        before = self._delivered.get(cursor.writer, 0)
        self.lost += sequence - before - 1
        self._delivered[cursor.writer] = sequence
        exchange = exchange_of(unseal(record, self._keys) if self._keys else record)
        return JournalEntry(Position(tuple(self._delivered.items())), sum(self._delivered.values()), exchange, record)


class _Cursor:
    """Where a reader is in one writer's segments. Holds the records of one frame at a time."""

    def __init__(self, folder: Path, done: int) -> None:
        self.writer = folder.name
        self._folder = folder
        self._next = done + 1
        self._records: deque[tuple[int, Record]] = deque()
        self._file: int | None = None
        self._path: Path | None = None
        self._offset = 0

    @property
    def head(self) -> Record:
        """The next record; only after `fill` said that there is one."""
        return self._records[0][1]

    def pop(self) -> tuple[int, Record]:
        """Take the next record with its sequence."""
        return self._records.popleft()

    def fill(self) -> bool:
        """Have a record at hand if there is one on disk."""
        while not self._records:
            if self._file is None and not self._open_at(self._next):
                return False
            if not self._read_frame() and not self._advance():
                return False
        return True

    def close(self) -> None:
        """Let the open segment go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open_at(self, sequence: int) -> bool:
        """Open the segment that holds `sequence`, or the first after it."""
        files = segments(self._folder)
        if not files:
            return False
        holding = [path for path in files if first_sequence_of(path) <= sequence]
        return self._open(holding[-1] if holding else files[0])

    def _open(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        header = os.pread(descriptor, SEGMENT_HEADER.size, 0)
        if len(header) < SEGMENT_HEADER.size:
            os.close(descriptor)
            return False
        try:
            parse_segment_header(header)
        except JournalFormatError:
            os.close(descriptor)
            raise
        self.close()
        self._file, self._path = descriptor, path
        self._offset = next((offset for offset, frame in frames(path) if frame.next_sequence > self._next), 0)
        self._offset = self._offset or SEGMENT_HEADER.size
        return True

    def _read_frame(self) -> bool:
        """Read the frame at the offset; False when there is no whole one yet."""
        assert self._file is not None
        header = parse_frame_header(os.pread(self._file, FRAME_HEADER.size, self._offset))
        if header is None:
            return False
        payload = os.pread(self._file, header.payload_bytes, self._offset + FRAME_HEADER.size)
        if not intact(header, payload):
            return False
        self._offset += header.size
        for index, record in enumerate(decode_payload(payload)):
            sequence = header.first_sequence + index
            if sequence >= self._next:
                self._records.append((sequence, record))
        self._next = max(self._next, header.next_sequence)
        return True

    def _advance(self) -> bool:
        """Nothing whole at the offset: skip damage, go to the next segment, or wait (False) at the journal's end."""
        assert self._path is not None
        later = [path for path in segments(self._folder) if path > self._path]
        if not later and self._path.exists():
            return self._skip_damage()
        if self._skip_damage():
            return True
        if not later:
            self.close()
            return False
        return self._open(later[0])

    def _skip_damage(self) -> bool:
        """Go to the next intact frame of this segment if one follows."""
        assert self._path is not None
        assert self._file is not None
        if os.fstat(self._file).st_size <= self._offset:
            return False
        try:
            following = next_frame(self._path, self._offset)
        except FileNotFoundError:
            return False
        if following is None:
            return False
        if following > self._offset:
            skipped = following - self._offset
            logger.warning("journal_damage_skipped", extra={"path": str(self._path), "bytes": skipped})
        self._offset = following
        return True


def backlog(directory: Path, committed: Mapping[str, int]) -> int:
    """Exchanges on disk after the committed offsets."""
    return sum(max(0, tail - committed.get(writer, 0)) for writer, tail in Tails(directory).look().items())


def _take_lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise JournalBusyError(
            f"another process reads the journal as {path.stem} already: another runner is up, or runner.name is not its own"
        ) from error
    return descriptor
