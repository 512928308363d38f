"""A recorded request, with as much of its response as the recording holds; and what several formats need to read and write it. Pure."""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Request, Response, Side
from proxy.http1.fields import first_value

NOT_RECORDED: Final = "the recording holds no response"
_URL_SAFE: Final = "!#$%&'()*+,/:;=?@[]~-._"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\d+$)")
"""The scheme of an absolute URL; `host:443`, the target of a CONNECT, has none."""
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
TIME_MAX_NS: Final = 2**63
"""Times are less, in Unix nanoseconds: the year 2262."""
_LINE_CONTROLS: Final = re.compile(r"[\0\r\n]")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BODILESS_STATUSES: Final = (204, 304)


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """A request of a recording. The fields that are not listed are those of an exchange.

    Attributes:
        outcome: None where the recording holds no response.
        started_ns: Unix nanoseconds; 0 where the recording has no times.
        duration_ns: 0 for unknown.
        served_by: None for a server that was neither of our sides.
    """

    request: Request
    outcome: Response | Failed | None = None
    id: str = ""
    started_ns: int = 0
    duration_ns: int = 0
    route: str = ""
    key: str = ""
    served_by: Side | None = None
    stage: str = ""
    overlapped: bool = False
    skip: str = ""


@dataclass(frozen=True, slots=True)
class MalformedRecord:
    """A record that cannot be parsed: its location in the recording, and the reason."""

    location: str
    reason: str


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record that is not an HTTP request of a client, and is not to be sent.

    Attributes:
        location: in the recording.
        kind: the name of what it is, e.g. `websocket` or `data:`.
        is_http: it is an HTTP message, but not a request of a client, e.g. the response of a replay.
    """

    location: str
    kind: str
    is_http: bool = False


Item = RecordedExchange | MalformedRecord | SkippedRecord


def checked(item: Item, location: str) -> Item:
    """Return the item, or the record that stands for it where its request cannot be sent: a websocket, a tunnel, or a malformed one."""
    if not isinstance(item, RecordedExchange):
        return item
    request = item.request
    if request.method == "CONNECT":
        return SkippedRecord(location, "CONNECT")
    if request.method == "PRI":
        return SkippedRecord(location, "preface of HTTP/2")
    if "websocket" in header_of(request.headers, "upgrade").lower():
        return SkippedRecord(location, "websocket")
    if not _TOKEN.fullmatch(request.method):
        return MalformedRecord(location, f"{request.method[:40]!r} is not a method")
    if not request.target.startswith("/") and request.target != "*":
        return MalformedRecord(location, f"{request.target[:40]!r} is neither a path nor an http(s) URL")
    wrong = next((name for name, _ in request.headers if not _TOKEN.fullmatch(name)), None)
    if wrong is not None:
        return MalformedRecord(location, f"{wrong[:40]!r} is not the name of a header")
    if reason := _unsendable_text((request.target, *(value for _, value in request.headers))):
        return MalformedRecord(location, f"its target or a header holds {reason}")
    if not (0 <= item.started_ns < TIME_MAX_NS and 0 <= item.duration_ns < TIME_MAX_NS):
        return MalformedRecord(location, "timestamp out of range")
    return item


def _unsendable_text(texts: Sequence[str]) -> str:
    if not all(map(_is_wire_text, texts)):
        return "characters that are not bytes (U+0000 to U+00FF)"
    return "a line break or a NUL, which no request has" if any(map(_LINE_CONTROLS.search, texts)) else ""


def _is_wire_text(text: str) -> bool:
    return text.isascii() or max(text) <= "\xff"


class NotHttpError(ValueError):
    """A record is not HTTP; the message is the kind of a `SkippedRecord`."""


def not_read(location: str, error: Exception) -> MalformedRecord | SkippedRecord:
    """Return the record that stands for one that could not be read."""
    if isinstance(error, NotHttpError):
        return SkippedRecord(location, str(error))
    reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return MalformedRecord(location, reason)


def from_exchange(exchange: Exchange) -> RecordedExchange:
    """Return the record of an exchange. Nothing is lost."""
    return RecordedExchange(
        request=exchange.request,
        outcome=exchange.outcome,
        id=exchange.id,
        started_ns=exchange.started_ns,
        duration_ns=exchange.ended_ns - exchange.started_ns,
        route=exchange.route,
        key=exchange.key,
        served_by=exchange.served_by,
        stage=exchange.stage,
        overlapped=exchange.overlapped,
        skip=exchange.skip,
    )


def to_exchange(recorded: RecordedExchange, *, served_by: Side, exchange_id: str) -> Exchange:
    """Return the exchange of a record, with the arguments for what the recording does not hold."""
    return Exchange(
        id=recorded.id or exchange_id,
        route=recorded.route,
        key=recorded.key,
        served_by=recorded.served_by or served_by,
        stage=recorded.stage,
        started_ns=recorded.started_ns,
        ended_ns=recorded.started_ns + recorded.duration_ns,
        request=recorded.request,
        outcome=recorded.outcome or Failed(FailureCause.PROTOCOL, NOT_RECORDED),
        overlapped=recorded.overlapped,
        skip=recorded.skip,
    )


def first_line(head: bytes) -> bytes:
    """Return the first line of a file that begins with these bytes, without byte order mark and leading white space."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]


