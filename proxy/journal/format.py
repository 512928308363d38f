r"""The journal's file format, version 1. Pure: bytes in, exchanges out.

A segment is a 16-byte header and then frames. A frame holds the exchanges of one write:

    segment header   b"SHADOWJ" | u8 format version | u64 created, Unix ns
    frame header     b"\xa5FRM" | u32 payload bytes | u32 exchanges | u64 sequence of the first
                     | u64 time of the last, Unix ns | u32 checksum
    payload          zstd( msgpack array of Record )

All integers are little-endian. The checksum is CRC-32 of the header before it and of the payload, so that a torn or rotten
frame is never taken for a whole one. A record is a msgpack array: fields are only ever added at its end, with a default, so a
later version reads every earlier one; what cannot be read that way gets the next format version and its own decoder here.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import zstandard

from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Request, Response, Side
from proxy.errors import JournalFormatError

SEGMENT_MAGIC = b"SHADOWJ"
FORMAT_VERSION = 1
SEGMENT_HEADER = struct.Struct("<7sBQ")
FRAME_MAGIC = b"\xa5FRM"
FRAME_HEADER = struct.Struct("<4sIIQQI")
FRAME_UNSIGNED = struct.Struct("<4sIIQQ")
PAYLOAD_MAX_BYTES = 1024**3
SEGMENT_SUFFIX = ".seg"


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One exchange as written. `status` 0 means that the served side gave no response: `cause` and `detail` say why.

    `sealed` is the box with the originals of what was redacted (see `redact`), empty when there is none.
    """

    id: str
    route: str
    key: str
    served_by: Side
    stage: str
    started_ns: int
    ended_ns: int
    method: str
    target: str
    request_headers: HeaderList
    request_body: bytes
    request_truncated: bool
    status: int
    response_headers: HeaderList
    response_body: bytes
    response_truncated: bool
    cause: str
    detail: str
    overlapped: bool
    skip: str
    sealed: bytes = b""
    redacted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What is known of a frame before its payload is read."""

    payload_bytes: int
    count: int
    first_sequence: int
    last_ended_ns: int
    checksum: int

    @property
    def size(self) -> int:
        """Bytes of the whole frame."""
        return FRAME_HEADER.size + self.payload_bytes

    @property
    def next_sequence(self) -> int:
        """Sequence of the first exchange of the frame after this one."""
        return self.first_sequence + self.count


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[Record, ...])


def record_of(exchange: Exchange) -> Record:
    """The record of an exchange, nothing redacted."""
    request, outcome = exchange.request, exchange.outcome
    response = outcome if isinstance(outcome, Response) else None
    failed = outcome if isinstance(outcome, Failed) else None
    return Record(
        exchange.id,
        exchange.route,
        exchange.key,
        exchange.served_by,
        exchange.stage,
        exchange.started_ns,
        exchange.ended_ns,
        request.method,
        request.target,
        request.headers,
        request.body,
        request.body_truncated,
        response.status if response else 0,
        response.headers if response else (),
        response.body if response else b"",
        response.body_truncated if response else False,
        failed.cause.value if failed else "",
        failed.detail if failed else "",
        exchange.overlapped,
        exchange.skip,
    )


def exchange_of(record: Record) -> Exchange:
    """The exchange of a record (opened before, where it was sealed)."""
    outcome: Response | Failed
    if record.cause:
        outcome = Failed(FailureCause(record.cause), record.detail)
    else:
        outcome = Response(record.status, record.response_headers, record.response_body, record.response_truncated)
    return Exchange(
        id=record.id,
        route=record.route,
        key=record.key,
        served_by=record.served_by,
        stage=record.stage,
        started_ns=record.started_ns,
        ended_ns=record.ended_ns,
        request=Request(
            record.method, record.target, record.request_headers, record.request_body, record.request_truncated
        ),
        outcome=outcome,
        overlapped=record.overlapped,
        skip=record.skip,
    )


def segment_header(created_ns: int) -> bytes:
    """The first bytes of a segment."""
    return SEGMENT_HEADER.pack(SEGMENT_MAGIC, FORMAT_VERSION, created_ns)


def parse_segment_header(data: bytes) -> int:
    """Check the first bytes of a segment; return when it was created, Unix ns.

    Raises:
        JournalFormatError: not a segment, or one of a later format version.
    """
    if len(data) < SEGMENT_HEADER.size:
        raise JournalFormatError("the segment is shorter than its header")
    magic, version, created_ns = SEGMENT_HEADER.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        raise JournalFormatError("not a journal segment")
    if version != FORMAT_VERSION:
        raise JournalFormatError(f"format version {version} is unknown; this program reads version {FORMAT_VERSION}")
    return int(created_ns)


def encode_payload(records: Sequence[object], *, compressor: zstandard.ZstdCompressor) -> bytes:
    """What a frame of these records holds.

    Raises:
        ValueError, TypeError: one of them cannot be encoded.
    """
    return compressor.compress(_ENCODER.encode(records))


def encode_frame(payload: bytes, *, count: int, first_sequence: int, last_ended_ns: int) -> bytes:
    """One frame of one or more records."""
    unsigned = FRAME_UNSIGNED.pack(FRAME_MAGIC, len(payload), count, first_sequence, last_ended_ns)
    checksum = zlib.crc32(payload, zlib.crc32(unsigned))
    return b"".join((unsigned, checksum.to_bytes(4, "little"), payload))


def parse_frame_header(data: bytes, offset: int = 0) -> FrameHeader | None:
    """The frame header at `offset`, None when there is none (too short, or other bytes)."""
    if len(data) - offset < FRAME_HEADER.size:
        return None
    magic, payload_bytes, count, first_sequence, last_ended_ns, checksum = FRAME_HEADER.unpack_from(data, offset)
    if magic != FRAME_MAGIC or payload_bytes > PAYLOAD_MAX_BYTES:
        return None
    return FrameHeader(payload_bytes, count, first_sequence, last_ended_ns, checksum)


def intact(header: FrameHeader, payload: bytes) -> bool:
    """Whether the checksum says that header and payload are as they were written."""
    unsigned = FRAME_UNSIGNED.pack(
        FRAME_MAGIC, header.payload_bytes, header.count, header.first_sequence, header.last_ended_ns
    )
    return len(payload) == header.payload_bytes and zlib.crc32(payload, zlib.crc32(unsigned)) == header.checksum


def decode_payload(payload: bytes) -> tuple[Record, ...]:
    """The records of an intact payload.

    Raises:
        JournalFormatError: the payload is not what this version writes.
    """
    try:
        return _DECODER.decode(zstandard.ZstdDecompressor().decompress(payload))
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise JournalFormatError(f"the payload cannot be read: {error}") from error
