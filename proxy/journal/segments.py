"""Segment files on disk: their names, walking their frames, repairing a torn tail, the readers' committed offsets."""

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

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

logger = logging.getLogger(__name__)

READERS = "readers"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class TornTail:
    """What recovery cut from a segment's end: the bytes after the last whole frame."""

    path: Path
    kept_bytes: int
    lost_bytes: int


class CommittedOffset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reader's offset file: for each writer, the sequence of the last exchange done.

    `live_us`: live's commits up to this Unix time are dealt with too, and those behind it will be delivered again; 0: not known.
    """

    sequences: dict[str, int]
    lost: int = 0
    live_us: int = 0


def writers(directory: Path) -> list[str]:
    """Names of the writers that ever wrote here, sorted."""
    if not directory.is_dir():
        return []
    return sorted(child.name for child in directory.iterdir() if child.is_dir() and child.name != READERS)


def refuse_other_folders(directory: Path) -> None:
    """Say what is wrong with a folder that is no journal's: a mistyped name looks like an empty journal otherwise.

    Raises:
        SettingsError: it is none.
    """
    if not directory.is_dir():
        raise SettingsError(f"{directory}: there is no journal; it is made when `shadow proxy` starts")
    if any((directory / name / LOCK).exists() or segments(directory / name) for name in writers(directory)):
        return
    if segments(directory):
        raise SettingsError(f"{directory} is the folder of one writer; the journal is {directory.parent}")
    if not (directory / READERS).is_dir() and any(directory.iterdir()):
        raise SettingsError(f"{directory} is no journal's folder: it has files, and no segments")


def fault_of(path: Path) -> str:
    """Why a file is no segment that can be read here, "" when it is one. An empty one was just made."""
    try:
        with path.open("rb") as file:
            data = file.read(SEGMENT_HEADER.size)
        if data:
            parse_segment_header(data)
    except JournalFormatError as error:
        return str(error)
    except OSError as error:
        return str(error.strerror)
    return ""


def locked(path: Path) -> bool:
    """Whether a live process holds this lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def segment_path(folder: Path, first_sequence: int) -> Path:
    """The segment whose first exchange has this sequence."""
    return folder / f"{first_sequence:020d}{SEGMENT_SUFFIX}"


def first_sequence_of(path: Path) -> int:
    """The sequence that a segment's name states."""
    return int(path.stem)


def segments(folder: Path) -> list[Path]:
    """A writer's segments, oldest first."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    return sorted(path for path in paths if path.suffix == SEGMENT_SUFFIX and path.stem.isdigit())


def frames(path: Path, *, offset: int = 0) -> Iterator[tuple[int, FrameHeader]]:
    """Headers of the frames from `offset` on, without reading payloads; damage is skipped up to the next intact frame."""
    with path.open("rb") as file:
        position: int | None = max(offset, SEGMENT_HEADER.size)
        # (the size is asked each time: what was a part of a frame may have become whole while this one looked for the next)
        while position is not None and position < (size := os.fstat(file.fileno()).st_size):
            file.seek(position)
            header = parse_frame_header(file.read(FRAME_HEADER.size))
            if header is None or position + header.size > size:
                position = next_frame(path, position)
                continue
            yield position, header
            position += header.size


def read_payload(path: Path, offset: int, header: FrameHeader) -> bytes | None:
    """The payload of the frame at `offset`, None when its checksum does not hold."""
    with path.open("rb") as file:
        file.seek(offset + FRAME_HEADER.size)
        payload = file.read(header.payload_bytes)
    return payload if intact(header, payload) else None


def next_frame(path: Path, offset: int) -> int | None:
    """Where the next whole frame begins at `offset` or after damage there, None when none follows.

    It may begin at `offset` itself: what was a part of a frame a moment ago may have become whole since.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    position = data.find(FRAME_MAGIC)
    while position >= 0:
        header = parse_frame_header(data, position)
        if header and intact(header, data[position + FRAME_HEADER.size : position + header.size]):
            return offset + position
        position = data.find(FRAME_MAGIC, position + 1)
    return None


def next_sequence(path: Path) -> int:
    """The sequence after the last exchange of a segment."""
    following = first_sequence_of(path)
    for _, header in frames(path):
        following = header.next_sequence
    return following


def repair(path: Path) -> TornTail | None:
    """Cut what follows the last intact frame of a segment; say what was cut, None when nothing was.

    Raises:
        JournalFormatError: not a segment of this version; it is left alone.
    """
    size = path.stat().st_size
    kept = 0
    try:
        with path.open("rb") as file:
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
    """Follows the ends of all writers' journals: each look reads only the frame headers written since the one before."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[str, tuple[Path, int, int]] = {}

    def look(self) -> dict[str, int]:
        """For each writer, the sequence of its last exchange on disk."""
        return {writer: self._look_at(writer) for writer in writers(self._directory)}

    def _look_at(self, writer: str) -> int:
        files = segments(self._directory / writer)
        if not files:
            return 0
        path, offset, following = self._seen.get(writer, (files[-1], 0, 0))
        if path != files[-1] or not following:
            path, offset, following = files[-1], 0, first_sequence_of(files[-1])
        try:
            for position, header in frames(path, offset=offset):
                offset, following = position + header.size, header.next_sequence
        except FileNotFoundError:
            # Deleted between the listing and the look.
            return following - 1
        self._seen[writer] = (path, offset, following)
        return following - 1


def offset_path(directory: Path, reader: str) -> Path:
    """Where a reader's committed offsets are kept."""
    return directory / READERS / f"{reader}.json"


def load_committed(path: Path) -> CommittedOffset:
    """A reader's committed offsets; a reader that is new has none.

    Raises:
        JournalFormatError: the file is not an offset file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=CommittedOffset)
    except FileNotFoundError:
        return CommittedOffset({})
    except msgspec.MsgspecError as error:
        raise JournalFormatError(f"{path}: {error}") from error


def store_committed(path: Path, committed: CommittedOffset) -> None:
    """Replace the offset file as a whole, so that a kill leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(committed))
    draft.replace(path)


def all_committed(directory: Path) -> Mapping[str, CommittedOffset]:
    """Every reader's committed offsets by its name."""
    folder = directory / READERS
    if not folder.is_dir():
        return {}
    return {path.stem: load_committed(path) for path in sorted(folder.glob("*.json")) if not path.name.startswith(".")}


def furthest(directory: Path, writer: str) -> int:
    """The last sequence of a writer that any reader has done; offset files that cannot be read say nothing."""
    done = 0
    for path in (directory / READERS).glob("*.json"):
        try:
            done = max(done, load_committed(path).sequences.get(writer, 0))
        except JournalFormatError as error:
            logger.error("journal_offsets_unreadable", extra={"path": str(path), "error": str(error)})
    return done
