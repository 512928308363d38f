"""HTTP/1.1 messages, strictly. Pure: bytes in, values out.

What two parsers could read in two ways is refused, never repaired (RFC 9112 sections 5, 6, 11.2): obsolete line folding, a bare CR
or LF, whitespace before a colon, Content-Length beside Transfer-Encoding, repeated or signed lengths, a coding that does not end in
chunked. Text is latin-1, so every byte of a target or a value passes as it came.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from proxy.errors import MalformedError
from proxy.http1.fields import NOT_FORWARDED, NOT_RETURNED, Pair, connection_options, pair_of, passing, valid
from proxy.http1.head_template import HeadTemplate, Values

HEAD_END = b"\r\n\r\n"
CHUNK_LINE_MAX_BYTES = 1024
TRAILERS_MAX_BYTES = 16 * 1024
LENGTH_DIGITS_MAX = 18

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # noqa: S105 (RFC 9110 section 5.6.2, no secret)
_REQUEST_LINE = re.compile(rf"(?!CONNECT )({_TOKEN}{{1,64}}) ([\x21-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
LENGTH = re.compile(rf"[0-9]{{1,{LENGTH_DIGITS_MAX}}}")
EMPTY_LINES_MAX = 8
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"(?i:https?)://([^/?#]*)([/?].*)?")


class Framing(StrEnum):
    """How a body's end is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class Head:
    """A head: its fields are a shape and the values that belong into it. `named` and `pairs` are made each time they are asked for."""

    __slots__ = ()

    shape: HeadTemplate
    values: Values

    def value(self, name: str) -> str | None:
        """The first value of a field by its lower name, None when there is none."""
        return self.shape.value(name, self.values)

    @property
    def named(self) -> dict[str, str]:
        """The first value of each field by its lower name."""
        return self.shape.named(self.values)

    @property
    def pairs(self) -> list[Pair]:
        """Names and values of all fields, in order, case and duplicates kept."""
        return self.shape.filled(self.values)


@dataclass(slots=True)
class RequestHead(Head):
    """A request's head.

    `host` is the authority the request is for: that of an absolute target, else of Host. `keep_alive`: the client means to send more
    on this connection.
    """

    method: str
    target: str
    minor: int
    host: str
    framing: Framing
    length: int
    keep_alive: bool
    shape: HeadTemplate
    values: Values = ()


@dataclass(slots=True)
class ResponseHead(Head):
    """A response's head. `keep_alive`: the backend's connection can be used again after the body."""

    status: int
    reason: str
    minor: int
    framing: Framing
    length: int
    keep_alive: bool
    shape: HeadTemplate
    values: Values = ()


def persistent(minor: int, connection: str | None) -> bool:
    """RFC 9112 section 9.3. `connection` is the field's value."""
    if connection is None:
        return minor == 1
    options = connection.lower()
    if options == "keep-alive":
        return True
    listed = [option.strip() for option in options.split(",")]
    return "close" not in listed and (minor == 1 or "keep-alive" in listed)


def parse_request(head: bytes, *, fields_max: int) -> RequestHead:
    """Parse a request's head, given with its final empty line.

    Raises:
        MalformedError: with the status code the client gets: 400, 417, 431, 501 or 505.
    """
    text = head.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise _bad_request_line(text)
    method, target, minor = line.group(1), line.group(2), int(line.group(3))
    pairs, names, named = _fields(text, line.end())
    if fields_max and len(pairs) > fields_max:
        raise MalformedError(431, f"more than {fields_max} header fields")
    host = _host(names, named, minor)
    if target[0] != "/":
        target, host = _unusual_target(method, target, host)
    if "#" in target:
        raise MalformedError(400, "the target has a fragment")
    framing, length = _request_framing(names, named, minor)
    if "expect" in named and named["expect"].lower() != "100-continue":
        raise MalformedError(417, "this expectation cannot be met")
    shape = HeadTemplate(pairs, names, named, passing(names, NOT_FORWARDED | connection_options(names, pairs)))
    keep_alive = persistent(minor, named.get("connection"))
    return RequestHead(method, target, minor, host, framing, length, keep_alive, shape)


