"""A strict HTTP/1.1 parser. Pure: bytes in, values out.

A message that two parsers could read in two ways is rejected, never repaired, because that is how requests are smuggled (RFC 9112
sections 5, 6, 11.2): obsolete line folding, a bare CR or LF, white space before a colon, Content-Length beside Transfer-Encoding,
repeated or signed lengths, a transfer coding that does not end in chunked. For example

    POST / HTTP/1.1
    Host: a
    Content-Length: 12
    Transfer-Encoding: chunked

    0                       A hop that counts takes all 12 bytes for the body. A hop that decodes chunks finds the end of the body
                            after five, and takes the rest for the beginning of another request. Here: 400.
    GET /ad

Text is latin-1, so that every byte of a target or a value passes unchanged.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from proxy.errors import MalformedError
from proxy.http1.fields import (
    NOT_FORWARDED,
    NOT_RETURNED,
    Field,
    connection_options,
    forwarded_indexes,
    is_field_line,
    parse_field,
)
from proxy.http1.head_template import HeadTemplate, Values

HEAD_END = b"\r\n\r\n"
CHUNK_LINE_MAX_BYTES = 1024
TRAILERS_MAX_BYTES = 16 * 1024
LENGTH_DIGITS_MAX = 18

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # noqa: S105 (RFC 9110 section 5.6.2, not a secret)
_REQUEST_LINE = re.compile(rf"(?!CONNECT )({_TOKEN}{{1,64}}) ([\x21-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
LENGTH = re.compile(rf"[0-9]{{1,{LENGTH_DIGITS_MAX}}}")
EMPTY_LINES_MAX = 8
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"(?i:https?)://([^/?#]*)([/?].*)?")


class Framing(StrEnum):
    """The way in which the end of a body is found."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class Head:
    """A head: a template and the values of its slots. `first_values` and `fields` are built on each access."""

    __slots__ = ()

    template: HeadTemplate
    values: Values

    def value(self, name: str) -> str | None:
        """Return the first value of a field by its lower-case name, None when it is absent."""
        return self.template.value(name, self.values)

    @property
    def first_values(self) -> dict[str, str]:
        """The first value of each field by its lower-case name."""
        return self.template.first_values(self.values)

    @property
    def fields(self) -> list[Field]:
        """Names and values of all fields, in order, case and duplicates kept."""
        return self.template.filled_fields(self.values)


@dataclass(slots=True)
class RequestHead(Head):
    """The head of a request.

    Attributes:
        target: path and query as they came, in origin form; or `*`.
        minor: of HTTP/1.x.
        host: the authority of an absolute target, else the value of Host; "" where HTTP/1.0 sends none.
        length: bytes of the body where `framing` is LENGTH, else 0.
        keep_alive: whether the client means to send more on this connection.
    """

    method: str
    target: str
    minor: int
    host: str
    framing: Framing
    length: int
    keep_alive: bool
    template: HeadTemplate
    values: Values = ()


@dataclass(slots=True)
class ResponseHead(Head):
    """The head of a response. `keep_alive`: the backend's connection can be used again after the body."""

    status: int
    reason: str
    minor: int
    framing: Framing
    length: int
    keep_alive: bool
    template: HeadTemplate
    values: Values = ()


def is_persistent(minor: int, connection: str | None) -> bool:
    """Return whether a connection stays open after the message (RFC 9112 section 9.3), given the value of Connection."""
    if connection is None:
        return minor == 1
    options = connection.lower()
    if options == "keep-alive":
        return True
    listed = [option.strip() for option in options.split(",")]
    return "close" not in listed and (minor == 1 or "keep-alive" in listed)


def parse_request(head: bytes, *, fields_max: int) -> RequestHead:
    """Parse the head of a request.

    Args:
        head: all bytes up to and with the final empty line.
        fields_max: the most fields that are accepted; 0 for no limit.

    Raises:
        MalformedError: the request has to be rejected with this status: 400, 417, 431, 501 or 505.
    """
    text = head.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise _bad_request_line(text)
    method, target, minor = line.group(1), line.group(2), int(line.group(3))
    fields, names, first_values = _parse_fields(text, line.end())
    if fields_max and len(fields) > fields_max:
        raise MalformedError(431, f"more than {fields_max} header fields")
    host = _checked_host(names, first_values, minor)
    if target[0] != "/":
        target, host = _other_target_form(method, target, host)
    if "#" in target:
        raise MalformedError(400, "the request target has a fragment")
    framing, length = _request_framing(names, first_values, minor)
    if "expect" in first_values and first_values["expect"].lower() != "100-continue":
        raise MalformedError(417, "unsupported expectation")
    dropped = NOT_FORWARDED | connection_options(names, fields)
    template = HeadTemplate(fields, names, first_values, forwarded_indexes(names, dropped))
    keep_alive = is_persistent(minor, first_values.get("connection"))
    return RequestHead(method, target, minor, host, framing, length, keep_alive, template)


