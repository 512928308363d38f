"""This program's own journal as a recording: all exchanges of all its writers, merged by time, without a reader's name or offset."""

import heapq
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import JournalFormatError, SealedError
from proxy.journal.format import Record, exchange_of
from proxy.journal.redaction import JournalRedactor
from proxy.journal.sealing import JournalKeys, records_of, unseal
from proxy.journal.segments import LOCK, frames, read_payload, segment_fault, segments, writers
from proxy.recordings.model import MalformedRecord, RecordedExchange, from_exchange


def is_journal(directory: Path) -> bool:
    """Return whether a folder is that of a journal, or of one of its writers, even if it holds nothing now."""
    folders = [directory / name for name in writers(directory)]
    return bool(segments(directory)) or any((folder / LOCK).exists() or segments(folder) for folder in folders)


def read(
    directory: Path, keys: JournalKeys | None, redactor: JournalRedactor | None = None, *, since_ns: int = 0
) -> Iterator[RecordedExchange | MalformedRecord]:
    """Yield the exchanges that the journal holds now, by the time at which they ended.

    Args:
        directory: the journal's folder, or the folder of one of its writers.
        keys: open what is sealed.
        redactor: replaces the secrets; None leaves them.
        since_ns: Unix nanoseconds; segments that were last written before are left out.
    """
    folders = [directory / name for name in writers(directory)] if not segments(directory) else [directory]
    merged = heapq.merge(*(_records(folder, keys, since_ns) for folder in folders), key=lambda item: item[0])
    for _, record in merged:
        if isinstance(record, MalformedRecord):
            yield record
        else:
            yield from_exchange(exchange_of(redactor.redact(record) if redactor else record))


def _records(folder: Path, keys: JournalKeys | None, since_ns: int) -> Iterator[tuple[int, Record | MalformedRecord]]:
    """Yield records with their times; malformed ones with that of the record before."""
    last_ns = 0
    for path in segments(folder):
        if since_ns and path.stat().st_mtime_ns < since_ns:
            continue
        if fault := segment_fault(path):
            yield last_ns, MalformedRecord(f"{folder.name}/{path.name}", fault)
            continue
        for offset, header in frames(path):
            location = f"{folder.name}/{path.name} at {offset}"
            payload = read_payload(path, offset, header)
            if payload is None:
                yield last_ns, MalformedRecord(location, "the checksum does not match")
                continue
            try:
                records = records_of(header, payload, keys)
            except (JournalFormatError, SealedError) as error:
                yield last_ns, MalformedRecord(location, str(error))
                continue
            for record in records:
                last_ns = max(last_ns, record.ended_ns)
                yield last_ns, _opened(record, keys, location)


def _opened(record: Record, keys: JournalKeys | None, location: str) -> Record | MalformedRecord:
    try:
        return unseal(record, keys) if keys else record
    except SealedError as error:
        return MalformedRecord(location, str(error))
