"""The parser of Node as a second witness, which is lenient in other places than h11."""

import re
from dataclasses import dataclass, field

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http_streams import NEXT, STREAMS, by_us, streams

UNKNOWN_TO_LLHTTP = re.compile(rb"(?:\r\n)*(?:get |[^\r\n]*[\x80-\xff])")
"""Methods are any token here, and bytes beyond ASCII in a target pass as they came: the backend is who knows what they mean."""


@dataclass
class Reading:
    """What llhttp finds: the first body once it is complete, how many requests there were, and why it stopped."""

    body: bytes = b""
    bodies: list[bytes] = field(default_factory=list[bytes])
    error: str = ""

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.bodies.append(self.body)
        self.body = b""


def by_llhttp(stream: bytes) -> Reading:
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
    """Whether we accept what llhttp refuses, or find another end of the body."""
    ours, theirs = by_us(stream), by_llhttp(stream)
    if ours is None:
        return False
    if not theirs.bodies:
        return UNKNOWN_TO_LLHTTP.match(stream) is None
    stopped = theirs.error == "upgrade" or "Connection: close" in theirs.error
    # Where the rest is just the next request, llhttp has to find it there too.
    return ours[3] != theirs.bodies[0] or (ours[4] == NEXT.encode() and len(theirs.bodies) != 2 and not stopped)


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_what_llhttp_refuses_is_refused_and_what_both_accept_ends_at_the_same_byte(seed: int) -> None:
    assert [stream for stream in streams(seed) if differs(stream)] == []


def test_the_streams_are_worth_comparing() -> None:
    accepted = [ours for stream in streams(1) if (ours := by_us(stream)) and by_llhttp(stream).bodies]
    assert len(accepted) > STREAMS // 20
    assert any(ours[3] for ours in accepted)
