r"""GoReplay's .gor files. Pure.

Records are `META "\n" RAW_HTTP SEPARATOR`, where META is `type id time_ns [duration_ns]`; type 1 is a request, 2 its response, 3 the
response of a replay (skipped). GoReplay drops a last record without its separator; it is kept here. Observed in its files: bodies
are chunked and compressed as on the wire, ids repeat on a kept-alive connection, a response may precede its request, `100 Continue`
precedes a response in one record or in one of its own, and packets that were not captured leave a body shorter than it should be (cut).
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from comparator.exchanges.model import HeaderList, Request, Response
from proxy.errors import MalformedError
from proxy.http1.parser import ChunkDecoder
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import (
    TIME_MAX_NS,
    Item,
    NotHttpError,
    RecordedExchange,
    SkippedRecord,
    ascii_target,
    ends_early,
    first_line,
    header_of,
    is_bodiless,
    not_read,
    split_url,
    with_host,
    without,
)

MARK: Final = "🐵🙈🙉".encode()
SEPARATOR: Final = b"\n" + MARK + b"\n"
PENDING_MAX: Final = 1_000
"""Limit of the requests that wait for their response; GoReplay itself tolerates 100 records out of order."""
RECORD_MAX_BYTES: Final = 128 * 1024**2
NO_REQUEST: Final = "response without its request"
SWITCHING_PROTOCOLS: Final = 101
_STATUS_LINE: Final = re.compile(r"HTTP/\d(?:\.\d)? (\d{3})(?: |$)", re.ASCII)
_ID: Final = re.compile(r"[0-9A-Za-z_-]+")
_BREAK: Final = 7
"""Offset within the mark (12 bytes, three emoji) at which a chunk ends, so that no line of the chunked body equals the mark."""


def matches(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has this format."""
    line = first_line(head)
    return line[:2] in (b"1 ", b"2 ", b"3 ") and len(line.split(b" ")) in (3, 4)


def parse(lines: Iterable[bytes]) -> Iterator[Item]:
    """Yield the requests in the file's order, each with its response where the file has one.

    Raises:
        RecordingError: a record is larger than RECORD_MAX_BYTES.
    """
    pairs = _Pairs()
    for number, record in enumerate(_records(lines), 1):
        yield from pairs.add(record, f"record {number}")
    yield from pairs.rest()


def dump(recorded: RecordedExchange) -> bytes:
    """Return the records of a request and, where there is one, its response. A failure of the served side is lost."""
    exchange_id = (
        recorded.id if _ID.fullmatch(recorded.id) else hashlib.blake2b(recorded.id.encode(), digest_size=12).hexdigest()
    )
    request, response = recorded.request, recorded.outcome
    line = f"{request.method} {ascii_target(request.target)} HTTP/1.1"
    meta = f"1 {exchange_id} {recorded.started_ns} 0\n".encode()
    raw = [meta, _message(line, request.headers, request.body), SEPARATOR]
    if isinstance(response, Response):
        meta = f"2 {exchange_id} {recorded.started_ns + recorded.duration_ns} 0\n".encode()
        raw += [meta, _message(f"HTTP/1.1 {response.status} ", response.headers, response.body), SEPARATOR]
    return b"".join(raw)


def _records(lines: Iterable[bytes]) -> Iterator[bytes]:
    record: list[bytes] = []
    size = 0
    for line in lines:
        if line.rstrip(b"\n") != MARK:
            record.append(line)
            size += len(line)
            if size > RECORD_MAX_BYTES:
                raise RecordingError(f"a record is larger than {RECORD_MAX_BYTES // 1024**2} MiB")
            continue
        if record:
            yield b"".join(record).removesuffix(b"\n")
        record, size = [], 0
    last = b"".join(record)
    if last.strip():
        # A last newline may be the body's or the begin of a truncated separator; that of an empty body ends the head.
        yield last if last.endswith(b"\r\n\r\n") else last.removesuffix(b"\n")


