"""Test cases of other HTTP parsers for the proxy: the outcome that a case expects, and the outcome at the proxy.

The cases are in tests/data/corpus. Many have a flaw that is not their subject and that the proxy must reject: a request of HTTP/1.1
without Host, or a fragment in the target. `repaired` removes these, so that a case is judged by its subject; the unchanged cases are
judged as well.

The forwarding rules are written here independently of the proxy, after RFC 9110 and RFC 9112.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.support.proxy_lab import Message, ProxyLab, RawClient, read_message

DATA = Path(__file__).parents[1] / "data" / "corpus"
HOST = b"Host: corpus.example\r\n"

HOP_BY_HOP = frozenset(
    (
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "proxy-authenticate",
    )
)
"""RFC 9110 sections 7.6.1 and 11.7; the fields that Connection lists are added to them."""
SET_BY_PROXY = frozenset(
    (
        "host",
        "via",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
        "traceparent",
        "content-length",
        "transfer-encoding",
    )
)
"""Request fields that the proxy sets itself, in place of those that the client sent."""
SET_ON_RESPONSE = frozenset(("connection", "content-length", "transfer-encoding", "x-request-id", "via"))

WEBSOCKET = (("connection", "Upgrade"), ("upgrade", "websocket"))
"""The only protocol that a backend may switch to (RFC 9110 section 7.8)."""

FRAGMENT = re.compile(rb"#[^ ]*(?= HTTP/)")
HOST_FIELD = re.compile(rb"(?i)\nhost[ \t]*:")
NO_REFUSAL = frozenset((0,))
REFUSALS = {
    "InvalidHTTPVersion": frozenset((400, 505)),
    "9": frozenset((400, 505)),
    "LimitRequestLine": frozenset((414,)),
    "LimitRequestHeaders": frozenset((431,)),
}
"""Statuses that correspond to an error: gunicorn's by name, llhttp's by number; 400 for all others."""
PAUSES = ("22 ", "23 ")
"""llhttp's codes for a pause at an upgrade to another protocol, which is not an error."""
UNFINISHED = ("NoMoreData", "ChunkMissingTerminator")
"""gunicorn's errors for incomplete data: the proxy neither forwards it nor responds to it."""
DATA_AFTER_CLOSE = "5 "
"""llhttp's code for data after the last request of a connection, which the proxy does not read."""
CHUNKED, LENGTH = 0x8, 0x20
"""llhttp's message flags."""

Fields = tuple[tuple[str, str], ...]


class ParsedMessage(msgspec.Struct, frozen=True):
    """A message as the corpus' own parser reads it; all text is latin-1. `whole`: the parser found the end of the message."""

    version: str
    fields: list[tuple[str, str | None]]
    body: str
    whole: bool
    method: str = ""
    target: str = ""
    status: int = 0
    reason: str = ""
    flags: int = 0


class CorpusCase(msgspec.Struct, frozen=True):
    """One test case. `error` is the parser's final error; `options` and `mode` say where the parser was lenient."""

    name: str
    kind: str
    data: str
    error: str
    messages: list[ParsedMessage]
    options: dict[str, bool | int | str] = {}
    mode: str = ""

    @property
    def raw(self) -> bytes:
        """The bytes to send."""
        return self.data.encode("latin-1")


@dataclass(frozen=True)
class Request:
    """The end-to-end parts of a request: fields in order, names in lower case."""

    method: str
    target: str
    fields: Fields
    body: bytes


@dataclass(frozen=True)
class Outcome:
    """The requests that reach the backend, and the status of the refusal that follows; 0 for a close without a response."""

    forwarded: tuple[Request, ...]
    refused: int


@dataclass(frozen=True)
class ExpectedOutcome:
    """The requests that must reach the backend, and the statuses that the refusal may have."""

    forwarded: tuple[Request, ...]
    refused: frozenset[int]

    def allows(self, outcome: Outcome) -> bool:
        """Return whether the outcome is the expected one."""
        return outcome.forwarded == self.forwarded and outcome.refused in self.refused


