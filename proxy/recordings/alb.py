"""AWS Application Load Balancer access logs: requests without headers and bodies, responses by status only. Pure.

A request that may have had a body is marked as truncated and cannot be replayed. `time` is when the response was complete; the
request's own time is `request_creation_time`, where the line has it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from comparator.exchanges.model import Failed, FailureCause, Request, Response
from proxy.recordings.model import Item, NotHttpError, RecordedExchange, first_line, not_read, ns_of, split_url

_FIELD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_TYPES: Final = (b"http ", b"https ", b"h2 ", b"grpcs ", b"ws ", b"wss ")
_BODYLESS: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE")
_ESCAPE: Final = re.compile(r"\\x([0-9A-Fa-f]{2})")
NO_REQUEST: Final = "connection without a request"


def matches(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is such a log: a line begins with the type of its request."""
    return first_line(head).startswith(_TYPES)


def parse(lines: Iterable[bytes]) -> Iterator[Item]:
    """Yield the requests in the file's order, which is that of their responses."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _recorded([quoted or bare for quoted, bare in _FIELD.findall(line.decode("utf-8", "replace"))])
        except (ArithmeticError, ValueError, IndexError) as error:
            yield not_read(f"line {number}", error)


def _recorded(fields: list[str]) -> RecordedExchange:
    if fields[0] in ("ws", "wss"):
        raise NotHttpError("websocket")
    ended_ns = ns_of(fields[1])
    times = [float(text) for text in fields[5:8]]
    duration_ns = round(sum(max(0.0, seconds) for seconds in times) * 1e9)
    method, url, _ = _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), fields[12]).split(" ", 2)
    if method == "-":
        raise NotHttpError(NO_REQUEST)
    authority, target = split_url(url)
    agent = fields[13] if len(fields) > 13 else "-"
    headers = (("Host", _host(authority)), *((("User-Agent", agent),) if agent != "-" else ()))
    status = fields[8]
    created = fields[21] if len(fields) > 21 else ""
    trace = fields[17] if len(fields) > 17 else ""
    return RecordedExchange(
        request=Request(method, target, headers, b"", method not in _BODYLESS),
        outcome=Response(int(status), (), b"", body_truncated=True)
        if status.isdigit()
        else Failed(FailureCause.RESET, "the load balancer logged no status"),
        id=trace.removeprefix("Root=") if trace != "-" else "",
        started_ns=ns_of(created) if created[:1].isdigit() else ended_ns - duration_ns,
        duration_ns=duration_ns,
    )


def _host(authority: str) -> str:
    """Return the authority as a client sends it: the log always has the port."""
    host, _, port = authority.rpartition(":")
    return host if port in ("80", "443") and host else authority