@dataclass(slots=True)
class _Pairs:
    """Pairs requests with responses, and yields a request when its response has arrived or more than PENDING_MAX wait."""

    waiting: "OrderedDict[int, RecordedExchange]" = field(default_factory=OrderedDict[int, RecordedExchange])
    open: dict[str, int] = field(default_factory=dict[str, int])
    early: dict[str, tuple[Response, int, str]] = field(default_factory=dict[str, tuple[Response, int, str]])
    number: int = 0

    def add(self, record: bytes, location: str) -> Iterator[Item]:
        """Add one record; yield the requests that are complete, in order."""
        try:
            kind, exchange_id, time_ns, duration_ns, raw = _meta(record)
            if kind == "1":
                self._request(_request(raw, exchange_id, time_ns))
            elif kind == "3":
                yield SkippedRecord(location, "response of a replay", is_http=True)
            elif (response := _response(raw)) is not None:
                yield from self._response(exchange_id, response, time_ns + max(0, duration_ns), location)
        except (ValueError, MalformedError) as error:
            yield not_read(location, error)
        while self.waiting:
            number, first = next(iter(self.waiting.items()))
            if first.outcome is None and len(self.waiting) <= PENDING_MAX:
                break
            del self.waiting[number]
            if self.open.get(first.id) == number:
                del self.open[first.id]
            yield first

    def rest(self) -> Iterator[Item]:
        """Yield the requests that are still without response, and the responses that are still without request."""
        yield from self.waiting.values()
        for _, _, location in self.early.values():
            yield SkippedRecord(location, NO_REQUEST, is_http=True)

    def _request(self, recorded: RecordedExchange) -> None:
        self.number += 1
        self.waiting[self.number] = recorded
        self.open[recorded.id] = self.number
        if recorded.id in self.early:
            response, ended_ns, _ = self.early.pop(recorded.id)
            self._pair(self.open.pop(recorded.id), response, ended_ns)

    def _response(self, exchange_id: str, response: Response, ended_ns: int, location: str) -> Iterator[Item]:
        number = self.open.pop(exchange_id, None)
        if number is not None:
            self._pair(number, response, ended_ns)
            return
        forgotten = self.early.pop(exchange_id, None)
        self.early[exchange_id] = (response, ended_ns, location)
        if forgotten is None and len(self.early) > PENDING_MAX:
            forgotten = self.early.pop(next(iter(self.early)))
        if forgotten is not None:
            yield SkippedRecord(forgotten[2], NO_REQUEST, is_http=True)

    def _pair(self, number: int, response: Response, ended_ns: int) -> None:
        request = self.waiting[number]
        if is_bodiless(request.request.method, response.status):
            response = replace(response, body_truncated=False)
        self.waiting[number] = RecordedExchange(
            request.request, response, request.id, request.started_ns, max(0, ended_ns - request.started_ns)
        )


def _meta(record: bytes) -> tuple[str, str, int, int, bytes]:
    line, _, raw = record.partition(b"\n")
    fields = line.decode("latin-1").strip().split(" ")
    if len(fields) < 3:
        raise ValueError("the meta line has fewer than three fields")
    if fields[0] not in ("1", "2", "3"):
        raise ValueError(f"unknown record type {fields[0]!r}")
    time_ns = int(fields[2])
    if not 0 <= time_ns < TIME_MAX_NS:
        raise ValueError("timestamp out of range")
    return fields[0], fields[1], time_ns, int(fields[3]) if len(fields) > 3 else 0, raw


def _request(raw: bytes, exchange_id: str, time_ns: int) -> RecordedExchange:
    message = _parts(raw)
    parts = message.line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/"):
        raise NotHttpError("bytes that are not HTTP")
    authority, target = split_url(parts[1])
    headers = with_host(message.headers, authority)
    request = Request(parts[0], target, headers, message.body, message.cut or ends_early(headers, message.body))
    return RecordedExchange(request, id=exchange_id, started_ns=time_ns)


def _response(raw: bytes) -> Response | None:
    """Return the final response of a record; None when it holds interim ones (1xx) only."""
    while True:
        message = _parts(raw)
        match = _STATUS_LINE.match(message.line)
        if match is None:
            raise ValueError("not a status line")
        status = int(match.group(1))
        if status // 100 != 1 or status == SWITCHING_PROTOCOLS:
            cut = message.cut or ends_early(message.headers, message.body)
            return Response(status, message.headers, message.body, cut)
        if not message.body.startswith(b"HTTP/"):
            return None
        raw = message.body


@dataclass(frozen=True, slots=True)
class _Message:
    """A message of a record: its first line, its headers, and its body without chunk framing. `cut`: its head or a chunk is incomplete."""

    line: str
    headers: HeaderList
    body: bytes
    cut: bool


def _parts(raw: bytes) -> _Message:
    head, end, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"a header line of {len(line)} characters has no colon")
        headers.append((name, value.strip(" \t")))
    if header_of(tuple(headers), "transfer-encoding").lower() != "chunked":
        return _Message(first, tuple(headers), body, not end)
    decoder = ChunkDecoder()
    plain, _ = decoder.feed(body)
    return _Message(first, without(tuple(headers), "transfer-encoding", "content-length"), plain, not decoder.complete)


def _message(line: str, headers: HeaderList, body: bytes) -> bytes:
    """Return the message as on the wire. A body that contains the mark is chunked, so that no line of it is the mark."""
    if MARK in body:
        body = _chunked(body)
        headers = (*without(headers, "content-length", "transfer-encoding"), ("Transfer-Encoding", "chunked"))
    else:
        headers = without(headers, "transfer-encoding")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{line}\r\n{lines}\r\n".encode("latin-1", "replace") + body


def _chunked(body: bytes) -> bytes:
    pieces: list[bytes] = []
    position = 0
    while (at := body.find(MARK, position)) >= 0:
        pieces.append(body[position : at + _BREAK])
        position = at + _BREAK
    pieces.append(body[position:])
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
