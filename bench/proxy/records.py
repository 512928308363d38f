"""Counts the records that a peer's own journal got, so that nobody is measured who does not write what it claims to."""

import os
from pathlib import Path

CHUNK_BYTES = 1 << 20


class Records:
    """One file to which a system appends, and what each record of it contains exactly once: no text that overlaps itself.

    `first` is a file that is no longer empty once the system records; None: it does from its start.
    """

    def __init__(self, path: Path, mark: bytes, first: Path | None = None) -> None:
        self._path = path
        self._mark = mark
        self._first = first
        self._read_bytes = 0
        self._part = b""
        self._count = 0

    def ready(self) -> bool:
        """Whether it records."""
        return self._path.exists() and (
            self._first is None or (self._first.exists() and self._first.stat().st_size > 0)
        )

    def count(self) -> int:
        """Records so far, those that were cleared too."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            while chunk := file.read(CHUNK_BYTES):
                self._read_bytes += len(chunk)
                text = self._part + chunk
                self._count += text.count(self._mark)
                self._part = text[len(text) - len(self._mark) + 1 :]
        return self._count

    def clear(self) -> None:
        """Empty the file, so that no disk fills and none is busy with it in another's turn. Whoever appends goes on."""
        self.count()
        os.truncate(self._path, 0)
        self._read_bytes, self._part = 0, b""
