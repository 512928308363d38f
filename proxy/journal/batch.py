"""Encodes exchanges to the payload of one frame: fast, as they were served, or one by one with errors caught for each."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from proxy.journal.fast_encoder import FastEncoder, RawRecord
from proxy.journal.format import Record, encode_payload
from proxy.journal.redaction import JournalRedactor
from proxy.journal.served_exchange import ServedExchange

logger = logging.getLogger(__name__)

QueueEntry = Record | ServedExchange
"""An exchange before it is encoded."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Exchanges ready to be written as one frame.

    Attributes:
        payload: of the frame.
        count: number of exchanges.
        last_ended_ns: when the last of them ended, Unix nanoseconds.
        size: bytes that they counted for in the queue.
        routes: their routes, for the count of what is lost.
    """

    payload: bytes
    count: int
    last_ended_ns: int
    size: int
    routes: tuple[str, ...]


def encode_served(
    exchanges: Sequence[ServedExchange], encoder: FastEncoder, *, size: int, compressor: zstandard.ZstdCompressor
) -> EncodedBatch | None:
    """Encode exchanges that were just served; return None when one of them is out of the ordinary."""
    records: list[RawRecord] = []
    try:
        for exchange in exchanges:
            record = encoder.encode(exchange)
            if record is None:
                return None
            records.append(record)
        payload = encode_payload(records, compressor=compressor)
    except (ValueError, TypeError):
        # encode_entries will find out which of them it is.
        return None
    routes = tuple([exchange.route_name for exchange in exchanges])
    return EncodedBatch(payload, len(records), records[-1].ended_ns, size, routes)


def encode_entries(
    entries: Sequence[QueueEntry], redactor: JournalRedactor | None, *, compressor: zstandard.ZstdCompressor
) -> tuple[EncodedBatch | None, Counter[str]]:
    """Encode exchanges, leaving out those that cannot be encoded.

    Args:
        entries: the exchanges.
        redactor: replaces their secrets first, in mode `digest`; None leaves them to the seal of the frame.
        compressor: of this thread.

    Returns:
        The batch, None when nothing is left; and the number of exchanges that were left out, by route.
    """
    records = [record for entry in entries if (record := _record(entry, redactor)) is not None]
    try:
        payload = encode_payload(records, compressor=compressor)
    except (ValueError, TypeError):
        records = [record for record in records if _is_encodable(record, compressor)]
        payload = encode_payload(records, compressor=compressor)
    routes = tuple([record.route for record in records])
    failed = Counter(map(route_of, entries)) - Counter(routes)
    return (EncodedBatch(payload, len(records), records[-1].ended_ns, 0, routes) if records else None), failed


def route_of(entry: QueueEntry) -> str:
    """Return the name of the route of an exchange."""
    return entry.route_name if isinstance(entry, ServedExchange) else entry.route


def frame_compressor(level: int) -> zstandard.ZstdCompressor:
    """Make a compressor of payloads. A compressor is for one thread; frames have a checksum of their own."""
    return zstandard.ZstdCompressor(level=level, write_checksum=False)


def _record(entry: QueueEntry, redactor: JournalRedactor | None) -> Record | None:
    try:
        record = entry.record() if isinstance(entry, ServedExchange) else entry
        return redactor.redact(record) if redactor else record
    except (ValueError, TypeError, RecursionError) as error:
        _log(entry.id, error)
        return None


def _is_encodable(record: Record, compressor: zstandard.ZstdCompressor) -> bool:
    try:
        encode_payload([record], compressor=compressor)
    except (ValueError, TypeError) as error:
        _log(record.id, error)
        return False
    return True


def _log(exchange_id: str, error: Exception) -> None:
    # The error's text may hold a part of the exchange.
    logger.error("journal_encoding_failed", extra={"exchange": exchange_id, "error": type(error).__name__})
