"""Count the exchanges that a peer has logged, to check that it does the work it is measured for."""

import os
from pathlib import Path

CHUNK_BYTES = 1 << 20


class Records:
    """A file that a system appends records to.

    Args:
        path: of the file.
        mark: a text that each record contains exactly once, and that does not overlap itself.
        first: a file that is not empty any more once the system records; None if it records from its start.
    """

    def __init__(self, path: Path, mark: bytes, first: Path | None = None) -> None:
        self._path = path
        self._mark = mark
        self._first = first
        self._read_bytes = 0
        self._part = b""
        self._count = 0

    def ready(self) -> bool:
        """Return whether the system records."""
        return self._path.exists() and (
            self._first is None or (self._first.exists() and self._first.stat().st_size > 0)
        )

    def count(self) -> int:
        """Return the number of records so far, including those that were cleared."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            while chunk := file.read(CHUNK_BYTES):
                self._read_bytes += len(chunk)
                text = self._part + chunk
                self._count += text.count(self._mark)
                self._part = text[len(text) - len(self._mark) + 1 :]
        return self._count

    def clear(self) -> None:
        """Empty the file, so that it neither fills the disk nor causes writes while another system is measured. Appending goes on."""
        self.count()
        os.truncate(self._path, 0)
        self._read_bytes, self._part = 0, b""