def header_of(headers: HeaderList, name: str) -> str:
    """Return the first value of a header, "" when it is absent; `name` is lower case."""
    return first_value(headers, name) or ""


def without(headers: HeaderList, *names: str) -> HeaderList:
    """Return the headers except these; names are lower case."""
    return tuple((key, value) for key, value in headers if key.lower() not in names)


def with_host(headers: HeaderList, authority: str) -> HeaderList:
    """Return the headers with Host added in front where they have none."""
    if not authority or header_of(headers, "host"):
        return headers
    return (("Host", authority), *headers)


def split_url(url: str) -> tuple[str, str]:
    """Return authority and target of an absolute URL, unchanged but for a fragment; ("", url) where it is a target already.

    Raises:
        NotHttpError: the URL has another scheme than http and https.
        ValueError: the URL has no authority.
    """
    match = _SCHEME.match(url)
    if match is None:
        return "", url
    scheme = match.group(1).lower()
    if scheme not in ("http", "https"):
        raise NotHttpError("websocket" if scheme in ("ws", "wss") else f"{scheme}:")
    if not url.startswith("//", match.end()):
        raise ValueError("a URL without a host")
    rest = url[match.end() + 2 :].partition("#")[0]
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    if not target.startswith("/"):
        target = "/" + target
    return authority.rpartition("@")[2], target


def url_of(recorded: RecordedExchange, *, scheme: str = "http") -> str:
    """Return the absolute URL of a request, with the host `unknown.invalid` where it has none."""
    host = header_of(recorded.request.headers, "host") or "unknown.invalid"
    target = ascii_target(recorded.request.target)
    return f"{scheme}://{host}{target if target.startswith('/') else '/' + target}"


def document_url(url: str) -> tuple[str, str]:
    """Return authority and target of a URL in a document of Unicode text, as a browser sends them.

    The host is in its ASCII form (IDNA), and other characters beyond ASCII are percent-encoded as UTF-8: `http://bücher.example/é` is
    `xn--bcher-kva.example` and `/%C3%A9`.

    Raises:
        NotHttpError: see `split_url`.
        ValueError: the URL has no authority, or cannot be encoded.
    """
    authority, target = split_url(url)
    if not authority.isascii():
        authority = authority.encode("idna").decode()
    return authority, _NOT_ASCII.sub(lambda byte: f"%{ord(byte.group()):02X}", wire_text(target))


def ends_early(headers: HeaderList, body: bytes) -> bool:
    """Return whether a message has fewer bytes than its Content-Length says."""
    length = header_of(headers, "content-length").strip()
    return length.isascii() and length.isdigit() and len(length) < 19 and len(body) < int(length)


def is_bodiless(method: str, status: int) -> bool:
    """Return whether a response has no body whatever its Content-Length says (RFC 9112 section 6.3)."""
    return method == "HEAD" or status in _BODILESS_STATUSES


def ascii_target(target: str) -> str:
    """Return the target with characters that a URL must not have percent-encoded, as latin-1; existing escapes are kept."""
    return quote(target, safe=_URL_SAFE, encoding="latin-1", errors="replace")


def wire_text(text: str) -> str:
    """Return header text of a JSON document as an exchange has it: its UTF-8 bytes, one character (latin-1) each.

    Raises:
        ValueError: the text cannot be encoded.
    """
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def document_text(text: str) -> str:
    """Return header text for a JSON document, the inverse of `wire_text`. Bytes that are not UTF-8 become lone surrogates, as in mitmproxy."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text


def text_of(value: object) -> str:
    """Return a member of a JSON document that has to be a text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of a text")
    return value


def text_or_base64(body: bytes) -> tuple[str, bool]:
    """Return the body as text, and whether that is base64."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


def from_base64(text: str | bytes) -> bytes:
    """Decode base64, strictly.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def ns_of(time: str) -> int:
    """Return the Unix nanoseconds of an ISO 8601 time, to the microsecond; a time without a zone is UTC.

    Raises:
        ValueError: it is not ISO 8601.
    """
    parsed = dt.datetime.fromisoformat(time)
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1) * 1_000


def iso_of(ns: int) -> str:
    """Return a time in ISO 8601, to the microsecond, in UTC."""
    return (_EPOCH + dt.timedelta(microseconds=ns // 1_000)).isoformat(timespec="microseconds")
