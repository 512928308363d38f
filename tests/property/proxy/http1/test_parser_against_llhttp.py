"""Compare the parser with llhttp, the parser of Node, which is lenient in other places than h11."""

import re
from dataclasses import dataclass, field

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http_streams import NEXT, STREAMS, read_by_proxy, streams

UNKNOWN_TO_LLHTTP = re.compile(rb"(?:\r\n)*(?:get |[^\r\n]*[\x80-\xff])")
"""Here a method is any token, and bytes beyond ASCII in a target are passed on unchanged: the backend knows what they mean."""


@dataclass
class Reading:
    """The result of llhttp: the bodies of the complete requests, and why it stopped."""

    body: bytes = b""
    bodies: list[bytes] = field(default_factory=list[bytes])
    error: str = ""

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.bodies.append(self.body)
        self.body = b""


def read_by_llhttp(stream: bytes) -> Reading:
    reading = Reading()
    parser = httptools.HttpRequestParser(reading)
    try:
        parser.feed_data(stream)
    except httptools.HttpParserUpgrade:
        reading.error = "upgrade"
    except httptools.HttpParserError as error:
        reading.error = str(error)
    return reading


def differs(stream: bytes) -> bool:
    """Return whether the parser accepts what llhttp rejects, or finds another end of the body."""
    ours, theirs = read_by_proxy(stream), read_by_llhttp(stream)
    if ours is None:
        return False
    if not theirs.bodies:
        return UNKNOWN_TO_LLHTTP.match(stream) is None
    stopped = theirs.error == "upgrade" or "Connection: close" in theirs.error
    # If the rest is exactly the next request, llhttp has to find it there too.
    return ours[3] != theirs.bodies[0] or (ours[4] == NEXT.encode() and len(theirs.bodies) != 2 and not stopped)


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_parser_is_at_least_as_strict_as_llhttp_and_agrees_on_the_end(seed: int) -> None:
    assert [stream for stream in streams(seed) if differs(stream)] == []


def test_llhttp_accepts_enough_streams() -> None:
    accepted = [ours for stream in streams(1) if (ours := read_by_proxy(stream)) and read_by_llhttp(stream).bodies]
    assert len(accepted) > STREAMS // 20
    assert any(ours[3] for ours in accepted)
