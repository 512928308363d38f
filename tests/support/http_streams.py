"""Byte streams that resemble HTTP requests, to compare parsers on."""

import random

from proxy.errors import MalformedError
from proxy.http1.head_cache import CachedRequestParser
from proxy.http1.parser import HEAD_END, ChunkDecoder, Framing, parse_request

METHODS = ("GET", "POST", "OPTIONS", "CONNECT", "get", "G(T", "", "M-SEARCH")
TARGETS = ("/", "/a?b=%zz", "*", "http://b/x", "http://b", "//b", "/a b", "/\x00", "/\x7f", "/\xe9", "a", "a:80", "")
VERSIONS = ("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/11.1", "")
NAMES = (
    "Host", "host", "X", "x_y", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Expect", "", "X ", " X",
    "X\t", "X\x00", "X\xe9", "Content-Length ", "Transfer-Encoding\x0b", "Upgrade", "(",
)  # fmt: skip
VALUES = (
    "a", "", "3", "+3", "3, 3", "3,4", "03", "3 ", "\t3", "0x3", "3\x00", "-1", "3_0", "chunked", "Chunked", "chunked, chunked",
    "identity", "gzip, chunked", "chunked,", "xchunked", "chunked;a", "\x0bchunked", "close", "keep-alive", "100-continue", "b\xe9",
    "a\rb", "a\nb", "a\x7f", "a b", "u@a", "a/b", "[::1]", "9" * 19, "9" * 25,
)  # fmt: skip
ENDS = ("\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\r\r\n")
BODIES = (
    "", "abc", "3\r\nabc\r\n0\r\n\r\n", "3;x=y\r\nabc\r\n0\r\nX: 1\r\n\r\n", "3\nabc\n0\n\n", " 3\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-3\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\nbad\r\n\r\n", "f" * 20 + "\r\n", "03\r\nabc\r\n00\r\n\r\n",
)  # fmt: skip
NEXT = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"

LENGTHS = ("3", "3", "03", "3 ", "\t3", "+3", "3, 3", "0")
CODINGS = ("chunked", "chunked", "Chunked", "chunked ", "identity", "gzip, chunked", "chunked, chunked")
STREAMS = 400
"""In each example of hypothesis: a stream costs some tens of microseconds, drawing an example costs more."""


def streams(seed: int) -> list[bytes]:
    """Return streams that resemble requests, each with a possible body and another request behind it."""
    draw = random.Random(seed)
    return [(stream(draw) + NEXT).encode("latin-1") for _ in range(STREAMS)]


def stream(draw: random.Random) -> str:
    parts = (METHODS, TARGETS, VERSIONS) if draw.random() < 0.5 else (METHODS[:3], TARGETS[:5], VERSIONS[:3])
    method, target, version = map(draw.choice, parts)
    lines = [field_line(draw) + line_end(draw) for _ in range(draw.randrange(4))]
    if draw.random() < 0.9:
        lines.insert(draw.randint(0, len(lines)), "Host: a\r\n")
    start = draw.choice(("", "", "", "", "", "\r\n", "\n", " "))
    return f"{start}{method} {target} {version}{line_end(draw)}{''.join(lines)}{line_end(draw)}{draw.choice(BODIES)}"


def field_line(draw: random.Random) -> str:
    """Return a field line; every other one states how the body is framed."""
    chance = draw.random()
    if chance < 0.25:
        return f"{draw.choice(('Content-Length', 'content-length'))}: {draw.choice(LENGTHS)}"
    if chance < 0.5:
        return f"Transfer-Encoding: {draw.choice(CODINGS)}"
    return draw.choice(NAMES) + draw.choice((": ", ":", " : ", "")) + draw.choice(VALUES)


def line_end(draw: random.Random) -> str:
    return "\r\n" if draw.random() < 0.95 else draw.choice(ENDS)


Read = tuple[str, str, list[tuple[str, str]], bytes, bytes]
"""Method, target, fields, body, and what follows."""


def read_by_proxy(stream: bytes, parser: CachedRequestParser | None = None) -> Read | None:
    """Return what the proxy reads; None when it rejects the stream or needs more of it."""
    while stream.startswith(b"\r\n"):
        stream = stream[2:]
    end = stream.find(HEAD_END)
    if end < 0:
        return None
    try:
        first = stream[: end + 4]
        head = parser.parse(first, fields_max=0) if parser else parse_request(first, fields_max=0)
        body, rest = body_of(head.framing, head.length, stream[end + 4 :])
    except (MalformedError, EOFError):
        return None
    return head.method, head.target, [(name.lower(), value) for name, value in head.fields], body, rest


def body_of(framing: Framing, length: int, data: bytes) -> tuple[bytes, bytes]:
    """Return the body and the bytes after it. Raises EOFError if it is incomplete."""
    if framing is not Framing.CHUNKED:
        if len(data) < length:
            raise EOFError
        return data[:length], data[length:]
    decoder = ChunkDecoder()
    result = decoder.feed(data)
    if not decoder.complete:
        raise EOFError
    return result
