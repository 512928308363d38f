"""Finds out what a recording is, opens it, and hands its bytes to the parser of its format."""

import gzip
import io
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, cast

import zstandard

from proxy.journal.redaction import RedactionKeys
from proxy.recordings import alb, combined, envoy, gor, har, mitmproxy, ndjson, vegeta
from proxy.recordings import journal as own
from proxy.recordings.errors import SourceError
from proxy.recordings.model import Item

HEAD_BYTES = 4096
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LINE_MAX_BYTES = 128 * 1024**2
WHOLE_MAX_BYTES = 512 * 1024**2
"""Of what has no lines and is read as a whole. A megabyte may unpack to a gigabyte: what comes from elsewhere is not read without end."""


class Format(StrEnum):
    """Formats of recordings."""

    JOURNAL = "journal"
    GOR = "gor"
    HAR = "har"
    MITMPROXY = "mitmproxy"
    ENVOY = "envoy"
    VEGETA_JSON = "vegeta-json"
    VEGETA_HTTP = "vegeta-http"
    NDJSON = "ndjson"
    ALB = "alb"
    COMBINED = "combined"


_SUFFIXES = {
    ".gor": Format.GOR,
    ".har": Format.HAR,
    ".zhar": Format.HAR,
    ".flow": Format.MITMPROXY,
    ".flows": Format.MITMPROXY,
    ".mitm": Format.MITMPROXY,
}
_ALB_TYPES = (b"http ", b"https ", b"h2 ", b"grpcs ", b"ws ", b"wss ")


def read(
    source: str,
    *,
    form: Format | None = None,
    keys: RedactionKeys | None = None,
    host: str = "",
    bodies: Path | None = None,
) -> Iterator[Item]:
    """The records of a recording; `-` is the standard input.

    Args:
        source: a file, plain or compressed by gzip or zstd, or a journal's folder.
        form: its format; None finds out.
        keys: to open what a journal has sealed.
        host: of the requests, where the format does not say.
        bodies: a folder from below which a recording may name files as bodies, besides its own.

    Raises:
        SourceError: it cannot be opened or read, or its format cannot be found out.
    """
    path = Path(source)
    if form is Format.JOURNAL or (form is None and path.is_dir()):
        if not path.is_dir():
            raise SourceError(f"{source} is no journal: not a folder")
        yield from own.read(path, keys)
        return
    try:
        with _opened(source) as file:
            found = form or guess(_name(path), file.peek(HEAD_BYTES)[:HEAD_BYTES])
            yield from _parsed(file, found, BodyFiles(path.parent, bodies), host)
    except (OSError, EOFError, zstandard.ZstdError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError(f"{source}: {said}") from error


def guess(name: str, head: bytes) -> Format:
    """The format by the file's name (without a compression's suffix), else by how it begins.

    Raises:
        SourceError: nothing fits.
    """
    by_name = _SUFFIXES.get(Path(name).suffix.lower())
    if by_name:
        return by_name
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    if first[:2] in (b"1 ", b"2 ", b"3 ") and len(first.split(b" ")) in (3, 4):
        return Format.GOR
    if first.startswith((b"{", b"[")):
        return _json_format(head)
    if first.startswith(_ALB_TYPES):
        return Format.ALB
    if head[:1].isdigit() and b":" in head[:13] and head.split(b":", 1)[0].isdigit():
        return Format.MITMPROXY
    if b"://" in first and first.split(b" ", 1)[0].isupper():
        return Format.VEGETA_HTTP
    if b"[" in first and b'] "' in first:
        return Format.COMBINED
    raise SourceError(f"{name}: the format cannot be told; name it by --format")


def _json_format(head: bytes) -> Format:
    if b"_trace" in head or b"BufferedTrace" in head or b"StreamedTrace" in head:
        return Format.ENVOY
    if b'"log"' in head[:200]:
        return Format.HAR
    return Format.VEGETA_JSON if b'"url"' in head.split(b"\n", 1)[0] else Format.NDJSON


def _name(path: Path) -> str:
    return path.stem if path.suffix.lower() in (".gz", ".zst") else path.name


@contextmanager
def _opened(source: str) -> Generator[io.BufferedReader]:
    raw = cast("io.BufferedReader", sys.stdin.buffer) if source == "-" else Path(source).open("rb")  # noqa: SIM115
    try:
        yield _decompressed(raw)
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


@dataclass(frozen=True, slots=True)
class BodyFiles:
    """The files that a recording may name as bodies. A recording may come from anybody, and what it names is sent to the target.

    Attributes:
        folder: of the recording: names count from here, and files here or below it are read.
        also: files below this folder are read too.
    """

    folder: Path
    also: Path | None = None

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            ValueError: it may not be read, or cannot.
        """
        try:
            path = (self.folder / name).resolve()
            if not any(path.is_relative_to(one.resolve()) for one in (self.folder, self.also) if one is not None):
                raise ValueError(
                    f"@{name}: not in the recording's folder or below it; shadow replay --bodies names another"
                )
            if path.exists() and not path.is_file():
                raise ValueError(f"@{name}: no file")
            with path.open("rb") as named:
                return _bounded(named.read(LINE_MAX_BYTES + 1), LINE_MAX_BYTES)
        except OSError as error:
            raise ValueError(f"@{name}: {error.strerror}") from error


def _parsed(file: io.BufferedReader, form: Format, bodies: BodyFiles, host: str) -> Iterator[Item]:
    parsers: dict[Format, Callable[[], Iterator[Item]]] = {
        Format.GOR: lambda: gor.parse(_lines(file)),
        Format.HAR: lambda: har.parse(_whole(file)),
        Format.MITMPROXY: lambda: mitmproxy.parse(_whole(file)),
        Format.ENVOY: lambda: envoy.parse(_whole(file).decode()),
        Format.VEGETA_JSON: lambda: vegeta.parse_json(_lines(file)),
        Format.VEGETA_HTTP: lambda: vegeta.parse_http(_lines(file), bodies.read),
        Format.NDJSON: lambda: ndjson.parse(_lines(file)),
        Format.ALB: lambda: alb.parse(_lines(file)),
        Format.COMBINED: lambda: combined.parse(_lines(file), host=host),
    }
    return parsers[form]()


def _lines(file: io.BufferedReader) -> Iterator[bytes]:
    while line := file.readline(LINE_MAX_BYTES + 1):
        yield _bounded(line, LINE_MAX_BYTES)


def _whole(file: io.BufferedReader) -> bytes:
    return _bounded(file.read(WHOLE_MAX_BYTES + 1), WHOLE_MAX_BYTES)


def _bounded(data: bytes, bytes_max: int) -> bytes:
    if len(data) > bytes_max:
        raise SourceError(f"more than {bytes_max // 1024**2} MiB in one piece, unpacked")
    return data
