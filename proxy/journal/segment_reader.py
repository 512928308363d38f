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
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.errors import JournalBusyError, JournalFormatError, JournalKeyError, SealedError
from proxy.journal.driver import JournalEntry, JournalPosition, UnreadCause, UnreadRange
from proxy.journal.format import (
    FRAME_HEADER,
    SEGMENT_HEADER,
    FrameHeader,
    Record,
    exchange_of,
    intact,
    parse_frame_header,
    parse_segment_header,
)
from proxy.journal.offer_mark import offered, read_folder_id
from proxy.journal.reconciliation import WriterState
from proxy.journal.sealing import JournalKeys, key_id_of, records_of, unseal
from proxy.journal.segments import (
    LOCK,
    CommittedOffset,
    Tails,
    first_sequence_of,
    frames,
    is_locked,
    load_committed,
    next_frame,
    offset_path,
    segments,
    store_committed,
    writers,
)
from proxy.private_file import open_regular

logger = logging.getLogger(__name__)

POLL_S = 0.01
WRITERS_POLL_S = 1.0
KEYS_POLL_S = 1.0
REORDER_NS = 100_000_000
"""Delay of an exchange of one of several writers, so that an earlier one of another writer can come first."""


@dataclass(frozen=True, slots=True)
class SegmentPosition:
    """A place in a reader's order: the sequence of the last exchange of each writer."""

    sequences: tuple[tuple[str, int], ...]

    @property
    def sequence(self) -> int:
        """Number of exchanges up to this place, over all writers."""
        return sum(sequence for _, sequence in self.sequences)


