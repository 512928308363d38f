"""Segment files on disk: their names, iteration over frames, repair of a torn tail, the committed offsets of readers.

    var/journal/
        key, key.5b0a7c1e              the active key and an older one, mode 0600
        w0/lock                        locked by the process that writes here
        w0/00000000000000000001.seg    exchanges 1 to 4711 of this writer
        w0/00000000000000004712.seg    the next ones; the newest segment is the open one
        w1/...                         another writer
        readers/mirror.json            {"sequences":{"w0":4650,"w1":310},"lost":0,"live_us":0}
        readers/mirror.lock            locked by the process that reads under this name

Each process of the proxy is a writer, and numbers its exchanges with a sequence of its own.
"""

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from proxy.errors import JournalFormatError, SettingsError
from proxy.journal.format import (
    FRAME_HEADER,
    FRAME_MAGIC,
    SEGMENT_HEADER,
    SEGMENT_SUFFIX,
    FrameHeader,
    intact,
    parse_frame_header,
    parse_segment_header,
)
from proxy.private_file import open_regular, read_small, write_private

logger = logging.getLogger(__name__)

READERS = "readers"
SEARCHED_BYTES = 1024**2
"""Bytes that are looked through at a time for the next frame behind damage."""
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class TornTail:
    """The bytes after the last whole frame of a segment, which recovery cut off."""

    path: Path
    kept_bytes: int
    lost_bytes: int


class CommittedOffset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The offset file of a reader.

    Attributes:
        sequences: of the last exchange that is done, by writer.
        lost: exchanges that could not be read, so far.
        live_us: Unix microseconds up to which the live database's commits are dealt with too; 0 for unknown.
    """

    sequences: dict[str, int]
    lost: int = 0
    live_us: int = 0


def writers(directory: Path) -> list[str]:
    """Return the names of the writers that ever wrote here, sorted."""
    if not directory.is_dir():
        return []
    return sorted(child.name for child in directory.iterdir() if child.is_dir() and child.name != READERS)


def require_journal(directory: Path) -> None:
    """Refuse a folder that is not a journal's: a mistyped name would look like an empty journal.

    Raises:
        SettingsError: it is not; the message says why.
    """
    if not directory.is_dir():
        raise SettingsError(f"no journal at {directory}; `shadow proxy` makes it when it starts")
    if any((directory / name / LOCK).exists() or segments(directory / name) for name in writers(directory)):
        return
    if segments(directory):
        raise SettingsError(f"{directory} is the folder of one writer; the journal is {directory.parent}")
    if not (directory / READERS).is_dir() and any(directory.iterdir()):
        raise SettingsError(f"{directory} is not the folder of a journal: it holds files but no segments")


def segment_fault(path: Path) -> str | None:
    """Return why a file cannot be read as a segment; None when it can. An empty file is a segment that was just made."""
    try:
        with _open(path) as file:
            data = file.read(SEGMENT_HEADER.size)
        if data:
            parse_segment_header(data)
    except JournalFormatError as error:
        return str(error)
    except OSError as error:
        return str(error.strerror)
    return None


def is_locked(path: Path) -> bool:
    """Return whether a live process holds this lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def segment_path(folder: Path, first_sequence: int) -> Path:
    """Return the path of the segment whose first exchange has this sequence."""
    return folder / f"{first_sequence:020d}{SEGMENT_SUFFIX}"


def first_sequence_of(path: Path) -> int:
    """Return the sequence in a segment's name."""
    return int(path.stem)


def segments(folder: Path) -> list[Path]:
    """Return a writer's segments, oldest first."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    return sorted(path for path in paths if path.suffix == SEGMENT_SUFFIX and path.stem.isdigit() and is_file(path))


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file: whatever else has the name of a segment holds nothing, and its numbers are missing."""
    try:
        return path.is_file()
    except OSError:  # (a link to itself)
        return False


def _open(path: Path) -> BinaryIO:
    return os.fdopen(open_regular(path), "rb")


def frames(path: Path, *, offset: int = 0) -> Iterator[tuple[int, FrameHeader]]:
    """Yield offset and header of each frame from `offset` on, without reading payloads; skip damage up to the next intact frame."""
    with _open(path) as file:
        position: int | None = max(offset, SEGMENT_HEADER.size)
        # The size is read again each time: a frame that was half written may have become whole during the search for the next one.
        while position is not None and position < (size := os.fstat(file.fileno()).st_size):
            file.seek(position)
            header = parse_frame_header(file.read(FRAME_HEADER.size))
            if header is None or position + header.size > size:
                position = next_frame(path, position)
                continue
            yield position, header
            position += header.size


def read_payload(path: Path, offset: int, header: FrameHeader) -> bytes | None:
    """Return the payload of the frame at `offset`; None when it does not match its checksum."""
    with _open(path) as file:
        file.seek(offset + FRAME_HEADER.size)
        payload = file.read(header.payload_bytes)
    return payload if intact(header, payload) else None


