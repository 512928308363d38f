"""HAR 1.2, and mitmproxy's zlib-compressed .zhar. Pure.

Values that HAR has no member for are kept in members that begin with `_`, as the format allows: our ids, the exact nanoseconds, the
encoding of a binary request body. Bodies of responses are written decoded, as other readers expect, so a response that is read back
has no Content-Encoding. Observed and tolerated: a byte order mark, headers as `[name, value]`, pseudo headers of HTTP/2, entries
without bodies, status 0 with `_error`, status -1 with `_failureText`, bodies decoded by a charset that is not named (browsers and
mitmproxy), binary request bodies left out (browsers), URLs that are not ASCII. WebSockets, and URLs of a page's own (`data:`, `blob:`,
`about:`, those of extensions), are skipped.
"""

import contextlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import quote_plus

from comparator.exchanges.model import Failed, FailureCause, HeaderList, Request, Response, Side
from comparator.responses.bodies import UnreadableBody, decode
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import (
    Item,
    NotHttpError,
    RecordedExchange,
    document_text,
    document_url,
    ends_early,
    first_line,
    from_base64,
    header_of,
    is_bodiless,
    iso_of,
    not_read,
    ns_of,
    text_of,
    text_or_base64,
    url_of,
    wire_text,
    with_host,
    without,
)

BODY_MAX_BYTES: Final = 256 * 1024**2
INFLATED_MAX_BYTES: Final = 256 * 1024**2
VALUES_MAX: Final = 5_000_000
"""JSON values of a file, which take some 70 bytes of memory each, however few bytes of the file they are."""
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_CHARSETS: Final = ("utf-8", "latin-1", "cp1252")
_OWN: Final = ("route", "key", "stage", "skip")


