"""Envoy's tap output as JSON: buffered traces, and streamed segments that are joined by their trace id. Pure.

Observed: objects of an admin stream follow one another without a separator; bodies are cut at 1 KiB by default, and marked so. Only
buffered traces have times, and only with `record_headers_received_time`; files of `file_per_tap` have random names, so without times
their order is lost. Bodies as strings have lost bytes that were not UTF-8: a body whose length is not its Content-Length counts as
truncated.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from comparator.exchanges.model import HeaderList, Request, Response
from proxy.recordings.model import (
    Item,
    MalformedRecord,
    RecordedExchange,
    SkippedRecord,
    document_text,
    ends_early,
    first_line,
    from_base64,
    header_of,
    is_bodiless,
    iso_of,
    not_read,
    ns_of,
    wire_text,
    with_host,
)

_SPACE: Final = " \t\r\n,[]"


def matches(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has this format."""
    is_json = first_line(head).startswith((b"{", b"["))
    return is_json and (b"_trace" in head or b"BufferedTrace" in head or b"StreamedTrace" in head)


def parse(text: str) -> Iterator[Item]:
    """Yield the traces by their times where all have one, else in the order in which they begin in the file."""
    items = list(_traces(text))
    if all(item.started_ns for item in items if isinstance(item, RecordedExchange)):
        items.sort(key=lambda item: item.started_ns if isinstance(item, RecordedExchange) else 0)
    yield from items


def _traces(text: str) -> Iterator[Item]:
    streams: dict[str, _Stream] = {}
    for number, trace in enumerate(_objects(text), 1):
        if isinstance(trace, MalformedRecord):
            yield trace
            continue
        try:
            if buffered := _member(trace, "http_buffered_trace"):
                yield _buffered(buffered, number)
            elif segment := _member(trace, "http_streamed_trace_segment"):
                yield from _streamed(streams, segment, number)
            elif _member(trace, "socket_buffered_trace") or _member(trace, "socket_streamed_trace_segment"):
                yield SkippedRecord(f"trace {number}", "trace of a socket")
            else:
                yield MalformedRecord(f"trace {number}", "neither a trace nor a segment of one")
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield not_read(f"trace {number}", error)
    for stream in streams.values():
        yield stream.recorded()


def _objects(text: str) -> Iterator[dict[str, Any] | MalformedRecord]:
    decoder = json.JSONDecoder()
    position = 0
    while True:
        while position < len(text) and text[position] in _SPACE:
            position += 1
        if position >= len(text):
            return
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            # Continue with the next object that begins a line.
            next_line = text.find("\n{", position)
            yield MalformedRecord(f"character {position}", str(error))
            if next_line < 0:
                return
            position = next_line + 1
            continue
        if isinstance(value, dict):
            yield cast("dict[str, Any]", value)
        else:
            yield MalformedRecord(f"character {position}", "not an object")


def _member(node: Mapping[str, Any] | None, name: str) -> Any:
    """Return a member by its name or, as protobuf's JSON has both, by its name in camel case."""
    first, *rest = name.split("_")
    camel = first + "".join(word.capitalize() for word in rest)
    return (node or {}).get(name, (node or {}).get(camel))


def _buffered(trace: Mapping[str, Any], number: int) -> RecordedExchange:
    request, response = _member(trace, "request"), _member(trace, "response")
    body, truncated = _body(_member(request, "body"))
    response_body, response_truncated = _body(_member(response, "body"))
    request_headers, headers = _headers(request), _headers(response)
    started_ns, ended_ns = _time(request), _time(response)
    return RecordedExchange(
        _request(request_headers, body, truncated),
        _response(header_of(request_headers, ":method"), headers, response_body, response_truncated)
        if response
        else None,
        id=header_of(request_headers, "x-request-id") or f"tap-{number}",
        started_ns=started_ns,
        duration_ns=max(0, ended_ns - started_ns) if started_ns and ended_ns else 0,
    )


def _time(message: Mapping[str, Any] | None) -> int:
    time = _member(message, "headers_received_time")
    return ns_of(time) if time else 0


def _has_other_length(headers: HeaderList, body: bytes) -> bool:
    length = header_of(headers, "content-length")
    return ends_early(headers, body) or (bool(body) and length.isdigit() and int(length) != len(body))


def _body(body: Mapping[str, Any] | None) -> tuple[bytes, bool]:
    text, encoded = _member(body, "as_string"), _member(body, "as_bytes")
    raw = text.encode() if isinstance(text, str) else from_base64(encoded or "")
    return raw, bool(_member(body, "truncated"))