class SegmentReader:
    """Read a journal under a name. Use as a context manager, or call `close`.

    Args:
        directory: the journal's folder.
        name: of the consumer; a new one begins with the oldest segment.
        keys: open what is sealed.
        load_keys: returns the keys as they are now, when a frame is sealed with another one; None for a reader that keeps its keys.
        skip_undecodable: note an exchange that cannot be decoded as unread and go on, instead of raising the error at each start.

    Attributes:
        lost: exchanges that could not be read: deleted before, or damaged on disk.
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
        self.lost = 0
        self._directory = Path(directory)
        self._keys = _LoadedKeys(keys, load_keys)
        self._skip_undecodable = skip_undecodable
        self._path = offset_path(self._directory, name)
        self._lock_file = _lock(self._path.with_suffix(".lock"))
        committed = load_committed(self._path)
        self._committed = dict(committed.sequences)
        self._lost_before = committed.lost
        self.live_us = committed.live_us
        self._cursors: dict[str, _Cursor] = {}
        self._tails = Tails(self._directory)
        self._listed_at = 0.0
        self._delivered = dict(self._committed)
        self._begun = dict(self._committed)
        self._unread: list[UnreadRange] = []
        self._names: dict[str, str] = {}

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
        entries: list[JournalEntry] = []
        while len(entries) < max_items:
            filled = (cursor for cursor in cursors if cursor.fill())
            cursor = min(filled, key=lambda cursor: cursor.head.ended_ns, default=None)
            if cursor is None or (horizon_ns is not None and cursor.head.ended_ns > horizon_ns and cursor.is_fresh):
                break
            entry = self._entry(cursor)
            if entry is not None:
                entries.append(entry)
        return entries

    def take_unread(self) -> list[UnreadRange]:
        """Return what could not be read since the last call."""
        unread, self._unread = self._unread, []
        return unread

    def begun_numbers(self) -> dict[str, int]:
        """Return the number behind which this reader began to read, by writer."""
        return {self._name_of(writer): sequence for writer, sequence in self._begun.items()}

    def commit(self, position: JournalPosition | None, live_us: int = 0) -> None:
        """Store that everything up to `position` is done (None: what was committed before)."""
        if position is not None:
            assert isinstance(position, SegmentPosition), "the position is not of a SegmentReader"
            self._committed = dict(position.sequences)
        self.live_us = live_us
        store_committed(self._path, CommittedOffset(self._committed, self._lost_before + self.lost, live_us))

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
        for writer in writers(self._directory):
            files = segments(self._directory / writer)
            if not files:
                continue
            if writer not in self._delivered:
                # A new reader has not lost what retention deleted before.
                self._committed[writer] = self._delivered[writer] = first_sequence_of(files[0]) - 1
                self._begun[writer] = self._committed[writer]
            if writer not in self._cursors:
                self._cursors[writer] = _Cursor(self._directory / writer, self._delivered.get(writer, 0), self._keys)

    def _entry(self, cursor: "_Cursor") -> JournalEntry | None:
        """Return the next exchange of a writer; None, and note it as unread, if it cannot be decoded."""
        sequence, record = cursor.pop()
        before = self._delivered.get(cursor.writer, 0)
        writer = self._name_of(cursor.writer)
        self._note_unread(writer, before + 1, sequence - 1, UnreadCause.LOST)
        self._delivered[cursor.writer] = sequence
        if isinstance(record, _Unopened):
            if not self._skip_undecodable:
                raise record.error
            self._note_unread(writer, sequence, sequence, UnreadCause.UNDECODABLE)
            return None
        try:
            record = unseal(record, self._keys.known) if self._keys.known else record
            exchange = exchange_of(record)
        except Exception as error:
            if not self._skip_undecodable:
                raise
            logger.exception("exchange_undecodable", extra={"writer": writer, "number": sequence, "error": str(error)})
            self._note_unread(writer, sequence, sequence, UnreadCause.UNDECODABLE)
            return None
        position = SegmentPosition(tuple(self._delivered.items()))
        return JournalEntry(position, position.sequence, exchange, record, writer, sequence)

    def _note_unread(self, writer: str, first: int, last: int, cause: UnreadCause) -> None:
        if first > last:
            return
        self.lost += last - first + 1
        before = self._unread[-1] if self._unread else None
        if before and (before.writer, before.last, before.cause) == (writer, first - 1, cause):
            first = self._unread.pop().first
        self._unread.append(UnreadRange(writer, first, last, cause))

    def _name_of(self, writer: str) -> str:
        """Return a writer's name with the id of its folder, so that another journal at the same place has other names."""
        if writer not in self._names:
            self._names[writer] = unique_name(self._directory / writer)
        return self._names[writer]


@dataclass(frozen=True, slots=True)
class _Unopened:
    """An exchange of a frame whose key is not here."""

    ended_ns: int
    error: SealedError


class _LoadedKeys:
    """The keys of a reader; loaded again when a frame needs another one, at most every KEYS_POLL_S.

    Args:
        known: those of the start.
        load: returns those of now.
    """

    def __init__(self, known: JournalKeys | None, load: Callable[[], JournalKeys] | None) -> None:
        self.known = known
        self._load = load
        self._loaded_at = -KEYS_POLL_S

    def for_payload(self, payload: bytes) -> JournalKeys | None:
        """Return the keys, the one of this payload among them if it can be found."""
        key_id = key_id_of(payload)
        missing = key_id is not None and (self.known is None or self.known.find(key_id) is None)
        now = time.monotonic()
        if missing and self._load and now - self._loaded_at >= KEYS_POLL_S:
            self._loaded_at = now
            try:
                self.known = self._load()
            except JournalKeyError as error:
                logger.error("journal_keys_not_loaded", extra={"key": key_id, "error": str(error)})
        return self.known


