"""This program's own JSON lines, version 1: one exchange a line, as `shadow journal cat` prints them. Pure.

Bodies are `text` where they are UTF-8, else `base64`; header lists keep order and duplicates. Earlier lines, with `started` and
`duration_ms` as their only times, are read too.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Request, Response, Side
from proxy.recordings.model import (
    Item,
    RecordedExchange,
    first_line,
    from_base64,
    from_exchange,
    iso_of,
    not_read,
    ns_of,
    text_or_base64,
)

VERSION = 1


def matches(head: bytes) -> bool:
    """Return whether a file begins with a JSON document."""
    return first_line(head).startswith((b"{", b"["))


def parse(lines: Iterable[bytes]) -> Iterator[Item]:
    """Yield the exchanges of the lines in their order; skip empty lines."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _recorded(json.loads(line))
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield not_read(f"line {number}", error)


def dump(recorded: RecordedExchange) -> bytes:
    """Return one line."""
    return json.dumps(document_of(recorded), ensure_ascii=True).encode() + b"\n"


def document_of(recorded: RecordedExchange) -> dict[str, Any]:
    """Return the object of one line."""
    request = recorded.request
    return {
        "v": VERSION,
        "id": recorded.id,
        "route": recorded.route,
        "key": recorded.key,
        "served_by": recorded.served_by,
        "stage": recorded.stage,
        "started": iso_of(recorded.started_ns),
        "started_ns": recorded.started_ns,
        "duration_ms": round(recorded.duration_ns / 1e6, 3),
        "duration_ns": recorded.duration_ns,
        "overlapped": recorded.overlapped,
        "skip": recorded.skip,
        "request": {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            **_body(request.body, request.body_truncated),
        },
        **_outcome(recorded.outcome),
    }


def document_of_exchange(exchange: Exchange) -> dict[str, Any]:
    """Return the object of an exchange's line."""
    return document_of(from_exchange(exchange))


def _outcome(outcome: Response | Failed | None) -> dict[str, Any]:
    match outcome:
        case Response():
            body = _body(outcome.body, outcome.body_truncated)
            return {"response": {"status": outcome.status, "headers": outcome.headers, **body}}
        case Failed():
            return {"failed": {"cause": outcome.cause, "detail": outcome.detail}}
        case None:
            return {}


def _body(body: bytes, truncated: bool) -> dict[str, Any]:
    text, encoded = text_or_base64(body)
    return {"base64" if encoded else "text": text, **({"truncated": True} if truncated else {})}


def _recorded(document: Mapping[str, Any]) -> RecordedExchange:
    if document.get("v", VERSION) != VERSION:
        raise ValueError(f"unknown version {document['v']}")
    request = document["request"]
    outcome: Response | Failed | None = None
    if response := document.get("response"):
        outcome = Response(
            int(response["status"]), _headers(response), _bytes(response), bool(response.get("truncated"))
        )
    elif failed := document.get("failed"):
        outcome = Failed(FailureCause(failed["cause"]), str(failed["detail"]))
    side = document.get("served_by")
    return RecordedExchange(
        request=Request(
            str(request["method"]),
            str(request["target"]),
            _headers(request),
            _bytes(request),
            bool(request.get("truncated")),
        ),
        outcome=outcome,
        id=str(document.get("id", "")),
        started_ns=int(document["started_ns"]) if "started_ns" in document else ns_of(document["started"]),
        duration_ns=int(document.get("duration_ns", round(document.get("duration_ms", 0) * 1e6))),
        route=str(document.get("route", "")),
        key=str(document.get("key", "")),
        served_by=Side(side) if side else None,
        stage=str(document.get("stage", "")),
        overlapped=bool(document.get("overlapped")),
        skip=str(document.get("skip", "")),
    )


def _headers(message: Mapping[str, Any]) -> HeaderList:
    pairs = cast("list[list[str]]", message.get("headers", []))
    return tuple((str(name), str(value)) for name, value in pairs)


def _bytes(message: Mapping[str, Any]) -> bytes:
    return from_base64(message["base64"]) if "base64" in message else str(message.get("text", "")).encode()
