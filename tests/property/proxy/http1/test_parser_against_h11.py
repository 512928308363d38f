"""Compare the parser with h11: it rejects all that h11 rejects, and both agree, to the byte, on what both accept.

`justified` has the exceptions with their reasons. The parser is stricter in many places, which only costs the rejected client.
"""

import re

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import MalformedError
from proxy.http1.head_cache import CachedRequestParser
from proxy.http1.parser import ChunkDecoder
from tests.support.http_streams import BODIES, NEXT, STREAMS, Read, read_by_proxy, streams


def read_by_h11(stream: bytes) -> Read | None:
    """Return what h11 reads; None when it rejects the stream or needs more of it."""
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
    """Return whether h11 rejects a stream that may be accepted.

    - Empty lines before a request are skipped, as RFC 9112 section 2.2 recommends.
    - Bytes beyond ASCII in a target are passed on unchanged: the backend knows what they mean.
    """
    line = stream.lstrip(b"\r\n").partition(b"\r\n")[0]
    return stream.startswith(b"\r\n") or re.search(rb"[\x80-\xff]", line) is not None


def differs(stream: bytes) -> bool:
    """Return whether the parser accepts what h11 rejects, without a reason, or reads it differently."""
    ours, theirs = read_by_proxy(stream), read_by_h11(stream)
    if ours is None:
        return False
    return not justified(stream) if theirs is None else normalized(ours) != normalized(in_origin_form(theirs))


def normalized(read: Read) -> Read:
    """Normalize a reading: h11 puts transfer codings into lower case."""
    method, target, fields, body, rest = read
    return method, target, [(name, value.lower()) for name, value in fields], body, rest


def in_origin_form(theirs: Read) -> Read:
    """Return h11's reading with an absolute target in origin form, as the proxy forwards it."""
    method, target, fields, body, rest = theirs
    path = re.sub("^http://b(?=/|$)", "", target) or "/"
    return method, path, fields, body, rest


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_parser_is_at_least_as_strict_as_h11_and_agrees_with_it(seed: int) -> None:
    assert [stream for stream in streams(seed) if differs(stream)] == []


def test_h11_accepts_enough_streams() -> None:
    """Both accept some of the streams, and some of those have bodies, so the comparison means something."""
    accepted = [ours for stream in streams(1) if (ours := read_by_proxy(stream)) and read_by_h11(stream)]
    assert len(accepted) > STREAMS // 20
    assert any(ours[3] for ours in accepted)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_cache_does_not_change_any_result(seed: int) -> None:
    heads, seen = CachedRequestParser(), streams(seed)
    assert [read_by_proxy(stream, heads) for stream in seen] == [read_by_proxy(stream) for stream in seen]


@given(st.sampled_from(BODIES), st.binary(max_size=4), st.data())
def test_end_of_a_body_does_not_depend_on_the_pieces(body: str, noise: bytes, data: st.DataObject) -> None:
    stream = body.encode() + noise + NEXT.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert outcome(pieces) == outcome([stream])


def outcome(pieces: list[bytes]) -> tuple[bool, bytes, bytes]:
    """Return whether chunked bytes were rejected, and the body and the rest if they were not."""
    decoder, body, rest = ChunkDecoder(), b"", b""
    try:
        for piece in pieces:
            if decoder.complete:
                rest += piece
                continue
            more, rest = decoder.feed(piece)
            body += more
    except MalformedError:
        return True, b"", b""
    return False, body, rest
