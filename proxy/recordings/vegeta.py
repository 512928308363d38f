"""vegeta's targets, in both of its formats: requests without times and responses. Pure.

JSON: one object a line with `method`, `url` and, optionally, `body` (base64) and `header` (name to list). http: `METHOD URL`, header
lines, optionally `@path` of a file with the body; an empty line, the body or another `METHOD URL` ends a target; `#` begins a comment:

    GET http://user:password@a.example/1        the userinfo becomes an Authorization header
    HEAD http://a.example/2
    POST http://a.example/3
    Content-Type: application/json
    @body.json
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from comparator.exchanges.model import HeaderList, Request
from proxy.recordings.model import (
    Item,
    RecordedExchange,
    ascii_target,
    document_text,
    document_url,
    first_line,
    from_base64,
    header_of,
    not_read,
    split_url,
    text_of,
    wire_text,
    with_host,
    without,
)

LINES_MAX: Final = 1_000
"""Limit of the lines of a target in the http format; those beyond it are a target of their own, which is malformed."""
_MEMBERS: Final = {"method", "url", "body", "header"}
_TARGET: Final = re.compile(r"[A-Z]+\s+[^\s:]")
"""The beginning of a target's first line; `X : a` is a header."""
_USER_INFO: Final = re.compile(r"[A-Za-z]+://([^/?#@]*)@")


def matches_json(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has the JSON format."""
    line = first_line(head)
    return line.startswith((b"{", b"[")) and b'"url"' in line


def matches_http(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has the http format."""
    lines = (line.strip() for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    line = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return b"://" in line and _TARGET.match(line.decode("latin-1")) is not None


def parse_json(lines: Iterable[bytes]) -> Iterator[Item]:
    """Yield the targets of the JSON format."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _target(json.loads(line))
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield not_read(f"line {number}", error)


def parse_http(lines: Iterable[bytes], read: Callable[[str], bytes]) -> Iterator[Item]:
    """Yield the targets of the http format; `read` returns the file of a line `@path`, or raises ValueError."""
    block: list[str] = []
    begin = 0
    for number, raw in enumerate(lines, 1):
        line = raw.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").decode("latin-1").strip()
        if line.startswith("#"):
            continue
        if block and (not line or _TARGET.match(line) or block[-1].startswith("@") or len(block) > LINES_MAX):
            yield _block(block, begin, read)
            block = []
        if line and not block:
            begin = number
        if line:
            block.append(line)
    if block:
        yield _block(block, begin, read)


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
        raise ValueError(f"unknown members: {', '.join(map(repr, sorted(unknown)))}")
    named: dict[str, list[str]] = document.get("header") or {}
    headers = tuple((wire_text(str(name)), wire_text(str(value))) for name, values in named.items() for value in values)
    url, method = text_of(document["url"]), text_of(document["method"])
    authority, target = document_url(url)
    headers = _with_credentials(headers, wire_text(url))
    return _recorded(method, authority, target, headers, from_base64(document.get("body") or ""))


def _block(lines: list[str], number: int, read: Callable[[str], bytes]) -> Item:
    try:
        method, url = lines[0].split(maxsplit=1)
        body = b""
        headers: list[tuple[str, str]] = []
        for line in lines[1:]:
            if line.startswith("@"):
                body = read(line[1:])
                continue
            headers.append(_header(line))
        authority, target = split_url(url)
        return _recorded(method, authority, target, _with_credentials(tuple(headers), url), body)
    except ValueError as error:
        return not_read(f"line {number}", error)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"neither a target, a header nor @FILE: {line[:40]!r}")
    return name.strip(), value.strip()


def _with_credentials(headers: HeaderList, url: str) -> HeaderList:
    """Return the headers with Authorization for the user of the URL, as vegeta sends it."""
    match = _USER_INFO.match(url)
    if match is None or header_of(headers, "authorization"):
        return headers
    user = unquote_to_bytes(match.group(1) if ":" in match.group(1) else match.group(1) + ":")
    return (*headers, ("Authorization", "Basic " + base64.b64encode(user).decode()))


def _recorded(method: str, authority: str, target: str, headers: HeaderList, body: bytes) -> RecordedExchange:
    return RecordedExchange(Request(method, target, with_host(headers, authority), body))
