"""mitmproxy's flow files: a sequence of tnetstrings, each the state of a flow. Pure.

    4:true!                 a boolean: the number of bytes, a colon, the bytes, the type
    14:4:type;4:http;}      the dict {"type": "http"}

Only the members that are needed are read, and no version is required, so files of every version with these members can be read.
Bodies are still content-encoded, as in an exchange. Flows that are not HTTP, WebSockets and those of a replay are skipped.

Values that a flow has no member for are written into its `metadata`, which mitmproxy keeps, so that an export is read back unchanged.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from comparator.exchanges.model import Failed, FailureCause, HeaderList, Request, Response, Side
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import (
    Item,
    MalformedRecord,
    RecordedExchange,
    SkippedRecord,
    ends_early,
    header_of,
    is_bodiless,
    not_read,
    with_host,
)

LENGTH_DIGITS_MAX: Final = 12
FLOW_VERSION: Final = 21
"""The version that mitmproxy 11 and 12 write; later versions read it too."""
_DEPTH_MAX: Final = 64
_EXTRA: Final = "shadow"


def matches(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a sequence of tnetstrings."""
    return b":" in head[: LENGTH_DIGITS_MAX + 1] and head.split(b":", 1)[0].isdigit()


def parse(data: bytes) -> Iterator[Item]:
    """Yield the HTTP flows in the file's order.

    Raises:
        RecordingError: the data are not tnetstrings, or end in the middle of a flow; the flows before have been yielded.
    """
    position = number = 0
    while position < len(data):
        number += 1
        try:
            value, position = tnetstring(data, position)
        except ValueError as error:
            raise RecordingError(f"flow {number}, byte {position}: {error}") from error
        if not isinstance(value, dict):
            yield MalformedRecord(f"flow {number}", "not a flow's state")
            continue
        flow = cast("dict[str, Any]", value)
        location = f"flow {number}"
        if (kind := _text(flow.get("type"))) != "http":
            # Such as tcp, udp or dns.
            yield SkippedRecord(location, kind[:20]) if kind else MalformedRecord(location, "not a flow's state")
        elif flow.get("websocket"):
            yield SkippedRecord(location, "websocket")
        elif flow.get("is_replay"):
            yield SkippedRecord(location, f"replay of a {_text(flow['is_replay'])}"[:30], is_http=True)
        else:
            try:
                yield _recorded(flow)
            except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
                yield not_read(location, error)


def tnetstring(data: bytes, position: int = 0, *, depth: int = 0) -> tuple[Any, int]:
    """Return the value at `position`, and the position after it.

    Raises:
        ValueError: there is no valid value.
    """
    colon = data.find(b":", position, position + LENGTH_DIGITS_MAX + 1)
    digits = data[position:colon]
    if colon < 0 or not digits.isdigit() or depth > _DEPTH_MAX:
        raise ValueError("not a tnetstring")
    begin, end = colon + 1, colon + 1 + int(digits)
    if end >= len(data):
        raise ValueError("the data end inside a value")
    return _value(data[begin:end], data[end : end + 1], depth), end + 1


def _value(raw: bytes, kind: bytes, depth: int) -> Any:
    if kind in _SCALARS:
        return _SCALARS[kind](raw)
    if kind not in b"]}":
        raise ValueError(f"unknown type {kind!r}")
    items = _list(raw, depth)
    if kind == b"]":
        return items
    if len(items) % 2:
        raise ValueError("a dict with a key but no value")
    return {_text(name): value for name, value in zip(items[::2], items[1::2], strict=True)}


def _boolean(raw: bytes) -> bool:
    if raw not in (b"true", b"false"):
        raise ValueError("not a boolean")
    return raw == b"true"


_SCALARS: Final[dict[bytes, Callable[[bytes], Any]]] = {
    b",": bytes,
    b";": bytes.decode,
    b"#": int,
    b"^": float,
    b"!": _boolean,
    b"~": lambda _: None,
}


def _list(raw: bytes, depth: int) -> list[Any]:
    items: list[Any] = []
    position = 0
    while position < len(raw):
        item, position = tnetstring(raw, position, depth=depth + 1)
        items.append(item)
    return items


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value or "")


def _recorded(flow: dict[str, Any]) -> RecordedExchange:
    request, response = flow["request"], flow.get("response")
    extra = cast("dict[str, Any]", cast("dict[str, Any]", flow.get("metadata") or {}).get(_EXTRA) or {})
    started = float(request["timestamp_start"])
    response_end: Any = response["timestamp_end"] if response else None
    ended = float(response_end or request.get("timestamp_end") or started)
    headers = _headers(request) if extra else with_host(_headers(request), _authority(request))
    path, method = request["path"].decode("latin-1"), request["method"].decode("latin-1")
    body = request["content"] or b""
    truncated = request["content"] is None or bool(extra.get("request_truncated")) or ends_early(headers, body)
    return RecordedExchange(
        request=Request(method, path, headers, body, truncated),
        outcome=_outcome(flow, method, response, extra),
        id=_text(extra.get("id", flow.get("id"))),
        started_ns=int(extra.get("started_ns", round(started * 1e6) * 1_000)),
        duration_ns=int(extra.get("duration_ns", max(0, round((ended - started) * 1e6) * 1_000))),
        served_by=Side(extra["served_by"]) if extra.get("served_by") else None,
        overlapped=bool(extra.get("overlapped")),
        **{name: _text(extra.get(name)) for name in _NAMES},
    )


_NAMES: Final = ("route", "key", "stage", "skip")