def parse_response(head: bytes, *, method: str) -> ResponseHead:
    """Parse the head of a response.

    Args:
        head: all bytes up to and with the final empty line.
        method: of the request; a response to HEAD has no body.

    Raises:
        MalformedError: the backend does not speak HTTP/1.1 (502).
    """
    text = head.decode("latin-1")
    line = _STATUS_LINE.match(text)
    if line is None:
        raise MalformedError(502, "malformed status line")
    minor, status, reason = int(line.group(1)), int(line.group(2)), line.group(3) or ""
    fields, names, first_values = _parse_fields(text, line.end())
    framing, length = response_framing(names, first_values, method=method, status=status)
    dropped = NOT_RETURNED | connection_options(names, fields)
    template = HeadTemplate(fields, names, first_values, forwarded_indexes(names, dropped))
    keep_alive = framing is not Framing.CLOSE and is_persistent(minor, first_values.get("connection"))
    return ResponseHead(status, reason, minor, framing, length, keep_alive, template)


def skip_empty_lines(data: bytes) -> bytes:
    """Skip the empty lines before a request (RFC 9112 section 2.2) and return the bytes after them.

    Raises:
        MalformedError: there are more than EMPTY_LINES_MAX (400).
    """
    lines = _EMPTY_LINES.match(data)
    end = lines.end() if lines else 0
    if end > 2 * EMPTY_LINES_MAX:
        raise MalformedError(400, "too many empty lines before the request")
    return data[end:]


def check_partial(data: bytes, *, target_max: int, header_max: int) -> None:
    """Check that the beginning of a head can still become an acceptable one.

    Args:
        data: the bytes of a head without its end.
        target_max: bytes of the request line.
        header_max: bytes of the head.

    Raises:
        MalformedError: it cannot (400, 414, 431).
    """
    line_end = data.find(b"\n")
    if line_end < 0 and len(data) > target_max:
        raise MalformedError(414, "the request target is too long")
    if len(data) > header_max:
        raise MalformedError(431, f"the header is larger than {header_max} bytes")
    if line_end >= 0 and data[line_end - 1 : line_end] != b"\r":
        raise MalformedError(400, "a line ends in a bare LF")


class ChunkDecoder:
    r"""Decode a chunked body, in pieces of any size; extensions and trailers are dropped (RFC 9112 section 7.1).

    The state is in three attributes. After `4;x=y\r\nab` two bytes of a chunk are missing:

        fed so far                  `_remaining`  `_after_data`  `_trailer_bytes`   next to come
        (nothing)                   0             False          None               a size line
        4;x=y\r\nab                 2             False          None               data
        4;x=y\r\nabcd               0             True           None               the CRLF of the chunk
        4;x=y\r\nabcd\r\n           0             False          None               a size line
        4;x=y\r\nabcd\r\n0\r\n      0             False          0                  trailer lines, then an empty line
    """

    def __init__(self) -> None:
        self.complete = False
        """The last chunk and the trailers have been read."""
        self._buffer = b""
        self._remaining = 0
        """Bytes of the current chunk that have not come yet."""
        self._after_data = False
        """The data of a chunk has been read, the CRLF behind it has not."""
        self._trailer_bytes: int | None = None
        """Bytes of trailers so far; None before the last chunk."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Decode some bytes.

        Returns:
            The bytes of the body in them, and the bytes that follow the end of the body (only once `complete`).

        Raises:
            MalformedError: they are not chunked coding (400), or the trailers are too large (431).
        """
        buffer = self._buffer + data if self._buffer else data
        body: list[bytes] = []
        position = 0
        while not self.complete:
            if self._remaining:
                piece = buffer[position : position + self._remaining]
                if not piece:
                    break
                body.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
                self._after_data = not self._remaining
                continue
            advanced = self._read_line(buffer, position)
            if advanced == position:
                break
            position = advanced
        rest = buffer[position:]
        if self.complete:
            self._buffer = b""
            return b"".join(body), rest
        self._buffer = rest
        return b"".join(body), b""

    def _read_line(self, buffer: bytes, position: int) -> int:
        """Read one line (the end of a chunk, a size, a trailer). Return where the next begins; `position` if the line is incomplete."""
        if self._after_data:
            end = buffer[position : position + 2]
            if not b"\r\n".startswith(end):
                raise MalformedError(400, "a chunk is longer than its size")
            if len(end) < 2:
                return position
            self._after_data = False
            return position + 2
        end_at = buffer.find(b"\r\n", position)
        if end_at < 0:
            if len(buffer) - position > CHUNK_LINE_MAX_BYTES:
                raise MalformedError(400, "a chunk size line is too long")
            return position
        line = buffer[position:end_at]
        if self._trailer_bytes is not None:
            self._read_trailer(line)
        else:
            self._read_size(line)
        return end_at + 2

    def _read_size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or len(line) > CHUNK_LINE_MAX_BYTES:
            raise MalformedError(400, "malformed chunk size")
        self._remaining = int(match.group(1), 16)
        if not self._remaining:
            self._trailer_bytes = 0

    def _read_trailer(self, line: bytes) -> None:
        assert self._trailer_bytes is not None
        if not line:
            self.complete = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > TRAILERS_MAX_BYTES:
            raise MalformedError(431, "the trailers are too large")
        if not is_field_line(line.decode("latin-1")):
            raise MalformedError(400, "malformed trailer field")


