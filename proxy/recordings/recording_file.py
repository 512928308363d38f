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
PIECE_BYTES = 1024**2
LINE_MAX_BYTES = 128 * 1024**2
WHOLE_MAX_BYTES = 512 * 1024**2
INFLATED_MAX_BYTES = 256 * 1024**2
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
                data = file.read(LINE_MAX_BYTES + 1)
                _check_size(len(data), LINE_MAX_BYTES)
                return data
        except OSError as error:
            raise ValueError(f"@{name}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """An opened recording.

    Attributes:
        file: decompressed.
        bodies: the files that it may name.
        host: of the requests, where the format does not record it; "" for unknown.
        compressed: `file` decompresses.
    """

    file: io.BufferedReader
    bodies: BodyFiles
    host: str = ""
    compressed: bool = False

    def head(self) -> bytes:
        """Return the first bytes, without consuming them."""
        return self.file.peek(HEAD_BYTES)[:HEAD_BYTES]

    def lines(self) -> Iterator[bytes]:
        """Yield the lines, each with its end.

        Raises:
            RecordingError: a line is longer than LINE_MAX_BYTES.
        """
        while line := self.file.readline(LINE_MAX_BYTES + 1):
            _check_size(len(line), LINE_MAX_BYTES)
            yield line

    def whole(self) -> bytes:
        """Return all bytes.

        Raises:
            RecordingError: they are more than WHOLE_MAX_BYTES, or INFLATED_MAX_BYTES of a compressed file.
        """
        max_bytes = INFLATED_MAX_BYTES if self.compressed else WHOLE_MAX_BYTES
        pieces: list[bytes] = []
        size = 0
        while piece := self.file.read(PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            _check_size(size, max_bytes)
        return b"".join(pieces)


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
        plain = _decompressed(raw)
        yield RecordingFile(plain, BodyFiles(Path(source).parent, bodies), host, plain is not raw)
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


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise RecordingError(f"a line or document is larger than {max_bytes // 1024**2} MiB, decompressed")
