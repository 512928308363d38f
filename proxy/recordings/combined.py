"""The access logs of nginx and Apache, combined or common: requests without bodies, answers by status alone. Pure.

A time that follows the user agent as one number is taken as the duration in seconds (nginx's $request_time), a whole number as
microseconds (Apache's %D); both are often added to the format.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from typing import Final

from comparator.exchanges.model import Request, Response
from proxy.recordings.model import Item, MalformedRecord, RecordedExchange, header_of, split_url, with_host

_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_LINE: Final = re.compile(
    rf"(\S+) \S+ .*?\[([^\]]+)\] {_QUOTED} (\d{{3}}) (\d+|-)(?: {_QUOTED} {_QUOTED})?(?: (\d+(?:\.\d+)?)(?=\s|$))?"
)
_BODYLESS: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE")
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
_UNSAFE: Final = re.compile(r'["\\]|[^ -~]')
_PLAIN: Final = {"n": "\n", "t": "\t", "r": "\r"}


def parse(lines: Iterable[bytes], *, host: str = "") -> Iterator[Item]:
    """The requests, in the file's order; the log does not say which host they were for, `host` does."""
    for number, raw in enumerate(lines, 1):
        line = raw.decode("latin-1").strip()
        if not line:
            continue
        found = _LINE.match(line)
        try:
            yield _recorded(found, host) if found else MalformedRecord(f"line {number}", "not the combined log format")
        except (ArithmeticError, ValueError) as error:
            yield MalformedRecord(f"line {number}", str(error))


def _recorded(found: re.Match[str], host: str) -> RecordedExchange:
    _, moment, line, status, _, referer, agent, took = found.groups()
    words = _plain(line).split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        raise ValueError("the server could not read the request")
    when = dt.datetime.strptime(moment, "%d/%b/%Y:%H:%M:%S %z")
    duration_ns = 0 if not took else round(float(took) * 1e9) if "." in took else int(took) * 1_000
    headers = tuple(
        (name, _plain(value))
        for name, value in (("Referer", referer), ("User-Agent", agent))
        if value not in (None, "-")
    )
    authority, target = split_url(words[1])
    return RecordedExchange(
        request=Request(words[0], target, with_host(headers, authority or host), b"", words[0] not in _BODYLESS),
        outcome=Response(int(status), (), b"", body_truncated=True),
        # The log has whole seconds, of the moment the request was read (Apache) or answered (nginx).
        started_ns=int(when.timestamp()) * 1_000_000_000,
        duration_ns=duration_ns,
    )


def _plain(text: str) -> str:
    def char(match: re.Match[str]) -> str:
        code = match.group(1)
        return chr(int(code[1:], 16)) if len(code) == 3 else _PLAIN.get(code, code)

    return _ESCAPE.sub(char, text)


def dump(recorded: RecordedExchange) -> bytes:
    """A line as nginx writes it, $request_time last; hosts, bodies, other headers and what makes a second are lost.

    A side that gave no response is logged as 502, a request without any outcome as 499, nginx's word for a client who left.
    """
    request, response = recorded.request, recorded.outcome
    when = dt.datetime.fromtimestamp(recorded.started_ns // 10**9, dt.UTC).strftime("%d/%b/%Y:%H:%M:%S %z")
    status, size = (
        (response.status, len(response.body)) if isinstance(response, Response) else (502 if response else 499, 0)
    )
    referer, agent = (_escaped(header_of(request.headers, name)) or "-" for name in ("referer", "user-agent"))
    line = f"{_escaped(request.method)} {_escaped(request.target)} HTTP/1.1"
    took = f"{recorded.duration_ns / 1e9:.3f}"
    return f'- - - [{when}] "{line}" {status} {size} "{referer}" "{agent}" {took}\n'.encode("latin-1", "replace")


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"\\x{ord(found.group()) & 0xFF:02X}", text)
