"""Makes what one frame holds of exchanges: packed as they were served, or redacted and encoded the long way."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from proxy.config.journal import JournalSettings
from proxy.journal.fast_encoder import FastEncoder, PackedRecord
from proxy.journal.format import Record, encode_payload
from proxy.journal.redaction import NONCE_BYTES, redact
from proxy.journal.served_exchange import ServedExchange

logger = logging.getLogger(__name__)

Entry = Record | ServedExchange
"""An exchange as it waits."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Exchanges that are ready to be written as one frame.

    `size` is what they weighed while they waited; their secrets are sealed with the key of `packer`.
    """

    payload: bytes
    count: int
    last_ended_ns: int
    size: int
    packer: FastEncoder


def packed(
    drafts: Sequence[ServedExchange], packer: FastEncoder, *, size: int, compressor: zstandard.ZstdCompressor
) -> EncodedBatch | None:
    """What was served, packed; None when one of them is out of the ordinary."""
    records: list[PackedRecord] = []
    try:
        for draft in drafts:
            record = packer.pack(draft)
            if record is None:
                return None
            records.append(record)
        payload = encode_payload(records, compressor=compressor)
    except (ValueError, TypeError):
        # (the long way finds out which of them it is)
        return None
    return EncodedBatch(payload, len(records), records[-1].ended_ns, size, packer)


def encoded(
    entries: Sequence[Entry], packer: FastEncoder, *, compressor: zstandard.ZstdCompressor
) -> tuple[EncodedBatch | None, int]:
    """The long way. What cannot be encoded is left out alone.

    Returns:
        None when nothing is left; and how many were left out.
    """
    records = [record for entry in entries if (record := _redacted(entry, packer)) is not None]
    try:
        payload = encode_payload(records, compressor=compressor)
    except (ValueError, TypeError):
        records = [record for record in records if _encodes(record, compressor)]
        payload = encode_payload(records, compressor=compressor)
    failed = len(entries) - len(records)
    return (EncodedBatch(payload, len(records), records[-1].ended_ns, 0, packer) if records else None), failed


def compressor_of(settings: JournalSettings) -> zstandard.ZstdCompressor:
    """One for one thread."""
    return zstandard.ZstdCompressor(level=settings.compression_level, write_checksum=False)


def _redacted(entry: Entry, packer: FastEncoder) -> Record | None:
    try:
        record = entry.record() if isinstance(entry, ServedExchange) else entry
        return redact(record, packer.rules, packer.keys, nonce=os.urandom(NONCE_BYTES))
    except (ValueError, TypeError, RecursionError) as error:
        _tell(entry.id, error)
        return None


def _encodes(record: Record, compressor: zstandard.ZstdCompressor) -> bool:
    try:
        encode_payload([record], compressor=compressor)
    except (ValueError, TypeError) as error:
        _tell(record.id, error)
        return False
    return True


def _tell(exchange_id: str, error: Exception) -> None:
    logger.error("journal_exchange_not_encoded", extra={"exchange": exchange_id, "error": type(error).__name__})
