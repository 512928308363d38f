"""Count what each key of a journal seals, and what of it some reader has not read."""

from dataclasses import dataclass, replace
from pathlib import Path

from proxy.errors import JournalFormatError
from proxy.journal.format import Record, decode_payload
from proxy.journal.sealing import JournalKeys, key_id_of, key_of_record
from proxy.journal.segments import all_committed, frames, read_payload, segment_fault, segments, writers


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """The number of exchanges that a key seals, and of those that some reader has not committed; without a reader, all of them."""

    exchanges: int = 0
    unread: int = 0


def usage_by_key(directory: Path, keys: JournalKeys) -> dict[str, KeyUsage]:
    """Return the usage of each key by its id; "" for exchanges of which nothing is sealed.

    Raises:
        JournalFormatError: an offset file cannot be read.
    """
    committed = all_committed(directory)
    usage: dict[str, KeyUsage] = {}
    for writer in writers(directory):
        done = min((offsets.sequences.get(writer, 0) for offsets in committed.values()), default=0)
        for path in segments(directory / writer):
            if segment_fault(path):
                continue
            for offset, header in frames(path):
                payload = read_payload(path, offset, header) or b""
                for sequence, key_id in enumerate(_key_ids(payload, keys, header.count), header.first_sequence):
                    used = usage.get(key_id, KeyUsage())
                    usage[key_id] = replace(used, exchanges=used.exchanges + 1, unread=used.unread + (sequence > done))
    return usage


def _key_ids(payload: bytes, keys: JournalKeys, count: int) -> list[str]:
    """Return for each exchange of a frame the id of its key; earlier versions sealed parts of single exchanges."""
    key_id = key_id_of(payload)
    if key_id is not None:
        return [key_id] * count
    try:
        records = decode_payload(payload)
    except JournalFormatError:
        return []
    return [_key_id(record, keys) for record in records]


def _key_id(record: Record, keys: JournalKeys) -> str:
    key = key_of_record(record, keys) if record.sealed else None
    return key.id if key else ""
