"""Rewrite the segments of a journal: with the active key, and in mode `digest` without their secrets.

A segment is replaced as a whole: its exchanges go to a new file beside it, which is synced and takes its name. A crash leaves the old or
the new one. Sequences stay, so the offsets of readers stay valid; a reader that has the old file open reads it to its end. The segment that
a live process writes to is left alone, and so is one that is damaged or that no key here opens.
"""

import fcntl
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import JournalFormatError, SealedError
from proxy.journal.batch import frame_compressor
from proxy.journal.format import (
    FRAME_HEADER,
    SEGMENT_HEADER,
    FrameHeader,
    Record,
    encode_frame,
    encode_payload,
    parse_frame_header,
)
from proxy.journal.sealing import NONCE_BYTES, JournalKeys, records_of, seal_payload, unseal
from proxy.journal.segments import LOCK, read_payload, segment_fault, segments, writers
from proxy.private_file import open_private, sync_folder

SUFFIX = ".rewriting"

Change = Callable[[Record], Record]
"""Returns the record to store."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A segment that was not rewritten, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The segments that were replaced, the number of their exchanges, and the segments that were not."""

    paths: tuple[Path, ...]
    exchanges: int
    left_alone: tuple[LeftAlone, ...]


def rewrite(directory: Path, keys: JournalKeys, change: Change, *, compression_level: int) -> Rewritten:
    """Rewrite every segment that no live process writes to.

    Args:
        directory: the journal's folder.
        keys: open the frames; the active one seals them again.
        change: returns the record to store.
        compression_level: of zstandard.

    Raises:
        OSError: a file could not be written; the segments before it are rewritten, the others as they were.
    """
    paths: list[Path] = []
    left_alone: list[LeftAlone] = []
    exchanges = 0
    for writer in writers(directory):
        folder = directory / writer
        with _locked(folder) as idle:
            found = segments(folder)
            for leftover in folder.glob(f"*{SUFFIX}"):
                leftover.unlink()
            if found and not idle:
                left_alone.append(
                    LeftAlone(found.pop(), "a running proxy writes to it; rewrite again once it is closed")
                )
            for path in found:
                try:
                    exchanges += _rewrite_segment(path, keys, change, compression_level=compression_level)
                except (JournalFormatError, SealedError) as error:
                    left_alone.append(LeftAlone(path, str(error)))
                except FileNotFoundError:
                    # Retention has deleted it.
                    continue
                else:
                    paths.append(path)
    return Rewritten(tuple(paths), exchanges, tuple(left_alone))


def _rewrite_segment(path: Path, keys: JournalKeys, change: Change, *, compression_level: int) -> int:
    """Replace one segment; return the number of its exchanges."""
    if fault := segment_fault(path):
        raise JournalFormatError(fault)
    compressor = frame_compressor(compression_level)
    temporary = path.with_suffix(SUFFIX)
    count = 0
    try:
        with path.open("rb") as source, open_private(temporary) as target:
            target.write(source.read(SEGMENT_HEADER.size))
            for header, payload in _whole_frames(path):
                records = [change(unseal(record, keys)) for record in records_of(header, payload, keys)]
                sealed = seal_payload(
                    encode_payload(records, compressor=compressor),
                    keys.active,
                    nonce=os.urandom(NONCE_BYTES),
                    first_sequence=header.first_sequence,
                )
                target.write(
                    encode_frame(
                        sealed,
                        count=header.count,
                        first_sequence=header.first_sequence,
                        last_ended_ns=header.last_ended_ns,
                    )
                )
                count += header.count
            target.flush()
            os.fsync(target.fileno())
            before = os.fstat(source.fileno())
        # (retention decides by the age of the content)
        os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
        if not path.exists():
            raise FileNotFoundError(path)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _whole_frames(path: Path) -> Iterator[tuple[FrameHeader, bytes]]:
    """Yield header and payload of each frame.

    Raises:
        JournalFormatError: there is damage between them or at the end.
    """
    offset, size = SEGMENT_HEADER.size, path.stat().st_size
    while offset < size:
        with path.open("rb") as file:
            file.seek(offset)
            header = parse_frame_header(file.read(FRAME_HEADER.size))
        payload = read_payload(path, offset, header) if header else None
        if header is None or payload is None:
            raise JournalFormatError(f"damaged at {offset}; `shadow journal verify` lists all damage")
        yield header, payload
        offset += header.size


@contextmanager
def _locked(folder: Path) -> Generator[bool]:
    """Hold the lock of a writer's folder, so that none begins to write there; yield False when one does already."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
