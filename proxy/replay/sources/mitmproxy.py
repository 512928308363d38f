"""mitmproxy's flow files: tnetstrings one after another, each the state of a flow. Pure.

Only the members that are needed are read and no version is demanded, so files of every version with these members do. Bodies are
still content-encoded, as in an exchange. Flows that are not HTTP, WebSockets, and those of a replay, are passed by.

What a flow has no place for is written into its `metadata`, which mitmproxy keeps, so that what was exported is read back as it was.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from comparator.exchange import Failed, FailureCause, HeaderList, Reply, Request
from proxy.replay.errors import SourceError
from proxy.replay.sources.recorded import Item, Malformed, Recorded, with_host

LENGTH_DIGITS_MAX: Final = 12
_DEPTH_MAX: Final = 64


def parse(data: bytes) -> Iterator[Item]:
    """The HTTP flows, in the file's order.

    Raises:
        SourceError: not tnetstrings, or cut in the middle of a flow; the flows before have been yielded.
    """
    position = number = 0
    while position < len(data):
        number += 1
        try:
            value, position = tnetstring(data, position)
        except ValueError as error:
            raise SourceError(f"flow {number}, byte {position}: {error}") from error
        if not isinstance(value, dict):
            yield Malformed(f"flow {number}", "not a flow's state")
            continue
        flow = cast("dict[str, Any]", value)
        if _text(flow.get("type")) != "http" or flow.get("is_replay") or flow.get("websocket"):
            continue
        try:
            yield _recorded(flow)
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield Malformed(f"flow {number}", f"{type(error).__name__}: {error}")


def tnetstring(data: bytes, position: int = 0, *, depth: int = 0) -> tuple[Any, int]:
    """The value at `position`, and where the next one begins.

    Raises:
        ValueError: there is none.
    """
    colon = data.find(b":", position, position + LENGTH_DIGITS_MAX + 1)
    digits = data[position:colon]
    if colon < 0 or not digits.isdigit() or depth > _DEPTH_MAX:
        raise ValueError("not a tnetstring")
    begin, end = colon + 1, colon + 1 + int(digits)
    if end >= len(data):
        raise ValueError("the data ends inside a value")
    return _value(data[begin:end], data[end : end + 1], depth), end + 1


def _value(raw: bytes, kind: bytes, depth: int) -> Any:
    if kind in _SCALARS:
        return _SCALARS[kind](raw)
    if kind not in b"]}":
        raise ValueError(f"type {kind!r} is unknown")
    items = _list(raw, depth)
    if kind == b"]":
        return items
    if len(items) % 2:
        raise ValueError("a member without a value")
    return {_text(name): value for name, value in zip(items[::2], items[1::2], strict=True)}


def _truth(raw: bytes) -> bool:
    if raw not in (b"true", b"false"):
        raise ValueError("a truth value that is none")
    return raw == b"true"


_SCALARS: Final[dict[bytes, Callable[[bytes], Any]]] = {
    b",": bytes,
    b";": bytes.decode,
    b"#": int,
    b"^": float,
    b"!": _truth,
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


def _recorded(flow: dict[str, Any]) -> Recorded:
    asked, reply = flow["request"], flow.get("response")
    started = float(asked["timestamp_start"])
    answered: Any = reply["timestamp_end"] if reply else None
    ended = float(answered or asked.get("timestamp_end") or started)
    port = int(asked.get("port") or 0)
    standard = {"http": 80, "https": 443}.get(_text(asked.get("scheme")))
    named = _text(asked.get("host")) if port in (0, standard) else f"{_text(asked.get('host'))}:{port}"
    headers = with_host(_headers(asked), _text(asked.get("authority")) or named)
    path, method = asked["path"].decode("latin-1"), asked["method"].decode("latin-1")
    return Recorded(
        request=Request(method, path, headers, asked["content"] or b"", asked["content"] is None),
        outcome=_outcome(flow, reply),
        id=_text(flow.get("id")),
        started_ns=round(started * 1e6) * 1_000,
        duration_ns=max(0, round((ended - started) * 1e6) * 1_000),
    )


def _outcome(flow: dict[str, Any], reply: dict[str, Any] | None) -> Reply | Failed | None:
    if reply:
        return Reply(int(reply["status_code"]), _headers(reply), reply["content"] or b"", reply["content"] is None)
    if flow.get("error"):
        return Failed(FailureCause.RESET, _text(flow["error"].get("msg"))[:300])
    return None


def _headers(message: dict[str, Any]) -> HeaderList:
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
    return tuple((name, value) for name, value in pairs if not name.startswith(":"))