def _bad_request_line(text: str) -> MalformedError:
    line = text.partition("\r\n")[0]
    if line.startswith("CONNECT "):
        # Rejected in every form: a 2xx from the backend would turn the connection into a tunnel.
        return MalformedError(400, "CONNECT is not supported")
    version = re.fullmatch(r"\S+ \S+ HTTP/(\d)\.(\d)", line)
    if version and version.group(1) != "1":
        return MalformedError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    return MalformedError(400, "malformed request line")


def _parse_fields(text: str, start: int) -> tuple[list[Field], list[str], dict[str, str]]:
    """Parse the fields of a head, which begin at `start`.

    Returns:
        Names and values; the lower-case names; the first value of each lower-case name.
    """
    end = len(text) - 4
    fields = [parse_field(line) for line in text[start:end].split("\r\n")] if start < end else []
    names = [name.lower() for name, _ in fields]
    first_values: dict[str, str] = {}
    for name, (_, value) in zip(names, fields, strict=True):
        first_values.setdefault(name, value)
    return fields, names, first_values


def _repeated(names: list[str], lower: str) -> bool:
    return names.count(lower) > 1


def _checked_host(names: list[str], first_values: dict[str, str], minor: int) -> str:
    host = first_values.get("host")
    if host is None:
        if minor == 1:
            raise MalformedError(400, "the Host field is missing")
        return ""
    if _repeated(names, "host"):
        raise MalformedError(400, "the Host field is repeated")
    if _HOST.fullmatch(host) is None:
        raise MalformedError(400, "malformed Host field")
    return host


def _other_target_form(method: str, target: str, host: str) -> tuple[str, str]:
    """Turn a target that is not in origin form into a target and a host (RFC 9112 section 3.2).

    `GET http://b/x` with `Host: a` becomes `/x` and `b`. `*` is for OPTIONS only; authority form is for CONNECT, which is rejected.
    """
    if target == "*" and method == "OPTIONS":
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MalformedError(400, "unsupported form of request target")
    authority, rest = absolute.group(1), absolute.group(2) or "/"
    if not authority or _HOST.fullmatch(authority) is None:
        raise MalformedError(400, "malformed authority in the request target")
    return (rest if rest[0] == "/" else f"/{rest}"), authority


def _request_framing(names: list[str], first_values: dict[str, str], minor: int) -> tuple[Framing, int]:
    coding = first_values.get("transfer-encoding")
    length = first_values.get("content-length")
    if coding is None and length is None:
        return Framing.NONE, 0
    if coding is not None:
        if length is not None:
            raise MalformedError(400, "both Content-Length and Transfer-Encoding are present")
        if minor == 0:
            raise MalformedError(400, "Transfer-Encoding is not allowed in HTTP/1.0")
        return _transfer_coding(names, coding)
    size = _checked_length(names, first_values, 400)
    return (Framing.LENGTH, size) if size else (Framing.NONE, 0)


def _transfer_coding(names: list[str], coding: str) -> tuple[Framing, int]:
    if _repeated(names, "transfer-encoding"):
        raise MalformedError(400, "Transfer-Encoding is repeated")
    if coding.lower() == "chunked":
        return Framing.CHUNKED, 0
    if re.fullmatch(r"(?i:[a-z-]+[ \t]*,[ \t]*)+(?i:chunked)", coding) and coding.lower().count("chunked") == 1:
        raise MalformedError(501, "unsupported transfer coding")
    raise MalformedError(400, "Transfer-Encoding does not end in a single chunked")


def _checked_length(names: list[str], first_values: dict[str, str], status: int) -> int:
    length = first_values["content-length"]
    if _repeated(names, "content-length"):
        raise MalformedError(status, "Content-Length is repeated")
    if LENGTH.fullmatch(length) is None:
        raise MalformedError(status, "Content-Length is not a number")
    return int(length)


def response_framing(
    names: list[str], first_values: dict[str, str], *, method: str, status: int
) -> tuple[Framing, int]:
    """Return how the end of a response's body is found, and its length (RFC 9112 section 6.3).

    Raises:
        MalformedError: two readers could find different ends (502).
    """
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Framing.NONE, 0
    coding = first_values.get("transfer-encoding")
    length = first_values.get("content-length")
    if coding is not None:
        if length is not None or coding.lower() != "chunked" or _repeated(names, "transfer-encoding"):
            raise MalformedError(502, "the response's Transfer-Encoding is not a single chunked")
        return Framing.CHUNKED, 0
    if length is None:
        return Framing.CLOSE, 0
    size = _checked_length(names, first_values, 502)
    return (Framing.LENGTH, size) if size else (Framing.NONE, 0)
