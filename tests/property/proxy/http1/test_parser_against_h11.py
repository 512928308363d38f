"""An independent parser as a witness: what h11 refuses is refused here too, and what both accept they read alike, to the byte.

Where this parser is the more lenient one stands in `justified`, with the reason; it is the stricter one in many places, which can
hurt nobody but the client that is refused.
"""

import re

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import MalformedError
from proxy.http1.head_cache import CachedRequestParser
from proxy.http1.parser import ChunkDecoder
from tests.support.http_streams import BODIES, NEXT, STREAMS, Read, by_us, streams


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
    heads, seen = CachedRequestParser(), streams(seed)
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
