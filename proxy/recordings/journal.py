"""This program's own journal as a source: all exchanges of all its writers, merged by time, without a reader's name or offset."""

import heapq
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import JournalFormatError
from proxy.journal.format import Record, decode_payload, exchange_of
from proxy.journal.redaction import RedactionKeys, unseal
from proxy.journal.segments import fault_of, frames, read_payload, segments, writers
from proxy.recordings.model import Item, MalformedRecord, recorded_of


def read(directory: Path, keys: RedactionKeys | None) -> Iterator[Item]:
    """What the journal holds now, by the times of the responses.

    Args:
        directory: the journal's folder, or that of one of its writers.
        keys: open what was sealed; None leaves the digests in place.
    """
    folders = [directory / name for name in writers(directory)] if not segments(directory) else [directory]
    merged = heapq.merge(*(_records(folder) for folder in folders), key=lambda one: one[0])
    for _, _, found in merged:
        if isinstance(found, MalformedRecord):
            yield found
        else:
            yield recorded_of(exchange_of(unseal(found, keys) if keys else found))


def _records(folder: Path) -> Iterator[tuple[int, str, Record | MalformedRecord]]:
    last_ns = 0
    for path in segments(folder):
        if fault := fault_of(path):
            place = f"{folder.name}/{path.name}"
            yield last_ns, place, MalformedRecord(place, fault)
            continue
        for offset, header in frames(path):
            place = f"{folder.name}/{path.name} at {offset}"
            payload = read_payload(path, offset, header)
            if payload is None:
                yield last_ns, place, MalformedRecord(place, "the checksum does not hold")
                continue
            try:
                records = decode_payload(payload)
            except JournalFormatError as error:
                yield last_ns, place, MalformedRecord(place, str(error))
                continue
            for record in records:
                last_ns = max(last_ns, record.ended_ns)
                yield last_ns, place, record
