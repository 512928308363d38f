"""An opened recording: its bytes, decompressed and within bounds, and the files that it may name as bodies."""

import gzip
import io
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from proxy.recordings.errors import RecordingError

HEAD_BYTES = 4096
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LINE_MAX_BYTES = 128 * 1024**2
WHOLE_MAX_BYTES = 512 * 1024**2
"""Limits of what is held in memory. They count decompressed bytes: a megabyte of a foreign file may decompress to a gigabyte."""


@dataclass(frozen=True, slots=True)
class BodyFiles:
    """The files that a recording may name as bodies. A recording may be anyone's, and what it names is sent to the target.

    Attributes:
        folder: of the recording: names are relative to it, and files in it or below it are read.
        also: files below this folder are read too.
    """

    folder: Path
    also: Path | None = None

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            ValueError: it must not be read, or cannot.
        """
        try:
            path = (self.folder / name).resolve()
            allowed = (self.folder, self.also)
            if not any(path.is_relative_to(folder.resolve()) for folder in allowed if folder is not None):
                raise ValueError(
                    f"@{name}: not in the recording's folder or below it; shadow replay --bodies allows another folder"
                )
            if path.exists() and not path.is_file():
                raise ValueError(f"@{name}: not a file")
            with path.open("rb") as file:
                return _bounded(file.read(LINE_MAX_BYTES + 1), LINE_MAX_BYTES)
        except OSError as error:
            raise ValueError(f"@{name}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """An opened recording.

    Attributes:
        file: decompressed.
        bodies: the files that it may name.
        host: of the requests, where the format does not record it; "" for unknown.
    """

    file: io.BufferedReader
    bodies: BodyFiles
    host: str = ""

    def head(self) -> bytes:
        """Return the first bytes, without consuming them."""
        return self.file.peek(HEAD_BYTES)[:HEAD_BYTES]

    def lines(self) -> Iterator[bytes]:
        """Yield the lines, each with its end.

        Raises:
            RecordingError: a line is longer than LINE_MAX_BYTES.
        """
        while line := self.file.readline(LINE_MAX_BYTES + 1):
            yield _bounded(line, LINE_MAX_BYTES)

    def whole(self) -> bytes:
        """Return all bytes.

        Raises:
            RecordingError: they are more than WHOLE_MAX_BYTES.
        """
        return _bounded(self.file.read(WHOLE_MAX_BYTES + 1), WHOLE_MAX_BYTES)


@contextmanager
def open_recording(source: str, *, host: str, bodies: Path | None) -> Generator[RecordingFile]:
    """Open a recording for the block.

    Args:
        source: a file, plain or compressed by gzip or zstd; `-` is the standard input.
        host: see `RecordingFile`.
        bodies: see `BodyFiles.also`.
    """
    raw = cast("io.BufferedReader", sys.stdin.buffer) if source == "-" else Path(source).open("rb")  # noqa: SIM115
    try:
        yield RecordingFile(_decompressed(raw), BodyFiles(Path(source).parent, bodies), host)
    finally:
        if source != "-":
            raw.close()


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    head = raw.peek(4)
    if head.startswith(GZIP_MAGIC):
        return io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=raw)))
    if head.startswith(ZSTD_MAGIC):
        stream = zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", raw), read_across_frames=True)
        return io.BufferedReader(cast("io.RawIOBase", stream))
    return raw


def _bounded(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise RecordingError(f"a line or document is larger than {max_bytes // 1024**2} MiB, decompressed")
    return data