class _Cursor:
    """The place of a reader in one writer's segments. Holds the records of one frame at a time.

    Args:
        folder: of the writer.
        done: sequence of the last exchange that was read.
        keys: open its frames.
    """

    def __init__(self, folder: Path, done: int, keys: "_LoadedKeys") -> None:
        self.writer = folder.name
        self._folder = folder
        self._next = done + 1
        self._keys = keys
        self._records: deque[tuple[int, Record | _Unopened]] = deque()
        self._file: int | None = None
        self._path: Path | None = None
        self._offset = 0
        self._read_at_ns = 0

    @property
    def head(self) -> "Record | _Unopened":
        """The next record; call `fill` first."""
        return self._records[0][1]

    @property
    def is_fresh(self) -> bool:
        """True while the frame of the next record was read less than REORDER_NS ago."""
        return time.monotonic_ns() - self._read_at_ns < REORDER_NS

    def pop(self) -> "tuple[int, Record | _Unopened]":
        """Remove and return the next record with its sequence."""
        return self._records.popleft()

    def fill(self) -> bool:
        """Return whether there is a next record, reading a frame if none is held."""
        while not self._records:
            if self._file is None and not self._open_at(self._next):
                return False
            if not self._read_frame() and not self._advance():
                return False
        return True

    def close(self) -> None:
        """Close the open segment."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open_at(self, sequence: int) -> bool:
        """Open the segment that holds `sequence`, or the first one when that was deleted."""
        files = segments(self._folder)
        if not files:
            return False
        begun_before = [path for path in files if first_sequence_of(path) <= sequence]
        return self._open_first(files[max(0, len(begun_before) - 1) :])

    def _open_first(self, paths: Sequence[Path]) -> bool:
        """Open the first of the segments that has a header.

        One without is being made, or was abandoned on a full disk, and then there is a later one: 0067.seg (empty), 0073.seg.
        """
        return any(self._open(path) for path in paths)

    def _open(self, path: Path) -> bool:
        try:
            descriptor = open_regular(path)
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
        """Read the frame at the offset; return False when there is no whole one yet."""
        assert self._file is not None
        header = parse_frame_header(os.pread(self._file, FRAME_HEADER.size, self._offset))
        if header is None:
            return False
        payload = os.pread(self._file, header.payload_bytes, self._offset + FRAME_HEADER.size)
        if not intact(header, payload):
            return False
        self._offset += header.size
        self._read_at_ns = time.monotonic_ns()
        for index, record in enumerate(self._decoded(header, payload)):
            sequence = header.first_sequence + index
            if sequence >= self._next:
                self._records.append((sequence, record))
        self._next = max(self._next, header.next_sequence)
        return True

    def _decoded(self, header: FrameHeader, payload: bytes) -> "Sequence[Record | _Unopened]":
        """Return the records of a frame; nothing, and the gap is found later, if they cannot be decoded."""
        try:
            return records_of(header, payload, self._keys.for_payload(payload))
        except SealedError as error:
            lost = {"path": str(self._path), "first": header.first_sequence, "count": header.count}
            logger.error("journal_frame_sealed", extra={**lost, "error": str(error)})
            return [_Unopened(header.last_ended_ns, error)] * header.count
        except Exception as error:
            logger.exception(
                "journal_frame_undecodable",
                extra={
                    "path": str(self._path),
                    "first": header.first_sequence,
                    "count": header.count,
                    "error": str(error),
                },
            )
            return ()

    def _advance(self) -> bool:
        """Skip damage at the offset or go to the next segment; return False at the end of the journal."""
        assert self._path is not None
        later = [path for path in segments(self._folder) if path > self._path]
        if not later and self._path.exists():
            return self._skip_damage()
        if self._skip_damage():
            return True
        if not later:
            self.close()
            return False
        return self._open_first(later)

    def _skip_damage(self) -> bool:
        """Go to the next intact frame of this segment; return False when none follows."""
        assert self._path is not None
        assert self._file is not None
        if os.fstat(self._file).st_size <= self._offset:
            return False
        try:
            offset = next_frame(self._path, self._offset)
        except FileNotFoundError:
            return False
        if offset is None:
            return False
        if offset > self._offset:
            skipped = offset - self._offset
            logger.warning("journal_damage_skipped", extra={"path": str(self._path), "bytes": skipped})
        self._offset = offset
        return True


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