def parse_response(head: bytes, *, method: str) -> ResponseHead:
    """Parse a response's head to a request with `method`, given with its final empty line.

    Raises:
        MalformedError: the backend does not speak HTTP/1.1; the client gets 502.
    """
    text = head.decode("latin-1")
    line = _STATUS_LINE.match(text)
    if line is None:
        raise MalformedError(502, "no status line")
    minor, status, reason = int(line.group(1)), int(line.group(2)), line.group(3) or ""
    pairs, names, named = _fields(text, line.end())
    framing, length = framing_of_response(names, named, method=method, status=status)
    shape = HeadTemplate(pairs, names, named, passing(names, NOT_RETURNED | connection_options(names, pairs)))
    keep_alive = framing is not Framing.CLOSE and persistent(minor, named.get("connection"))
    return ResponseHead(status, reason, minor, framing, length, keep_alive, shape)


def without_empty_lines(data: bytes) -> bytes:
    """What follows the empty lines before a request: a few are skipped (RFC 9112 section 2.2).

    Raises:
        MalformedError: they are a flood (400).
    """
    lines = _EMPTY_LINES.match(data)
    end = lines.end() if lines else 0
    if end > 2 * EMPTY_LINES_MAX:
        raise MalformedError(400, "more empty lines than a request may follow")
    return data[end:]


def check_partial(data: bytes, *, target_max: int, header_max: int) -> None:
    """Whether an acceptable head can begin like this; the limits are in bytes.

    Raises:
        MalformedError: it is clear that none will come (400, 414, 431).
    """
    line_end = data.find(b"\n")
    if line_end < 0 and len(data) > target_max:
        raise MalformedError(414, "the target is too long")
    if len(data) > header_max:
        raise MalformedError(431, f"the header is larger than {header_max} bytes")
    if line_end >= 0 and data[line_end - 1 : line_end] != b"\r":
        raise MalformedError(400, "a line ends in a bare LF")


class ChunkDecoder:
    """Takes a chunked body apart; extensions and trailers are dropped (RFC 9112 section 7.1)."""

    def __init__(self) -> None:
        self.done = False
        self._buffer = b""
        self._left = 0
        """Bytes of the current chunk still to come."""
        self._ending = False
        """A chunk's data is complete, its CRLF is not."""
        self._trailers: int | None = None
        """Bytes of trailers so far, None before the last chunk."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Decode what arrived.

        Returns:
            The body bytes in it, and what follows the body's end (only once `done`).

        Raises:
            MalformedError: not chunked coding (400; a backend's client turns it into 502).
        """
        buffer = self._buffer + data if self._buffer else data
        body: list[bytes] = []
        position = 0
        while not self.done:
            if self._left:
                piece = buffer[position : position + self._left]
                if not piece:
                    break
                body.append(piece)
                position += len(piece)
                self._left -= len(piece)
                self._ending = not self._left
                continue
            advanced = self._line(buffer, position)
            if advanced == position:
                break
            position = advanced
        rest = buffer[position:]
        if self.done:
            self._buffer = b""
            return b"".join(body), rest
        self._buffer = rest
        return b"".join(body), b""

    def _line(self, buffer: bytes, position: int) -> int:
        """Take one line (a chunk's end, a size, a trailer); return where the next begins, `position` when more is needed."""
        if self._ending:
            end = buffer[position : position + 2]
            if not b"\r\n".startswith(end):
                raise MalformedError(400, "a chunk does not end where its size says")
            if len(end) < 2:
                return position
            self._ending = False
            return position + 2
        end_at = buffer.find(b"\r\n", position)
        if end_at < 0:
            if len(buffer) - position > CHUNK_LINE_MAX_BYTES:
                raise MalformedError(400, "a chunk's size line is too long")
            return position
        line = buffer[position:end_at]
        if self._trailers is not None:
            self._trailer(line)
        else:
            self._size(line)
        return end_at + 2

    def _size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or len(line) > CHUNK_LINE_MAX_BYTES:
            raise MalformedError(400, "not a chunk size")
        self._left = int(match.group(1), 16)
        if not self._left:
            self._trailers = 0

    def _trailer(self, line: bytes) -> None:
        assert self._trailers is not None
        if not line:
            self.done = True
            return
        self._trailers += len(line)
        if self._trailers > TRAILERS_MAX_BYTES:
            raise MalformedError(431, "the trailers are too large")
        if not valid(line.decode("latin-1")):
            raise MalformedError(400, "not a trailer field")


