"""An independent parser as a witness: what h11 refuses is refused here too, and what both accept they read alike, to the byte.

Where this parser is the more lenient one stands in `justified`, with the reason; it is the stricter one in many places, which can
hurt nobody but the caller that is refused.
"""

import random
import re

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import MalformedError
from proxy.http1 import HEAD_END, ChunkDecoder, Framing, parse_request
from proxy.memory import RequestHeads

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
"""In each example: a stream costs some tens of microseconds, a decision of the search for examples more than that."""


def streams(seed: int) -> list[bytes]:
    """Requests, more or less, each with what may be its body and with another request behind it."""
    draw = random.Random(seed)
    return [(one(draw) + NEXT).encode("latin-1") for _ in range(STREAMS)]


def one(draw: random.Random) -> str:
    words = (METHODS, TARGETS, VERSIONS) if draw.random() < 0.5 else (METHODS[:3], TARGETS[:5], VERSIONS[:3])
    method, target, version = map(draw.choice, words)
    lines = [field(draw) + end(draw) for _ in range(draw.randrange(4))]
    if draw.random() < 0.9:
        lines.insert(draw.randint(0, len(lines)), "Host: a\r\n")
    start = draw.choice(("", "", "", "", "", "\r\n", "\n", " "))
    return f"{start}{method} {target} {version}{end(draw)}{''.join(lines)}{end(draw)}{draw.choice(BODIES)}"


def field(draw: random.Random) -> str:
    """One that frames the body every other time."""
    chance = draw.random()
    if chance < 0.25:
        return f"{draw.choice(('Content-Length', 'content-length'))}: {draw.choice(LENGTHS)}"
    if chance < 0.5:
        return f"Transfer-Encoding: {draw.choice(CODINGS)}"
    return draw.choice(NAMES) + draw.choice((": ", ":", " : ", "")) + draw.choice(VALUES)


def end(draw: random.Random) -> str:
    return "\r\n" if draw.random() < 0.95 else draw.choice(ENDS)


Read = tuple[str, str, list[tuple[str, str]], bytes, bytes]
"""Method, target, fields, body, and what follows."""


def by_h11(stream: bytes) -> Read | None:
    """What h11 reads; None when it refuses, or waits for more."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(stream)
    body = b""
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        while isinstance(event := connection.next_event(), h11.Data):
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.EndOfMessage):
        return None
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
    return request.method.decode(), request.target.decode("latin-1"), fields, body, connection.trailing_data[0]


def by_us(stream: bytes, heads: RequestHeads | None = None) -> Read | None:
    """What we read; None when we refuse, or wait for more."""
    while stream.startswith(b"\r\n"):
        stream = stream[2:]
    end = stream.find(HEAD_END)
    if end < 0:
        return None
    try:
        first = stream[: end + 4]
        head = heads.parse(first, fields_max=0) if heads else parse_request(first, fields_max=0)
        body, rest = body_of(head.framing, head.length, stream[end + 4 :])
    except (MalformedError, EOFError):
        return None
    return head.method, head.target, [(name.lower(), value) for name, value in head.pairs], body, rest


def body_of(framing: Framing, length: int, data: bytes) -> tuple[bytes, bytes]:
    """The body, and what follows; EOFError when it is not all there."""
    if framing is not Framing.CHUNKED:
        if len(data) < length:
            raise EOFError
        return data[:length], data[length:]
    decoder = ChunkDecoder()
    found = decoder.feed(data)
    if not decoder.done:
        raise EOFError
    return found


def justified(stream: bytes) -> bool:
    """Whether h11 refuses this for a reason that is not ours.

    - Empty lines before a request are skipped: RFC 9112 section 2.2 asks for that.
    - Bytes beyond ASCII in a target pass as they came: the backend behind this hop is who knows what they mean.
    """
    line = stream.lstrip(b"\r\n").partition(b"\r\n")[0]
    return stream.startswith(b"\r\n") or re.search(rb"[\x80-\xff]", line) is not None


def differs(stream: bytes) -> bool:
    """Whether we accept what h11 refuses, for no good reason, or read it otherwise."""
    ours, theirs = by_us(stream), by_h11(stream)
    if ours is None:
        return False
    return not justified(stream) if theirs is None else alike(ours) != alike(as_sent(theirs))


def alike(read: Read) -> Read:
    """A reading without what means the same: h11 writes a coding small."""
    method, target, fields, body, rest = read
    return method, target, [(name, value.lower()) for name, value in fields], body, rest


def as_sent(theirs: Read) -> Read:
    """h11's reading with an absolute target made an origin's, as this hop sends it on."""
    method, target, fields, body, rest = theirs
    path = re.sub("^http://b(?=/|$)", "", target) or "/"
    return method, path, fields, body, rest


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_what_h11_refuses_is_refused_and_what_both_accept_is_read_alike(seed: int) -> None:
    assert [stream for stream in streams(seed) if differs(stream)] == []


def test_the_streams_are_worth_comparing() -> None:
    """Enough of them are accepted by both, and enough of those have bodies, for the comparison to say something."""
    accepted = [ours for stream in streams(1) if (ours := by_us(stream)) and by_h11(stream)]
    assert len(accepted) > STREAMS // 20
    assert any(ours[3] for ours in accepted)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_what_was_seen_before_changes_nothing(seed: int) -> None:
    heads, seen = RequestHeads(), streams(seed)
    assert [by_us(stream, heads) for stream in seen] == [by_us(stream) for stream in seen]


@given(st.sampled_from(BODIES), st.binary(max_size=4), st.data())
def test_a_body_ends_at_the_same_byte_however_it_arrives(body: str, noise: bytes, data: st.DataObject) -> None:
    stream = body.encode() + noise + NEXT.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert outcome(pieces) == outcome([stream])


def outcome(pieces: list[bytes]) -> tuple[bool, bytes, bytes]:
    """Whether chunked bytes were refused, and the body and the rest when they were not."""
    decoder, body, rest = ChunkDecoder(), b"", b""
    try:
        for piece in pieces:
            if decoder.done:
                rest += piece
                continue
            more, rest = decoder.feed(piece)
            body += more
    except MalformedError:
        return True, b"", b""
    return False, body, rest