def _authority(request: dict[str, Any]) -> str:
    host, port = _text(request.get("host")), int(request.get("port") or 0)
    standard = {"http": 80, "https": 443}.get(_text(request.get("scheme")))
    return _text(request.get("authority")) or (host if port in (0, standard) else f"{host}:{port}")


def _outcome(
    flow: dict[str, Any], method: str, response: dict[str, Any] | None, extra: dict[str, Any]
) -> Response | Failed | None:
    if response:
        status, headers, body = int(response["status_code"]), _headers(response), response["content"] or b""
        cut = not is_bodiless(method, status) and ends_early(headers, body)
        truncated = response["content"] is None or bool(extra.get("response_truncated")) or cut
        return Response(status, headers, body, truncated)
    if flow.get("error"):
        detail = _text(flow["error"].get("msg"))
        return Failed(FailureCause(extra["cause"]), detail) if extra else Failed(FailureCause.RESET, detail[:300])
    return None


def _headers(message: dict[str, Any]) -> HeaderList:
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
    return tuple((name, value) for name, value in pairs if not name.startswith(":"))


def dump(recorded: RecordedExchange) -> bytes:
    """Return a flow as mitmproxy 11 writes it. Characters that are not allowed in a header are lost."""
    return _tnetstring(_flow(recorded))


def _flow(recorded: RecordedExchange) -> dict[str, object]:
    started = recorded.started_ns / 1e9
    ended = (recorded.started_ns + recorded.duration_ns) / 1e9
    host, _, port = (header_of(recorded.request.headers, "host") or "unknown.invalid").partition(":")
    address = (host, int(port) if port.isascii() and port.isdigit() else 80)
    failed = recorded.outcome if isinstance(recorded.outcome, Failed) else None
    connection = _connection(started)
    return {
        "version": FLOW_VERSION,
        "type": "http",
        "id": recorded.id,
        "request": _request_state(recorded.request, address, started),
        "response": _response_state(recorded.outcome, ended) if isinstance(recorded.outcome, Response) else None,
        "error": {"msg": failed.detail, "timestamp": ended} if failed else None,
        "websocket": None,
        "client_conn": {**connection, "mitmcert": None, "proxy_mode": "regular"},
        "server_conn": {**connection, "address": address, "timestamp_tcp_setup": None, "via": None},
        "intercepted": False,
        "is_replay": None,
        "marked": "",
        "comment": "",
        "backup": None,
        "timestamp_created": started,
        "metadata": {_EXTRA: _extra(recorded)},
    }


def _extra(recorded: RecordedExchange) -> dict[str, object]:
    """Return the values that a flow has no member for."""
    outcome = recorded.outcome
    return {
        "id": recorded.id,
        "started_ns": recorded.started_ns,
        "duration_ns": recorded.duration_ns,
        "served_by": recorded.served_by.value if recorded.served_by else "",
        "overlapped": recorded.overlapped,
        "request_truncated": recorded.request.body_truncated,
        "response_truncated": isinstance(outcome, Response) and outcome.body_truncated,
        "cause": outcome.cause.value if isinstance(outcome, Failed) else "",
        **{name: getattr(recorded, name) for name in _NAMES},
    }


def _request_state(request: Request, address: tuple[str, int], started: float) -> dict[str, object]:
    return _message(request.headers, request.body, started, started) | {
        "method": request.method.encode("latin-1", "replace"),
        "scheme": b"http",
        "authority": b"",
        "path": request.target.encode("latin-1", "replace"),
        "host": address[0],
        "port": address[1],
    }


def _response_state(response: Response, ended: float) -> dict[str, object]:
    return _message(response.headers, response.body, ended, ended) | {"status_code": response.status, "reason": b""}


def _message(headers: HeaderList, body: bytes, started: float, ended: float) -> dict[str, object]:
    raw = [[name.encode("latin-1", "replace"), value.encode("latin-1", "replace")] for name, value in headers]
    times = {"timestamp_start": started, "timestamp_end": ended}
    return {"http_version": b"HTTP/1.1", "headers": raw, "content": body, "trailers": None, **times}


def _connection(started: float) -> dict[str, object]:
    """Return an unknown connection; mitmproxy requires every member."""
    unknown = ("alpn", "cipher", "error", "sni", "timestamp_end", "timestamp_tls_setup", "tls_version")
    return {
        **dict.fromkeys(unknown),
        "id": "",
        "peername": ("unknown.invalid", 0),
        "sockname": ("unknown.invalid", 0),
        "alpn_offers": [],
        "certificate_list": [],
        "cipher_list": [],
        "timestamp_start": started,
        "tls": False,
        "transport_protocol": "tcp",
    }


def _tnetstring(value: object) -> bytes:
    kind, raw = _encoded(value)
    return b"%d:%b%b" % (len(raw), raw, kind)


def _encoded(value: object) -> tuple[bytes, bytes]:
    match value:
        case None:
            return b"~", b""
        case bool():
            return b"!", b"true" if value else b"false"
        case int() | float():
            return (b"#" if isinstance(value, int) else b"^"), repr(value).encode()
        case bytes():
            return b",", value
        case str():
            return b";", value.encode("utf-8", "replace")
        case dict():
            members = cast("dict[str, object]", value)
            return b"}", b"".join(_tnetstring(name) + _tnetstring(item) for name, item in members.items())
        case list() | tuple():
            return b"]", b"".join(map(_tnetstring, cast("list[object]", value)))
        case _:
            raise TypeError(type(value))