@dataclass(frozen=True)
class Response:
    """The end-to-end parts of a response. `interim`: the statuses of the 1xx responses before it."""

    interim: tuple[int, ...]
    status: int
    reason: str
    fields: Fields
    body: bytes


def cases(corpus: str, kind: str) -> dict[str, CorpusCase]:
    """Return the cases of a corpus by name; `kind` is "request" or "response"."""
    read = msgspec.json.decode((DATA / f"{corpus}.json").read_bytes(), type=list[CorpusCase])
    return {case.name: case for case in read if case.kind == kind}


# The outcome that the corpus expects


def with_host(case: CorpusCase) -> bytes:
    """Return the bytes of the case with Host added to each HTTP/1.1 request that has none, and without fragments."""
    data, at = case.raw, 0
    for message in case.messages or [None]:
        start = _start_of(data, at, message)
        line_end = data.find(b"\r\n", start) + 2
        if line_end < 2:
            break
        head = data[start:].partition(b"\r\n\r\n")[0]
        line = FRAGMENT.sub(b"", data[start:line_end])
        host = HOST if line.endswith(b"HTTP/1.1\r\n") and not HOST_FIELD.search(head) else b""
        data = data[:start] + line + host + data[line_end:]
        at = start + len(line) + len(host)
    return data


def repaired(case: CorpusCase) -> bytes:
    """Return `with_host` of the case with the end of the header added if it is missing, so that a fault in it is reached."""
    data = with_host(case)
    unended = expected_outcome(case).refused != NO_REFUSAL and b"\r\n\r\n" not in data.lstrip(b"\r\n")
    return data + b"\r\n\r\n" if unended else data


def _start_of(data: bytes, at: int, message: ParsedMessage | None) -> int:
    """Return the offset of the next request: of its request line if it is known, else after the empty lines."""
    offset = data.find(f"{message.method} {message.target} HTTP/".encode("latin-1"), at) if message else -1
    return offset if offset >= 0 else at + len(data[at:]) - len(data[at:].lstrip(b"\r\n"))


def expected_outcome(case: CorpusCase) -> ExpectedOutcome:
    """Return the outcome that the corpus expects of a case about requests."""
    forwarded = tuple(_request(message) for message in case.messages if message.whole)
    unfinished = not case.error or case.error.startswith((*PAUSES, *UNFINISHED, DATA_AFTER_CLOSE))
    return ExpectedOutcome(
        forwarded, NO_REFUSAL if unfinished else REFUSALS.get(case.error.partition(" ")[0], frozenset((400,)))
    )


def _request(message: ParsedMessage) -> Request:
    target = message.target.partition("#")[0]
    if re.match("(?i)https?://", target):
        url = urlsplit(target)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    fields = forwarded_fields(message.fields, SET_BY_PROXY)
    if message.method == "GET" and ("upgrade", "websocket") in lower_case(message.fields):
        fields += WEBSOCKET
    return Request(message.method, target, fields, message.body.encode("latin-1"))


def forwarded_fields(pairs: Iterable[tuple[str, str | None]], own: frozenset[str]) -> Fields:
    """Return the fields that a proxy forwards (RFC 9110 section 7.6.1), without those that it sets itself."""
    fields = [(name.lower(), (value or "").strip(" \t")) for name, value in pairs]
    listed = {option.strip().lower() for name, value in fields if name == "connection" for option in value.split(",")}
    return tuple((name, value) for name, value in fields if name not in HOP_BY_HOP | own | listed)


def lower_case(pairs: Iterable[tuple[str, str | None]]) -> Fields:
    """Return names and values in lower case."""
    return tuple((name.lower(), (value or "").lower()) for name, value in pairs)


