"""AWS Application Load Balancer access logs: requests without headers and bodies, answers by status alone. Pure.

A request whose body was longer than none cannot be replayed and is marked as cut. `time` is when the answer was complete; the
request's own time is `request_creation_time`, where the line has it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from comparator.exchanges.model import Failed, FailureCause, Request, Response
from proxy.recordings.model import Item, MalformedRecord, RecordedExchange, ns_of, split_url

_FIELD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_BODYLESS: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE")
_ESCAPE: Final = re.compile(r"\\x([0-9A-Fa-f]{2})")


def parse(lines: Iterable[bytes]) -> Iterator[Item]:
    """The requests, in the file's order (which is that of their answers)."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _recorded([a or b for a, b in _FIELD.findall(line.decode("utf-8", "replace"))])
        except (ArithmeticError, ValueError, IndexError) as error:
            yield MalformedRecord(f"line {number}", f"{type(error).__name__}: {error}")


def _recorded(fields: list[str]) -> RecordedExchange:
    ended_ns = ns_of(fields[1])
    times = [float(text) for text in fields[5:8]]
    duration_ns = round(sum(max(0.0, seconds) for seconds in times) * 1e9)
    method, url, _ = _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), fields[12]).split(" ", 2)
    if method == "-":
        raise ValueError("the load balancer could not read the request")
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
    """The authority as a client sends it: the log always names the port."""
    host, _, port = authority.rpartition(":")
    return host if port in ("80", "443") and host else authority