def next_frame(path: Path, offset: int) -> int | None:
    """Return the offset of the first whole frame at `offset` or after damage there; None when none follows.

    It may be `offset` itself: a frame that was half written a moment ago may be whole now.
    """
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = offset
        while start < size:
            try:
                # (a hole of a sparse file may be larger than any disk)
                start = os.lseek(file.fileno(), start, os.SEEK_DATA)
            except OSError:
                return None
            file.seek(start)
            block = file.read(SEARCHED_BYTES + len(FRAME_MAGIC) - 1)
            position = block.find(FRAME_MAGIC)
            while position >= 0:
                file.seek(start + position)
                header = parse_frame_header(file.read(FRAME_HEADER.size))
                # (damage may claim any length)
                if (
                    header
                    and start + position + header.size <= size
                    and intact(header, file.read(header.payload_bytes))
                ):
                    return start + position
                position = block.find(FRAME_MAGIC, position + 1)
            # Blocks overlap by less than the mark: one that lies across two of them is found in the second.
            start += SEARCHED_BYTES
    return None


def next_sequence(path: Path) -> int:
    """Return the sequence after the last exchange of a segment."""
    sequence = first_sequence_of(path)
    for _, header in frames(path):
        sequence = header.next_sequence
    return sequence


def repair(path: Path) -> TornTail | None:
    """Cut off what follows the last intact frame of a segment; return what was cut, None for nothing.

    Raises:
        JournalFormatError: it is not a segment of this format version; the file is unchanged.
    """
    size = path.stat().st_size
    kept = 0
    try:
        with _open(path) as file:
            parse_segment_header(file.read(SEGMENT_HEADER.size))
        kept = SEGMENT_HEADER.size
    except JournalFormatError:
        if size >= SEGMENT_HEADER.size:
            raise
    for offset, header in frames(path) if kept else ():
        if read_payload(path, offset, header) is not None:
            kept = offset + header.size
    if kept == size:
        return None
    os.truncate(path, kept)
    return TornTail(path, kept, size - kept)


class Tails:
    """The last sequences of all writers. Each `read` looks at the frame headers written since the one before only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[str, tuple[Path, int, int]] = {}

    def read(self) -> dict[str, int]:
        """Return the sequence of the last exchange on disk, by writer."""
        return {writer: self._read_writer(writer) for writer in writers(self._directory)}

    def _read_writer(self, writer: str) -> int:
        files = segments(self._directory / writer)
        if not files:
            return 0
        path, offset, sequence = self._seen.get(writer, (files[-1], 0, 0))
        if path != files[-1] or not sequence:
            path, offset, sequence = files[-1], 0, first_sequence_of(files[-1])
        try:
            for position, header in frames(path, offset=offset):
                offset, sequence = position + header.size, header.next_sequence
        except FileNotFoundError:
            # Retention deleted it after the listing.
            return sequence - 1
        self._seen[writer] = (path, offset, sequence)
        return sequence - 1


def offset_path(directory: Path, reader: str) -> Path:
    """Return the path of a reader's offset file."""
    return directory / READERS / f"{reader}.json"


def load_committed(path: Path) -> CommittedOffset:
    """Return a reader's committed offsets; none for a new reader.

    Raises:
        JournalFormatError: it is not an offset file.
    """
    try:
        return msgspec.json.decode(read_small(path), type=CommittedOffset)
    except FileNotFoundError:
        return CommittedOffset({})
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise JournalFormatError(f"{path}: {error}") from error


def store_committed(path: Path, committed: CommittedOffset) -> None:
    """Replace the offset file atomically, so that a kill leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write_private(temporary, msgspec.json.encode(committed))
    temporary.replace(path)


def all_committed(directory: Path) -> Mapping[str, CommittedOffset]:
    """Return the committed offsets of every reader, by its name."""
    folder = directory / READERS
    if not folder.is_dir():
        return {}
    return {path.stem: load_committed(path) for path in sorted(folder.glob("*.json")) if not path.name.startswith(".")}


def highest_committed(directory: Path, writer: str) -> int:
    """Return the last sequence of a writer that any reader has committed, 0 for none. Unreadable offset files are ignored."""
    highest = 0
    for path in (directory / READERS).glob("*.json"):
        try:
            highest = max(highest, load_committed(path).sequences.get(writer, 0))
        except JournalFormatError as error:
            logger.error("journal_offsets_ignored", extra={"path": str(path), "error": str(error)})
    return highest


def backlog(directory: Path, committed: Mapping[str, int]) -> int:
    """Return the number of exchanges on disk after these committed offsets."""
    return sum(max(0, tail - committed.get(writer, 0)) for writer, tail in Tails(directory).read().items())
