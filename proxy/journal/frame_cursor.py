"""Follow the frames of one writer's segments while they are being written, from one segment to the next, around damage."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from proxy.errors import JournalFormatError
from proxy.journal.format import (
    FRAME_HEADER,
    SEGMENT_HEADER,
    SEGMENT_MAGIC,
    FrameHeader,
    intact,
    parse_frame_header,
    parse_segment_header,
)
from proxy.journal.segments import first_sequence_of, frames, next_frame, segments
from proxy.private_file import open_regular

logger = logging.getLogger(__name__)


class FrameCursor:
    """The place of a reader in one writer's segments.

    Args:
        folder: of the writer.
        done: number of the last exchange that was read.

    Attributes:
        path: the open segment, None before the first.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path: Path | None = None
        self._folder = folder
        self._next = done + 1
        self._file: int | None = None
        self._offset = 0

    def next_frame(self) -> tuple[FrameHeader, bytes] | None:
        """Return header and payload of the next whole frame, None while there is none.

        The first one may begin before the place where this reader is: with 1 to 32 in a frame and `done` = 7, that frame.

        Raises:
            JournalFormatError: a segment is of another format version.
        """
        if self._file is None and not self._open_at(self._next):
            return None
        while True:
            frame = self._read_frame()
            if frame is not None:
                self._next = max(self._next, frame[0].next_sequence)
                return frame
            if not self._advance():
                return None

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
        damaged = not header.startswith(SEGMENT_MAGIC)
        try:
            if not damaged:
                parse_segment_header(header)
        except JournalFormatError as error:
            os.close(descriptor)
            raise JournalFormatError(f"{path}: {error}") from error
        self.close()
        self._file, self.path = descriptor, path
        if damaged:
            # (its frames say by themselves what they hold)
            logger.warning("journal_damage_skipped", extra={"path": str(path), "bytes": SEGMENT_HEADER.size})
        self._offset = next((offset for offset, frame in frames(path) if frame.next_sequence > self._next), 0)
        self._offset = self._offset or SEGMENT_HEADER.size
        return True

    def _read_frame(self) -> tuple[FrameHeader, bytes] | None:
        """Read the frame at the offset; return None when there is no whole one yet."""
        assert self._file is not None
        header = parse_frame_header(os.pread(self._file, FRAME_HEADER.size, self._offset))
        if header is None:
            return None
        payload = os.pread(self._file, header.payload_bytes, self._offset + FRAME_HEADER.size)
        if not intact(header, payload):
            return None
        self._offset += header.size
        return header, payload

    def _advance(self) -> bool:
        """Skip damage at the offset or go to the next segment; return False at the end of the journal."""
        assert self.path is not None
        later = [path for path in segments(self._folder) if path > self.path]
        if not later and self.path.exists():
            return self._skip_damage()
        if self._skip_damage():
            return True
        if not later:
            self.close()
            return False
        return self._open_first(later)

    def _skip_damage(self) -> bool:
        """Go to the next intact frame of this segment; return False when none follows."""
        assert self.path is not None
        assert self._file is not None
        if os.fstat(self._file).st_size <= self._offset:
            return False
        try:
            offset = next_frame(self.path, self._offset)
        except FileNotFoundError:
            return False
        if offset is None:
            return False
        if offset > self._offset:
            skipped = offset - self._offset
            logger.warning("journal_damage_skipped", extra={"path": str(self.path), "bytes": skipped})
        self._offset = offset
        return True
