"""Trace context."""

import pytest

from proxy.http1.forwarding_headers import TraceContext, parse_traceparent, traceparent

TRACE, SPAN = "a" * 32, "b" * 16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceContext(TRACE, "01")),
        (f"01-{TRACE}-{SPAN}-00-more", TraceContext(TRACE, "00")),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("", None),
    ],
)
def test_traceparent_is_parsed(text: str, expected: TraceContext | None) -> None:
    assert parse_traceparent(text) == expected


def test_trace_is_continued_in_a_new_span() -> None:
    assert traceparent(TraceContext(TRACE, "00"), "c" * 32, "d" * 16) == f"00-{TRACE}-{'d' * 16}-00"


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True), ("fe", False)]
)
def test_lowest_bit_of_the_flags_says_sampled(flags: str, sampled: bool) -> None:
    assert TraceContext(TRACE, flags).sampled is sampled


def test_trace_starts_without_a_valid_one() -> None:
    assert traceparent(None, "c" * 32, "d" * 16) == f"00-{'c' * 32}-{'d' * 16}-01"