def _headers(message: Mapping[str, Any] | None) -> HeaderList:
    pairs: list[dict[str, str]] = _member(message, "headers") or []
    return tuple((str(pair["key"]), _value(pair)) for pair in pairs)


def _value(pair: Mapping[str, Any]) -> str:
    raw = _member(pair, "raw_value")
    return from_base64(raw).decode("latin-1") if raw else wire_text(str(pair.get("value", "")))


def _request(headers: HeaderList, body: bytes, truncated: bool) -> Request:
    pseudo = {name: value for name, value in headers if name.startswith(":")}
    plain = tuple((name, value) for name, value in headers if not name.startswith(":"))
    cut = truncated or _has_other_length(headers, body)
    return Request(pseudo[":method"], pseudo[":path"], with_host(plain, pseudo.get(":authority", "")), body, cut)


def _response(method: str, headers: HeaderList, body: bytes, truncated: bool) -> Response:
    status = int(header_of(headers, ":status"))
    cut = truncated or (not is_bodiless(method, status) and _has_other_length(headers, body))
    return Response(status, tuple((n, v) for n, v in headers if not n.startswith(":")), body, cut)


@dataclass(slots=True)
class _Stream:
    """The segments of one trace id so far."""

    id: str
    request_headers: HeaderList = ()
    response_headers: HeaderList = ()
    request: list[bytes] = field(default_factory=list[bytes])
    response: list[bytes] = field(default_factory=list[bytes])
    request_truncated: bool = False
    response_truncated: bool = False

    def recorded(self) -> RecordedExchange | MalformedRecord:
        """Return the exchange of these segments."""
        try:
            request = _request(self.request_headers, b"".join(self.request), self.request_truncated)
            outcome = (
                _response(request.method, self.response_headers, b"".join(self.response), self.response_truncated)
                if self.response_headers
                else None
            )
        except (ValueError, KeyError, StopIteration) as error:
            return MalformedRecord(f"trace id {self.id}", f"{type(error).__name__}: {error}")
        return RecordedExchange(request, outcome, id=f"tap-{self.id}")


def _streamed(streams: dict[str, _Stream], segment: Mapping[str, Any], number: int) -> Iterator[Item]:
    """Add a segment. A trace id that begins again ends its stream before."""
    trace_id = str(_member(segment, "trace_id") or number)
    request_headers = _member(segment, "request_headers")
    if request_headers is not None and trace_id in streams:
        yield streams.pop(trace_id).recorded()
    stream = streams.setdefault(trace_id, _Stream(trace_id))
    if request_headers is not None:
        stream.request_headers = _headers(request_headers)
    if (response_headers := _member(segment, "response_headers")) is not None:
        stream.response_headers = _headers(response_headers)
    if (chunk := _member(segment, "request_body_chunk")) is not None:
        raw, truncated = _body(chunk)
        stream.request.append(raw)
        stream.request_truncated |= truncated
    if (chunk := _member(segment, "response_body_chunk")) is not None:
        raw, truncated = _body(chunk)
        stream.response.append(raw)
        stream.response_truncated |= truncated


def dump(recorded: RecordedExchange) -> bytes:
    """Return a buffered trace. Failures, ids and durations of requests without a response are lost, and fractions of microseconds."""
    request, response = recorded.request, recorded.outcome
    host = header_of(request.headers, "host")
    pseudo = ((":method", request.method), (":path", request.target), *(((":authority", host),) if host else ()))
    ended_ns = recorded.started_ns + recorded.duration_ns
    trace = {
        "request": _message((*pseudo, *request.headers), request.body, request.body_truncated, recorded.started_ns)
    }
    if isinstance(response, Response):
        headers = ((":status", str(response.status)), *response.headers)
        trace["response"] = _message(headers, response.body, response.body_truncated, ended_ns)
    return json.dumps({"http_buffered_trace": trace}).encode() + b"\n"


def _message(headers: HeaderList, body: bytes, truncated: bool, at_ns: int) -> dict[str, Any]:
    return {
        "headers": [{"key": name, "value": document_text(value)} for name, value in headers],
        "body": {"truncated": truncated, "as_bytes": base64.b64encode(body).decode()},
        "trailers": [],
        **({"headers_received_time": iso_of(at_ns)} if at_ns else {}),
    }
