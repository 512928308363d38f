"""vegeta's targets, in both of its formats: requests without times and responses. Pure.

JSON: one object a line with `method`, `url` and, optionally, `body` (base64) and `header` (name to list). http: `METHOD URL`, header
lines, optionally `@path` of a file with the body, then an empty line; `#` begins a comment.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from comparator.exchanges.model import HeaderList, Request
from proxy.recordings.model import (
    Item,
    MalformedRecord,
    RecordedExchange,
    ascii_target,
    document_text,
    first_line,
    from_base64,
    header_of,
    split_url,
    wire_text,
    with_host,
    without,
)

_MEMBERS: Final = {"method", "url", "body", "header"}


def matches_json(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has the JSON format."""
    line = first_line(head)
    return line.startswith((b"{", b"[")) and b'"url"' in line


def matches_http(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has the http format."""
    line = first_line(head)
    return b"://" in line and line.split(b" ", 1)[0].isupper()


def parse_json(lines: Iterable[bytes]) -> Iterator[Item]:
    """Yield the targets of the JSON format."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _target(json.loads(line))
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield MalformedRecord(f"line {number}", f"{type(error).__name__}: {error}")


def parse_http(lines: Iterable[bytes], read: Callable[[str], bytes]) -> Iterator[Item]:
    """Yield the targets of the http format; `read` returns the file of a line `@path`, or raises ValueError."""
    block: list[str] = []
    begin = 0
    for number, raw in enumerate([*lines, b""], 1):
        line = raw.decode("latin-1").strip()
        if line.startswith("#"):
            continue
        if line and not block:
            begin = number
        if line:
            block.append(line)
        elif block:
            yield _block(block, begin, read)
            block = []


def dump(recorded: RecordedExchange) -> bytes:
    """Return a target of the JSON format. Order and case of equal header names, times and responses are lost."""
    request = recorded.request
    headers: dict[str, list[str]] = {}
    for name, value in without(request.headers, "content-length", "transfer-encoding"):
        headers.setdefault(document_text(name), []).append(document_text(value))
    host = header_of(request.headers, "host") or "unknown.invalid"
    target: dict[str, Any] = {"method": request.method, "url": f"http://{host}{ascii_target(request.target)}"}
    if request.body:
        target["body"] = base64.b64encode(request.body).decode()
    if headers:
        target["header"] = headers
    return json.dumps(target).encode() + b"\n"


def _target(document: dict[str, Any]) -> RecordedExchange:
    unknown = set(document) - _MEMBERS
    if unknown:
        raise ValueError(f"unknown members: {', '.join(sorted(unknown))}")
    named: dict[str, list[str]] = document.get("header") or {}
    headers = tuple((wire_text(str(name)), wire_text(str(value))) for name, values in named.items() for value in values)
    return _recorded(document["method"], document["url"], headers, from_base64(document.get("body") or ""))


def _block(lines: list[str], number: int, read: Callable[[str], bytes]) -> Item:
    try:
        method, url = lines[0].split(maxsplit=1)
        body = b""
        headers: list[tuple[str, str]] = []
        for line in lines[1:]:
            if line.startswith("@"):
                body = read(line[1:])
                continue
            name, value = line.split(":", 1)
            headers.append((name.strip(), value.strip()))
        return _recorded(method, url, tuple(headers), body)
    except ValueError as error:
        return MalformedRecord(f"line {number}", str(error))


def _recorded(method: str, url: str, headers: HeaderList, body: bytes) -> RecordedExchange:
    authority, target = split_url(url)
    return RecordedExchange(Request(method, target, with_host(headers, authority), body))
