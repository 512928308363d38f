r"""The file format of journal segments, version 1. Pure: bytes in, records out.

A segment is a 16-byte header followed by frames. A frame holds the exchanges of one write:

    segment header   b"SHADOWJ" | u8 format version | u64 created, Unix ns
    frame header     b"\xa5FRM" | u32 payload bytes | u32 exchanges | u64 sequence of the first
                     | u64 time of the last, Unix ns | u32 checksum
    payload          zstd( msgpack array of Record )

Integers are little-endian. The checksum is the CRC-32 of the header before it and of the payload, so that a torn or corrupted frame is
never taken for a whole one. The frame of one exchange, a GET of /v2 with the sequence 4712:

    a5 46 52 4d                magic
    5d 00 00 00                93 bytes of payload
    01 00 00 00                1 exchange
    68 12 00 00 00 00 00 00    the first has the sequence 4712
    80 84 48 36 fe 9c 97 17    the last ended at 1700000000.002
    cc fc 21 04                CRC-32
    28 b5 2f fd 20 54 ...      zstd of 91 dc 00 17 a2 "a1" a5 "score" ...: an array of one Record, an array of 23 fields

Fields are only ever added at the end of a record, with a default, so a later version reads every earlier file. A change that is not
possible in this way gets the next format version, and its own decoder here.
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
    """One exchange as stored. The fields are those of `Exchange`, flat.

    Attributes:
        status: of the response; 0 where the served side gave none, for the reason in `cause` and `detail`.
        cause: a FailureCause; "" where there is a response.
        skip: the policy that keeps the exchange from being mirrored; "" for none.
        sealed: the encrypted originals of what was redacted (`proxy.journal.redaction`); empty for none.
        redacted: the names of what was redacted, e.g. `request.header.authorization`.
        first_byte_us: microseconds from `started_ns` until the head of the response arrived; 0 if none came.
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
    first_byte_us: int = 0


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A frame without its payload: the fields of its header."""

    payload_bytes: int
    count: int
    first_sequence: int
    last_ended_ns: int
    checksum: int

    @property
    def size(self) -> int:
        """Bytes of the whole frame, header included."""
        return FRAME_HEADER.size + self.payload_bytes

    @property
    def next_sequence(self) -> int:
        """Sequence of the first exchange of the frame after this one."""
        return self.first_sequence + self.count


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[Record, ...])


def record_of(exchange: Exchange) -> Record:
    """Return the record of an exchange, with nothing redacted."""
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
        first_byte_us=exchange.first_byte_us,
    )


def exchange_of(record: Record) -> Exchange:
    """Return the exchange of a record; unseal it before to have the secrets in it."""
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
        first_byte_us=record.first_byte_us,
    )


def segment_header(created_ns: int) -> bytes:
    """Return the first bytes of a segment."""
    return SEGMENT_HEADER.pack(SEGMENT_MAGIC, FORMAT_VERSION, created_ns)


def parse_segment_header(data: bytes) -> int:
    """Check the first bytes of a segment and return when it was created, Unix nanoseconds.

    Raises:
        JournalFormatError: not a segment, or one of a later format version.
    """
    if len(data) < SEGMENT_HEADER.size:
        raise JournalFormatError("the segment is shorter than its header")
    magic, version, created_ns = SEGMENT_HEADER.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        raise JournalFormatError("not a journal segment")
    if version != FORMAT_VERSION:
        raise JournalFormatError(f"unknown format version {version}; this program reads version {FORMAT_VERSION}")
    return int(created_ns)


def encode_payload(records: Sequence[object], *, compressor: zstandard.ZstdCompressor) -> bytes:
    """Return the payload of a frame of these records.

    Raises:
        ValueError, TypeError: one of them cannot be encoded.
    """
    return compressor.compress(_ENCODER.encode(records))


def encode_frame(payload: bytes, *, count: int, first_sequence: int, last_ended_ns: int) -> bytes:
    """Return a frame.

    Args:
        payload: as of `encode_payload`.
        count: number of records in it.
        first_sequence: of its first record.
        last_ended_ns: `ended_ns` of its last record.
    """
    unsigned = FRAME_UNSIGNED.pack(FRAME_MAGIC, len(payload), count, first_sequence, last_ended_ns)
    checksum = zlib.crc32(payload, zlib.crc32(unsigned))
    return b"".join((unsigned, checksum.to_bytes(4, "little"), payload))


def parse_frame_header(data: bytes, offset: int = 0) -> FrameHeader | None:
    """Return the frame header at `offset`; None when the bytes there are too few or something else."""
    if len(data) - offset < FRAME_HEADER.size:
        return None
    magic, payload_bytes, count, first_sequence, last_ended_ns, checksum = FRAME_HEADER.unpack_from(data, offset)
    if magic != FRAME_MAGIC or payload_bytes > PAYLOAD_MAX_BYTES:
        return None
    return FrameHeader(payload_bytes, count, first_sequence, last_ended_ns, checksum)


def intact(header: FrameHeader, payload: bytes) -> bool:
    """Return whether header and payload match the checksum."""
    unsigned = FRAME_UNSIGNED.pack(
        FRAME_MAGIC, header.payload_bytes, header.count, header.first_sequence, header.last_ended_ns
    )
    return len(payload) == header.payload_bytes and zlib.crc32(payload, zlib.crc32(unsigned)) == header.checksum


def decode_payload(payload: bytes) -> tuple[Record, ...]:
    """Return the records of an intact payload.

    Raises:
        JournalFormatError: it is not a payload of this format version.
    """
    try:
        return _DECODER.decode(zstandard.ZstdDecompressor().decompress(payload))
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise JournalFormatError(f"cannot decode the payload: {error}") from error