def _bad_request_line(text: str) -> MalformedError:
    line = text.partition("\r\n")[0]
    if line.startswith("CONNECT "):
        # In whatever form: a backend's 2xx to it would make a tunnel of the connection.
        return MalformedError(400, "this is no tunnel")
    version = re.fullmatch(r"\S+ \S+ HTTP/(\d)\.(\d)", line)
    if version and version.group(1) != "1":
        return MalformedError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return MalformedError(400, "not a request line")


def _fields(text: str, start: int) -> tuple[list[Pair], list[str], dict[str, str]]:
    """The fields of a head from the end of its first line on: as pairs, their lower names, and the first value of each name."""
    end = len(text) - 4
    pairs = [pair_of(line) for line in text[start:end].split("\r\n")] if start < end else []
    names = [name.lower() for name, _ in pairs]
    named: dict[str, str] = {}
    for name, (_, value) in zip(names, pairs, strict=True):
        named.setdefault(name, value)
    return pairs, names, named


def _repeated(names: list[str], lower: str) -> bool:
    return names.count(lower) > 1


def _host(names: list[str], named: dict[str, str], minor: int) -> str:
    host = named.get("host")
    if host is None:
        if minor == 1:
            raise MalformedError(400, "Host is missing")
        return ""
    if _repeated(names, "host"):
        raise MalformedError(400, "Host is repeated")
    if _HOST.fullmatch(host) is None:
        raise MalformedError(400, "Host is malformed")
    return host


def _unusual_target(method: str, target: str, host: str) -> tuple[str, str]:
    """Absolute form becomes origin form with its own authority; `*` is for OPTIONS; the authority form is not served."""
    if target == "*" and method == "OPTIONS":
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MalformedError(400, "not a target that is served here")
    authority, rest = absolute.group(1), absolute.group(2) or "/"
    if not authority or _HOST.fullmatch(authority) is None:
        raise MalformedError(400, "the target's authority is malformed")
    return (rest if rest[0] == "/" else f"/{rest}"), authority


def _request_framing(names: list[str], named: dict[str, str], minor: int) -> tuple[Framing, int]:
    coding = named.get("transfer-encoding")
    length = named.get("content-length")
    if coding is None and length is None:
        return Framing.NONE, 0
    if coding is not None:
        if length is not None:
            raise MalformedError(400, "both Content-Length and Transfer-Encoding")
        if minor == 0:
            raise MalformedError(400, "Transfer-Encoding in HTTP/1.0")
        return _coded(names, coding)
    size = _checked_length(names, named, 400)
    return (Framing.LENGTH, size) if size else (Framing.NONE, 0)


def _coded(names: list[str], coding: str) -> tuple[Framing, int]:
    if _repeated(names, "transfer-encoding"):
        raise MalformedError(400, "Transfer-Encoding is repeated")
    if coding.lower() == "chunked":
        return Framing.CHUNKED, 0
    if re.fullmatch(r"(?i:[a-z-]+[ \t]*,[ \t]*)+(?i:chunked)", coding) and coding.lower().count("chunked") == 1:
        raise MalformedError(501, "this transfer coding is not known here")
    raise MalformedError(400, "Transfer-Encoding does not end in one chunked")


def _checked_length(names: list[str], named: dict[str, str], status: int) -> int:
    length = named["content-length"]
    if _repeated(names, "content-length"):
        raise MalformedError(status, "Content-Length is repeated")
    if LENGTH.fullmatch(length) is None:
        raise MalformedError(status, "Content-Length is not a number")
    return int(length)


def framing_of_response(names: list[str], named: dict[str, str], *, method: str, status: int) -> tuple[Framing, int]:
    """How the end of a response's body is known, and its length (RFC 9112 section 6.3).

    Raises:
        MalformedError: two readers could find two ends (502).
    """
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Framing.NONE, 0
    coding = named.get("transfer-encoding")
    length = named.get("content-length")
    if coding is not None:
        if length is not None or coding.lower() != "chunked" or _repeated(names, "transfer-encoding"):
            raise MalformedError(502, "the response's Transfer-Encoding is not one chunked alone")
        return Framing.CHUNKED, 0
    if length is None:
        return Framing.CLOSE, 0
    size = _checked_length(names, named, 502)
    return (Framing.LENGTH, size) if size else (Framing.NONE, 0)
