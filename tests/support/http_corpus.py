"""The tests of other HTTP parsers as cases for the proxy: what each says must become of its bytes, and what did become of them.

The cases are in tests/data/corpus. Two things that no request to the proxy may lack or have, most of them lack or have by the way:
a request of HTTP/1.1 without Host, and a fragment in its target. `amended` puts that right, so that a case is judged by what it is
about and not by that; the cases as they stand are judged too.

The rules of what passes are written down here once more, after RFC 9110 and 9112: nothing of the proxy's own is used for judging it.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.support.proxying import Client, Lab, Message, read_message

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
"""RFC 9110 sections 7.6.1, 11.7; what Connection lists is added to it."""
OF_THE_PROXY = frozenset(
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
"""What a request says of this hop, whatever the client's request said of the hop before."""
OF_THE_RESPONSE = frozenset(("connection", "content-length", "transfer-encoding", "x-request-id", "via"))

WEBSOCKET = (("connection", "Upgrade"), ("upgrade", "websocket"))
"""The one protocol that a backend may switch to (RFC 9110 section 7.8)."""

FRAGMENT = re.compile(rb"#[^ ]*(?= HTTP/)")
HOST_FIELD = re.compile(rb"(?i)\nhost[ \t]*:")
NEVER = frozenset((0,))
REFUSALS = {
    "InvalidHTTPVersion": frozenset((400, 505)),
    "9": frozenset((400, 505)),
    "LimitRequestLine": frozenset((414,)),
    "LimitRequestHeaders": frozenset((431,)),
}
"""The statuses for an error of gunicorn by its name, of llhttp by its number; 400 for all others."""
PAUSES = ("22 ", "23 ")
"""llhttp's way to say that another protocol begins: no error."""
UNFINISHED = ("NoMoreData", "ChunkMissingTerminator")
"""What is just not all there is no reason for a word, but never a request."""
DATA_AFTER_CLOSE = "5 "
"""llhttp's word for what follows a last request: it is left unread."""
CHUNKED, LENGTH = 0x8, 0x20
"""llhttp's flags of a message."""

Fields = tuple[tuple[str, str], ...]


class Read(msgspec.Struct, frozen=True):
    """A message as the corpus' own parser reads it; all text is latin-1. `whole`: it found the message's end."""

    version: str
    fields: list[tuple[str, str | None]]
    body: str
    whole: bool
    method: str = ""
    target: str = ""
    status: int = 0
    reason: str = ""
    flags: int = 0


class Case(msgspec.Struct, frozen=True):
    """One test. `error` is what the parser said at the end; `options` and `mode` are what it was told to be lenient with."""

    name: str
    kind: str
    data: str
    error: str
    messages: list[Read]
    options: dict[str, bool | int | str] = {}
    mode: str = ""

    @property
    def raw(self) -> bytes:
        """What is sent."""
        return self.data.encode("latin-1")


@dataclass(frozen=True)
class Request:
    """What a request says to whom it is for, end to end: fields in order, names in lower case."""

    method: str
    target: str
    fields: Fields
    body: bytes


@dataclass(frozen=True)
class Outcome:
    """What reaches the backend, and the status of the refusal that follows; 0: the connection ends without one."""

    forwarded: tuple[Request, ...]
    refused: int


@dataclass(frozen=True)
class Wanted:
    """Like `Outcome`, with the statuses that a refusal may have."""

    forwarded: tuple[Request, ...]
    refused: frozenset[int]

    def met_by(self, outcome: Outcome) -> bool:
        """Whether that is what came of it."""
        return outcome.forwarded == self.forwarded and outcome.refused in self.refused


@dataclass(frozen=True)
class Response:
    """What a response says end to end. `interim` are the statuses before it."""

    interim: tuple[int, ...]
    status: int
    reason: str
    fields: Fields
    body: bytes


def cases(corpus: str, kind: str) -> dict[str, Case]:
    """The cases of a corpus about requests or responses, by name."""
    found = msgspec.json.decode((DATA / f"{corpus}.json").read_bytes(), type=list[Case])
    return {case.name: case for case in found if case.kind == kind}


# What the corpus wants


def hosted(case: Case) -> bytes:
    """The case with a Host in every request of HTTP/1.1 that has none, and without fragments."""
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


def amended(case: Case) -> bytes:
    """`hosted`, and the header brought to its end where it has none, so that what is wrong in it is met."""
    data = hosted(case)
    unended = wanted(case).refused != NEVER and b"\r\n\r\n" not in data.lstrip(b"\r\n")
    return data + b"\r\n\r\n" if unended else data


def _start_of(data: bytes, at: int, message: Read | None) -> int:
    """Where the next request begins: at its line, if it is known; empty lines before it are none of it."""
    found = data.find(f"{message.method} {message.target} HTTP/".encode("latin-1"), at) if message else -1
    return found if found >= 0 else at + len(data[at:]) - len(data[at:].lstrip(b"\r\n"))


