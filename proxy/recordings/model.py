"""One request of a recording, with as much of its answer as the recording holds. Pure."""

import base64
import binascii
import datetime as dt
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Request, Response, Side

NOT_RECORDED: Final = "the recording holds no response"
_URL_SAFE: Final = "!#$%&'()*+,/:;=?@[]~-._"


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """What a recording says about one request.

    `outcome` is None when the recording holds no answer. `started_ns` is Unix nanoseconds, 0 when the recording has no times;
    `duration_ns` 0 when unknown. `served_by` None: whoever answered was neither of our sides. The other fields are an
    exchange's.
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
    """A record that cannot be read: where in the recording, and why."""

    place: str
    reason: str


Item = RecordedExchange | MalformedRecord


def recorded_of(exchange: Exchange) -> RecordedExchange:
    """An exchange as a recording's record; nothing is lost."""
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


def exchange_of(recorded: RecordedExchange, *, served_by: Side, exchange_id: str) -> Exchange:
    """The record as an exchange for the journal; where the recording is silent, the arguments speak."""
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


def header_of(headers: HeaderList, name: str) -> str:
    """The first value of a header, "" when absent; `name` is lower case."""
    return next((value for key, value in headers if key.lower() == name), "")


def without(headers: HeaderList, *names: str) -> HeaderList:
    """The headers but for these; names are lower case."""
    return tuple((key, value) for key, value in headers if key.lower() not in names)


def with_host(headers: HeaderList, authority: str) -> HeaderList:
    """The headers with Host first, where they name none."""
    if not authority or header_of(headers, "host"):
        return headers
    return (("Host", authority), *headers)


def split_url(url: str) -> tuple[str, str]:
    """Authority and target of an absolute URL, byte for byte; ("", url) for a target. A fragment is dropped."""
    scheme, separator, rest = url.partition("://")
    if not separator or "/" in scheme or "?" in scheme:
        return "", url
    rest = rest.partition("#")[0]
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    if not target.startswith("/"):
        target = "/" + target
    return authority.rpartition("@")[2], target


def url_of(recorded: RecordedExchange, *, scheme: str = "http") -> str:
    """The absolute URL of a request: its Host, or `unknown.invalid` when it has none."""
    host = header_of(recorded.request.headers, "host") or "unknown.invalid"
    target = recorded.request.target
    return f"{scheme}://{host}{target if target.startswith('/') else '/' + target}"


def ascii_target(target: str) -> str:
    """The target with what may not stand in a URL percent-encoded as latin-1; what is encoded already stays."""
    return quote(target, safe=_URL_SAFE, encoding="latin-1", errors="replace")


def wire_text(text: str) -> str:
    """Header text of a JSON document as an exchange has it: its bytes in UTF-8, one character a byte.

    Raises:
        ValueError: text that no bytes stand for.
    """
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def document_text(text: str) -> str:
    """The way back: header text for people and other programs. Bytes that are no UTF-8 become lone surrogates, as mitmproxy's do."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text


def text_or_base64(body: bytes) -> tuple[str, bool]:
    """The body as text, and whether that is base64."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


def from_base64(text: str | bytes) -> bytes:
    """Decode strictly.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def ns_of(moment: str) -> int:
    """Unix nanoseconds of an ISO 8601 time, to the microsecond; a time without a zone is UTC.

    Raises:
        ValueError: it is none.
    """
    parsed = dt.datetime.fromisoformat(moment)
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1) * 1_000


def iso_of(ns: int) -> str:
    """The time in ISO 8601, to the microsecond, in UTC."""
    return (_EPOCH + dt.timedelta(microseconds=ns // 1_000)).isoformat(timespec="microseconds")