def expected_response(case: CorpusCase) -> Response | None:
    """Return the response that the corpus expects; None for an invalid or truncated one."""
    finals = [message for message in case.messages if message.status >= 200 or message.status == 101]
    if not finals:
        return None
    final = finals[0]
    until_close = not final.flags & (CHUNKED | LENGTH) and final.status not in (101, 204, 304)
    if not final.whole and (case.error or not until_close):
        return None
    interim = tuple(message.status for message in case.messages if 101 < message.status < 200)
    fields = forwarded_fields(final.fields, SET_ON_RESPONSE)
    return Response(interim, final.status, final.reason, fields, final.body.encode("latin-1"))


# The outcome at the proxy


async def send_case(it: ProxyLab, data: bytes, methods: Sequence[str], *, pieces: int = 0) -> Outcome:
    """Send a case, read one response for each method, close the sending side and read the rest.

    Args:
        it: the proxy and its backends.
        data: the bytes of the case.
        methods: the methods of the requests that are expected to be forwarded.
        pieces: send so many bytes at a time; 0 sends all at once.
    """
    it.candidate.seen.clear()
    client = await it.client()
    await _send(client, data, pieces)
    statuses: list[int] = []
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        for method in methods:
            response = await client.response(method=method)
            statuses.append(response.status)
    with suppress(OSError, RuntimeError):
        # The transport is closed already if the client wrote to a connection that the proxy had closed.
        client.writer.write_eof()
    statuses += [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", await client.rest())]
    client.close()
    assert it.legacy.seen == []
    forwarded = tuple(seen_by_backend(message) for message in it.candidate.seen)
    assert statuses[: len(forwarded)] == [200] * len(forwarded)
    assert len(statuses) - len(forwarded) <= 1
    return Outcome(forwarded, statuses[-1] if len(statuses) > len(forwarded) else 0)


async def _send(client: RawClient, data: bytes, pieces: int) -> None:
    """Send the bytes; the proxy may close the connection of a refused client before it has sent all."""
    with suppress(ConnectionError):
        for at in range(0, len(data), pieces or len(data)):
            await client.send(data[at : at + (pieces or len(data))])
            # Let the proxy read this piece before the next one is sent.
            await asyncio.sleep(0)


def seen_by_backend(message: Message) -> Request:
    """Return a request as it arrived at the backend, without the fields that the proxy sets."""
    method, target, version = message.line.split(" ", 2)
    assert version == "HTTP/1.1"
    fields = tuple((name.lower(), value) for name, value in message.fields if name.lower() not in SET_BY_PROXY)
    return Request(method, target, fields, message.body)


class CaseBackend:
    """A backend that sends the bytes of a case for /case and then closes; for any other path it sends a valid response."""

    def __init__(self) -> None:
        self.data = b""

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        request = await read_message(reader)
        case = request.line.startswith("GET /case ")
        writer.write(self.data if case else b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh")
        await writer.drain()


async def response_to_case(client: RawClient, script: CaseBackend) -> Response | None:
    """Return the response of a client to /case; None for a 502 or a response that is recognizably truncated."""
    own = SET_ON_RESPONSE if re.search(rb"(?i)\ndate:", script.data) else SET_ON_RESPONSE | {"date"}
    await client.send(b"GET /case HTTP/1.1\r\nHost: corpus.example\r\n\r\n")
    interim: list[int] = []
    try:
        while (message := await client.response()).status < 200:
            interim.append(message.status)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if message.status == 502:
        return None
    reason = message.line.split(" ", 2)[2]
    fields = tuple((name.lower(), value) for name, value in message.fields if name.lower() not in own)
    return Response(tuple(interim), message.status, reason, fields, message.body)


async def is_connection_poisoned(it: ProxyLab, client: RawClient) -> bool:
    """Return whether the next request gets another response than its own; it is sent on the same connection if that is open."""
    ask = b"GET /fresh HTTP/1.1\r\nHost: corpus.example\r\n\r\n"
    try:
        response = await client.ask(ask)
    except (asyncio.IncompleteReadError, ConnectionError):
        response = await it.ask(ask)
    return (response.line, response.body) != ("HTTP/1.1 200 OK", b"fresh")
