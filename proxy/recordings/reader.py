"""Opens a recording, detects its format and yields its records."""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import zstandard

from proxy.journal.keys import available_keys
from proxy.journal.redaction import JournalRedactor
from proxy.journal.sealing import JournalKeys
from proxy.recordings import journal
from proxy.recordings.errors import RecordingError
from proxy.recordings.formats import FORMATS, RecordingFormat
from proxy.recordings.model import Item, MalformedRecord, checked
from proxy.recordings.recording_file import open_recording

STANDARD_INPUT = "-"
JOURNAL = "journal"
"""The format of folders: this program's own journal."""
READABLE = (JOURNAL, *FORMATS)
COMPRESSED_SUFFIXES = (".gz", ".zst")


def keys_of_recording(source: str, environ: Mapping[str, str]) -> JournalKeys | None:
    """Return the keys with which `read` opens a journal; None for another recording, or without a key.

    Args:
        source: as of `read`.
        environ: for SHADOW_JOURNAL_KEY.

    Raises:
        JournalKeyError: the active key cannot be read, or is too short.
    """
    folder = Path(source)
    return available_keys(folder, environ) if folder.is_dir() else None


def read(
    source: str,
    *,
    format_name: str | None = None,
    keys: JournalKeys | None = None,
    redactor: JournalRedactor | None = None,
    host: str = "",
    bodies: Path | None = None,
) -> Iterator[Item]:
    """Yield the records of a recording.

    Args:
        source: a file, plain or compressed by gzip or zstd; a journal's folder; `-` for the standard input.
        format_name: one of READABLE; None detects the format.
        keys: open a journal.
        redactor: replaces the secrets of a journal; None leaves them.
        host: of the requests, where the format does not record it.
        bodies: a folder whose files, and those below it, a recording may name as bodies, besides its own folder's.

    A recording that ends early yields its whole records, then a malformed one.

    Raises:
        RecordingError: it cannot be opened or nothing of it can be read, or its format cannot be detected.
    """
    path = Path(source)
    if format_name == JOURNAL or (format_name is None and path.is_dir()):
        if not path.is_dir():
            raise RecordingError(f"{source} is not a journal: not a folder")
        if not journal.is_journal(path):
            raise RecordingError(
                f"{source} is a folder without a journal; name a recording file, or the folder of a journal"
            )
        yield from journal.read(path, keys, redactor)
        return
    if source != STANDARD_INPUT and path.exists() and not path.is_file():
        raise RecordingError(f"{source} is not a regular file; a pipe is read from the standard input, as -")
    number = 0
    try:
        with open_recording(source, host=host, bodies=bodies) as file:
            name = path.stem if path.suffix.lower() in COMPRESSED_SUFFIXES else path.name
            row = _format_of(name, file.head(), format_name)
            for number, item in enumerate(row.parse(file), 1):
                yield checked(item, f"record {number}")
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, UnicodeDecodeError, RecordingError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        if not number:
            raise RecordingError(f"{'standard input' if source == STANDARD_INPUT else source}: {reason}") from error
        yield MalformedRecord(f"after record {number}", str(reason))


def _format_of(name: str, head: bytes, format_name: str | None) -> RecordingFormat:
    if not head:
        raise RecordingError("the file is empty")
    return FORMATS[format_name] if format_name else detect(name, head)


def detect(name: str, head: bytes) -> RecordingFormat:
    """Return the format by a file's name (without the suffix of a compression), else by the bytes it begins with.

    Raises:
        RecordingError: no format matches.
    """
    suffix = Path(name).suffix.lower()
    for row in FORMATS.values():
        if suffix in row.suffixes:
            return row
    for row in FORMATS.values():
        if row.matches(head):
            return row
    raise RecordingError(f"cannot detect the format; name it with --format, one of {', '.join(FORMATS)}")
