"""The access logs of nginx and Apache, combined or common: requests without bodies, responses by status only. Pure.

A number after the user agent is the duration: a decimal in seconds (nginx's $request_time), an integer in microseconds (Apache's
%D). Both are common additions to the format.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from typing import Final

from comparator.exchanges.model import Request, Response
from proxy.recordings.model import (
    Item,
    MalformedRecord,
    NotHttpError,
    RecordedExchange,
    first_line,
    header_of,
    not_read,
    split_url,
    with_host,
)

_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_LINE: Final = re.compile(
    rf"(\S+) \S+ .*?\[([^\]]+)\] {_QUOTED} (\d{{3}}) (\d+|-)(?: {_QUOTED} {_QUOTED})?(?: (\d+(?:\.\d+)?)(?=\s|$))?"
)
_BODYLESS: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE")
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
_UNSAFE: Final = re.compile(r'["\\]|[^ -~]')
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}


def matches(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is such a log: `[time] "request line"`."""
    line = first_line(head)
    return b"[" in line and b'] "' in line


def parse(lines: Iterable[bytes], *, host: str = "") -> Iterator[Item]:
    """Yield the requests in the file's order. The log does not record their host: it is `host`."""
    for number, raw in enumerate(lines, 1):
        line = raw.decode("latin-1").strip()
        if not line:
            continue
        match = _LINE.match(line)
        try:
            yield _recorded(match, host) if match else MalformedRecord(f"line {number}", "not the combined log format")
        except (ArithmeticError, ValueError) as error:
            yield not_read(f"line {number}", error)


def _recorded(match: re.Match[str], host: str) -> RecordedExchange:
    _, time, line, status, _, referer, agent, duration = match.groups()
    text = _unescaped(line)
    if text in ("", "-"):
        raise NotHttpError("connection without a request")
    parts = text.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/"):
        # For example the beginning of a TLS handshake.
        raise NotHttpError("bytes that are not HTTP")
    when = dt.datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z")
    duration_ns = 0 if not duration else round(float(duration) * 1e9) if "." in duration else int(duration) * 1_000
    headers = tuple(
        (name, _unescaped(value))
        for name, value in (("Referer", referer), ("User-Agent", agent))
        if value not in (None, "-")
    )
    authority, target = split_url(parts[1])
    return RecordedExchange(
        request=Request(parts[0], target, with_host(headers, authority or host), b"", parts[0] not in _BODYLESS),
        outcome=Response(int(status), (), b"", body_truncated=True),
        # The log has whole seconds: when the request was read (Apache) or the response complete (nginx).
        started_ns=int(when.timestamp()) * 1_000_000_000,
        duration_ns=duration_ns,
    )


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match.group(1)
        return chr(int(code[1:], 16)) if len(code) == 3 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(character, text)


def dump(recorded: RecordedExchange) -> bytes:
    """Return a line as nginx writes it, with $request_time last. Hosts, bodies, other headers and fractions of seconds are lost.

    A side that gave no response is logged as 502, and a request without outcome as 499, nginx's status for a client that closed
    the connection.
    """
    request, response = recorded.request, recorded.outcome
    when = dt.datetime.fromtimestamp(recorded.started_ns // 10**9, dt.UTC).strftime("%d/%b/%Y:%H:%M:%S %z")
    status, size = (
        (response.status, len(response.body)) if isinstance(response, Response) else (502 if response else 499, 0)
    )
    referer, agent = (_escaped(header_of(request.headers, name)) or "-" for name in ("referer", "user-agent"))
    line = f"{_escaped(request.method)} {_escaped(request.target)} HTTP/1.1"
    duration = f"{recorded.duration_ns / 1e9:.3f}"
    return f'- - - [{when}] "{line}" {status} {size} "{referer}" "{agent}" {duration}\n'.encode("latin-1", "replace")


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\x{ord(match.group()) & 0xFF:02X}", text)