def matches(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has this format."""
    return first_line(head).startswith((b"{", b"[")) and b'"log"' in head[:200]


def parse(data: bytes) -> Iterator[Item]:
    """Yield the entries in the file's order.

    Raises:
        RecordingError: the file is not a HAR.
    """
    for number, entry in enumerate(_entries(data), 1):
        try:
            if _is_websocket(entry):
                raise NotHttpError("websocket")
            yield _recorded(entry)
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield not_read(f"entry {number}", error)


def _entries(data: bytes) -> list[Any]:
    try:
        if data[:1] == b"x":
            data = _inflated(data)
        text = data.decode(_charset(data))
        _check_values(text)
        entries: Any = json.loads(text)["log"]["entries"]
    except KeyError as error:
        raise RecordingError(f"not a HAR: no member `{error.args[0]}`") from error
    except (ValueError, TypeError, RecursionError, zlib.error) as error:
        raise RecordingError(f"not a HAR: {type(error).__name__}: {error}") from error
    if not isinstance(entries, list):
        raise RecordingError("not a HAR: `entries` is not a list")
    return cast("list[Any]", entries)


def _check_values(text: str) -> None:
    """Refuse a file with more values than fit into memory: a few bytes of it may become a hundred.

    Raises:
        RecordingError: it may have more than VALUES_MAX.
    """
    if len(text) <= VALUES_MAX:
        return
    strings = (text.count('"') - text.count('\\"')) // 2
    if strings <= VALUES_MAX:
        rest = _STRING.sub("", text)
        if rest.count(",") + rest.count("[") + rest.count("{") <= VALUES_MAX:
            return
    raise RecordingError(f"not a HAR that can be read: more than {VALUES_MAX:,} values; export it in parts")


def _charset(data: bytes) -> str:
    """Return the charset of a file: UTF-8, or the UTF-16 that some shells write."""
    return "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    plain = stream.decompress(data, INFLATED_MAX_BYTES)
    if stream.unconsumed_tail:
        raise RecordingError(f"not a HAR: larger than {INFLATED_MAX_BYTES // 1024**2} MiB, decompressed")
    if not stream.eof:
        raise ValueError("the compressed data end early")
    return plain


def _is_websocket(entry: Any) -> bool:
    named = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    return "_webSocketMessages" in named or named.get("_resourceType") == "websocket"


def dump(records: Iterable[RecordedExchange]) -> Iterator[bytes]:
    """Yield the whole file, in pieces."""
    yield b'{"log":{"version":"1.2","creator":{"name":"shadow","version":"1"},"entries":['
    separator = b"\n"
    for recorded in records:
        yield separator + json.dumps(_entry(recorded), ensure_ascii=True).encode()
        separator = b",\n"
    yield b"\n]}}\n"


def _recorded(entry: Mapping[str, Any]) -> RecordedExchange:
    request = entry["request"]
    authority, target = document_url(text_of(request["url"]))
    method = text_of(request["method"])
    headers = _headers(request)
    pseudo = header_of(headers, ":authority")
    body, incomplete, was_encoded = _request_body(request, headers)
    if was_encoded:
        headers = without(headers, "content-encoding", "content-length")
    plain = tuple((name, value) for name, value in headers if not name.startswith(":"))
    started = entry.get("startedDateTime")
    started_ns = int(entry["_started_ns"]) if "_started_ns" in entry else ns_of(started) if started else 0
    duration_ns = int(entry["_duration_ns"]) if "_duration_ns" in entry else round(max(0, entry.get("time") or 0) * 1e6)
    side = entry.get("_served_by")
    return RecordedExchange(
        request=Request(
            method,
            str(entry.get("_target", target)),
            with_host(plain, pseudo or authority),
            body,
            bool(request.get("_truncated")) or incomplete,
        ),
        outcome=_outcome(entry, method=method),
        id=str(entry.get("_id", "")),
        started_ns=started_ns,
        duration_ns=duration_ns,
        served_by=Side(side) if side else None,
        overlapped=bool(entry.get("_overlapped")),
        **{name: str(entry.get(f"_{name}", "")) for name in _OWN},
    )


def _headers(message: Mapping[str, Any]) -> HeaderList:
    pairs: list[Any] = message.get("headers") or []
    return tuple(_pair(pair) for pair in pairs)


def _pair(pair: Any) -> tuple[str, str]:
    if isinstance(pair, dict):
        named = cast("dict[str, Any]", pair)
        return wire_text(text_of(named["name"])), wire_text(str(named.get("value") or ""))
    name, value = pair
    return wire_text(text_of(name)), wire_text(str(value))


def _request_body(request: Mapping[str, Any], headers: HeaderList) -> tuple[bytes, bool, bool]:
    """Return the body, whether it is incomplete, and whether the writer has removed a content encoding from it."""
    data: Mapping[str, Any] = request.get("postData") or {}
    text, size = data.get("text"), request.get("bodySize")
    if text is None and data.get("params"):
        if str(data.get("mimeType")).lower().startswith("multipart/"):
            # Its boundary and the headers of its parts are not recorded.
            return b"", True, False
        pairs = [(p["name"], p.get("value") or "") for p in data["params"]]
        text = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    if not text:
        return b"", ends_early(headers, b"") or (isinstance(size, int) and size > 0), False
    if "base64" in (data.get("_encoding"), data.get("encoding")):
        return from_base64(text), False, False
    if data.get("_as_sent"):
        return text.encode(), False, False
    body, complete = _bytes(text, headers, size)
    return body, not complete, bool(header_of(headers, "content-encoding"))


def _bytes(text: str, headers: HeaderList, size: object) -> tuple[bytes, bool]:
    """Return the bytes of a body that is given as text, and whether their number is right.

    The charset by which the writer decoded it is not recorded. It is the one that gives the right length: Content-Length, or
    without it the size that the writer states. `é`, for example, with Content-Length 1 was latin-1, and with 2 UTF-8.
    """
    length = header_of(headers, "content-length")
    stated = bool(length) and length.isdigit() and not header_of(headers, "content-encoding")
    for charset in _CHARSETS:
        with contextlib.suppress(UnicodeEncodeError):
            body = text.encode(charset, "surrogateescape")
            if len(body) == (int(length) if stated else size):
                return body, True
    return text.encode("utf-8", "surrogateescape"), not stated


def _outcome(entry: Mapping[str, Any], *, method: str) -> Response | Failed | None:
    response: dict[str, Any] | None = entry.get("response")
    if not response or response.get("_missing"):
        return None
    status = int(response.get("status") or 0)
    if status <= 0:
        error = str(response.get("_error") or response.get("_failureText") or entry.get("_error") or "status 0")
        cause, _, detail = error.partition(": ")
        known = cause in tuple(FailureCause)
        return Failed(FailureCause(cause), detail) if known else Failed(FailureCause.RESET, error)
    content: dict[str, Any] = response.get("content") or {}
    text = content.get("text") or ""
    headers = tuple((name, value) for name, value in _headers(response) if not name.startswith(":"))
    if content.get("encoding") == "base64":
        body, complete = from_base64(text), True
    elif text and not content.get("_as_sent"):
        body, complete = _bytes(text, headers, content.get("size"))
    else:
        body, complete = text.encode(), "text" in content or _has_no_body(method, status, headers, content)
    truncated = bool(response.get("_truncated")) or not complete
    if not content.get("_as_sent") and header_of(headers, "content-encoding"):
        headers = without(headers, "content-encoding", "content-length", "transfer-encoding")
    return Response(status, headers, body, truncated)


def _has_no_body(method: str, status: int, headers: HeaderList, content: Mapping[str, Any]) -> bool:
    return content.get("size") == 0 or is_bodiless(method, status) or header_of(headers, "content-length") == "0"


def _entry(recorded: RecordedExchange) -> dict[str, Any]:
    own: dict[str, Any] = {"_" + name: getattr(recorded, name) for name in _OWN if getattr(recorded, name)}
    if recorded.overlapped:
        own["_overlapped"] = True
    if recorded.served_by:
        own["_served_by"] = recorded.served_by
    duration_ms = round(recorded.duration_ns / 1e6, 3)
    return {
        "startedDateTime": iso_of(recorded.started_ns),
        "time": duration_ms,
        "request": _request_of(recorded.request, url_of(recorded)),
        "response": _response_of(recorded.outcome),
        "cache": {},
        "timings": {"send": 0, "wait": duration_ms, "receive": 0},
        "_id": recorded.id,
        "_target": recorded.request.target,
        "_started_ns": recorded.started_ns,
        "_duration_ns": recorded.duration_ns,
        **own,
    }


def _request_of(request: Request, url: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "method": request.method,
        "url": url,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _named(request.headers),
        "queryString": [],
        "headersSize": -1,
        "bodySize": len(request.body),
    }
    if request.body:
        text, encoded = text_or_base64(request.body)
        document["postData"] = {"mimeType": header_of(request.headers, "content-type"), "text": text}
        document["postData"] |= {"_encoding": "base64"} if encoded else {"_as_sent": True}
    if request.body_truncated:
        document["_truncated"] = True
    return document


def _response_of(outcome: Response | Failed | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "status": 0,
        "statusText": "",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [],
        "content": {"size": 0, "mimeType": "", "text": ""},
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": -1,
    }
    match outcome:
        case None:
            return {**document, "_missing": True}
        case Failed():
            return {**document, "_error": f"{outcome.cause}: {outcome.detail}"}
        case Response():
            document |= {"status": outcome.status, "headers": _named(outcome.headers), "bodySize": len(outcome.body)}
            document |= {"content": _content(outcome), "redirectURL": header_of(outcome.headers, "location")}
            return {**document, "_truncated": True} if outcome.body_truncated else document


def _content(response: Response) -> dict[str, Any]:
    plain = decode(response, BODY_MAX_BYTES)
    as_sent = isinstance(plain, UnreadableBody) or response.body_truncated
    text, encoded = text_or_base64(response.body if isinstance(plain, UnreadableBody) or as_sent else plain)
    size = len(response.body) if isinstance(plain, UnreadableBody) else len(plain)
    content: dict[str, Any] = {"size": size, "mimeType": header_of(response.headers, "content-type"), "text": text}
    if encoded:
        content["encoding"] = "base64"
    if as_sent or not header_of(response.headers, "content-encoding"):
        content["_as_sent"] = True
    return content


def _named(headers: HeaderList) -> list[dict[str, str]]:
    return [{"name": document_text(name), "value": document_text(value)} for name, value in headers]