def wanted(case: Case) -> Wanted:
    """What the corpus says of a case about requests."""
    forwarded = tuple(_request(message) for message in case.messages if message.whole)
    unfinished = not case.error or case.error.startswith((*PAUSES, *UNFINISHED, DATA_AFTER_CLOSE))
    return Wanted(forwarded, NEVER if unfinished else REFUSALS.get(case.error.partition(" ")[0], frozenset((400,))))


def _request(message: Read) -> Request:
    target = message.target.partition("#")[0]
    if re.match("(?i)https?://", target):
        url = urlsplit(target)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    fields = passing(message.fields, OF_THE_PROXY)
    if message.method == "GET" and ("upgrade", "websocket") in lowered(message.fields):
        fields += WEBSOCKET
    return Request(message.method, target, fields, message.body.encode("latin-1"))


def passing(pairs: Iterable[tuple[str, str | None]], own: frozenset[str]) -> Fields:
    """The fields that pass a hop (RFC 9110 section 7.6.1), but for those the hop says itself."""
    found = [(name.lower(), (value or "").strip(" \t")) for name, value in pairs]
    listed = {option.strip().lower() for name, value in found if name == "connection" for option in value.split(",")}
    return tuple((name, value) for name, value in found if name not in HOP_BY_HOP | own | listed)


def lowered(pairs: Iterable[tuple[str, str | None]]) -> Fields:
    """Names and values in lower case."""
    return tuple((name.lower(), (value or "").lower()) for name, value in pairs)


def wanted_response(case: Case) -> Response | None:
    """The response that the corpus finds; None when it is wrong or cut short."""
    finals = [message for message in case.messages if message.status >= 200 or message.status == 101]
    if not finals:
        return None
    final = finals[0]
    until_close = not final.flags & (CHUNKED | LENGTH) and final.status not in (101, 204, 304)
    if not final.whole and (case.error or not until_close):
        return None
    interim = tuple(message.status for message in case.messages if 101 < message.status < 200)
    fields = passing(final.fields, OF_THE_RESPONSE)
    return Response(interim, final.status, final.reason, fields, final.body.encode("latin-1"))


# What the proxy does


async def put(it: Lab, data: bytes, methods: Sequence[str], *, pieces: int = 0) -> Outcome:
    """Send a case, read as many responses as requests are wanted, hang up and see what else comes.

    `pieces`: the bytes are sent that many at a time.
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
        # (the client's side is closed already when it wrote to a connection that was hung up on)
        client.writer.write_eof()
    statuses += [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", await client.rest())]
    client.close()
    assert it.legacy.seen == []
    forwarded = tuple(seen_by_backend(message) for message in it.candidate.seen)
    assert statuses[: len(forwarded)] == [200] * len(forwarded)
    assert len(statuses) - len(forwarded) <= 1
    return Outcome(forwarded, statuses[-1] if len(statuses) > len(forwarded) else 0)


async def _send(client: Client, data: bytes, pieces: int) -> None:
    """A client that was refused may be hung up on while it is still sending."""
    with suppress(ConnectionError):
        for at in range(0, len(data), pieces or len(data)):
            await client.send(data[at : at + (pieces or len(data))])
            # (so that the proxy reads this piece before the next is sent)
            await asyncio.sleep(0)


def seen_by_backend(message: Message) -> Request:
    """A request as it arrived, without what the proxy says of its own hop."""
    method, target, version = message.line.split(" ", 2)
    assert version == "HTTP/1.1"
    fields = tuple((name.lower(), value) for name, value in message.fields if name.lower() not in OF_THE_PROXY)
    return Request(method, target, fields, message.body)


class Scripted:
    """A backend that answers /case with the bytes of a case and hangs up, and anything else with a good response."""

    def __init__(self) -> None:
        self.data = b""

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        request = await read_message(reader)
        case = request.line.startswith("GET /case ")
        writer.write(self.data if case else b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh")
        await writer.drain()


async def answered(client: Client, script: Scripted) -> Response | None:
    """What a client gets for /case; None when it is told that there is no response (502), or can see that it was cut."""
    own = OF_THE_RESPONSE if re.search(rb"(?i)\ndate:", script.data) else OF_THE_RESPONSE | {"date"}
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


async def poisoned(it: Lab, client: Client) -> bool:
    """Whether the next request, on the same connection while it is open, gets anything but its own response."""
    ask = b"GET /fresh HTTP/1.1\r\nHost: corpus.example\r\n\r\n"
    try:
        response = await client.ask(ask)
    except (asyncio.IncompleteReadError, ConnectionError):
        response = await it.ask(ask)
    return (response.line, response.body) != ("HTTP/1.1 200 OK", b"fresh")
