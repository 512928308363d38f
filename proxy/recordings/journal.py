"""This program's own journal as a recording: all exchanges of all its writers, merged by time, without a reader's name or offset."""

import heapq
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import JournalFormatError
from proxy.journal.format import Record, decode_payload, exchange_of
from proxy.journal.redaction import RedactionKeys, unseal
from proxy.journal.segments import frames, read_payload, segment_fault, segments, writers
from proxy.recordings.model import MalformedRecord, RecordedExchange, from_exchange


def is_journal(directory: Path) -> bool:
    """Return whether a folder is that of a journal, or of one of its writers, even if it holds nothing now."""
    return bool(segments(directory) or writers(directory))


def read(directory: Path, keys: RedactionKeys | None) -> Iterator[RecordedExchange | MalformedRecord]:
    """Yield the exchanges that the journal holds now, by the time at which they ended.

    Args:
        directory: the journal's folder, or the folder of one of its writers.
        keys: unseal the secrets; None leaves the digests in place.
    """
    folders = [directory / name for name in writers(directory)] if not segments(directory) else [directory]
    merged = heapq.merge(*(_records(folder) for folder in folders), key=lambda item: item[0])
    for _, record in merged:
        if isinstance(record, MalformedRecord):
            yield record
        else:
            yield from_exchange(exchange_of(unseal(record, keys) if keys else record))


def _records(folder: Path) -> Iterator[tuple[int, Record | MalformedRecord]]:
    """Yield records with their times; malformed ones with that of the record before."""
    last_ns = 0
    for path in segments(folder):
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
                records = decode_payload(payload)
            except JournalFormatError as error:
                yield last_ns, MalformedRecord(location, str(error))
                continue
            for record in records:
                last_ns = max(last_ns, record.ended_ns)
                yield last_ns, record
