"""comparator.store.timeline: steps relative to the request, bounded commits, and the stored form."""

from dataclasses import replace

import pytest

from comparator.errors import CaseError
from comparator.exchanges.model import Effects, EffectsOutcome, Observation
from comparator.exchanges.row_changes import REQUEST_MESSAGE_PREFIX, LogicalMessage, Transaction
from comparator.store.timeline import (
    COMMITS_MAX,
    MirrorSteps,
    MirrorTimes,
    packed_timeline,
    timeline_of,
    unpacked_timeline,
)
from tests.support.comparisons import NOW, exchange, insert, mirrored, response, served

START_US = int(NOW.timestamp()) * 1_000_000
TIMES = MirrorTimes(
    START_US + 284_000,
    MirrorSteps(START_US + 290_000, START_US + 353_000, START_US + 360_000, START_US + 376_000),
    MirrorSteps(START_US + 420_000, START_US + 480_000, START_US + 485_000, START_US + 496_000),
    START_US + 541_000,
)


def with_commits(observation: Observation, count: int, *, names: str = "") -> Observation:
    messages = (LogicalMessage(REQUEST_MESSAGE_PREFIX, names),) if names else ()
    transactions = tuple(
        Transaction(100 + n, n, n, START_US + 1_000 * n, (insert("event", id=n),) * 2, messages) for n in range(count)
    )
    return replace(observation, effects=Effects(EffectsOutcome.ATTRIBUTED, transactions))


def test_steps_are_microseconds_after_the_request() -> None:
    timeline = timeline_of(
        replace(exchange(), first_byte_us=5_410), TIMES, served(response({})), mirrored(response({})), writer="proxy-1"
    )
    assert (timeline.writer, timeline.first_byte_us, timeline.delivered_us) == ("proxy-1", 5_410, 284_000)
    assert timeline.first == MirrorSteps(290_000, 353_000, 360_000, 376_000)
    assert timeline.second == MirrorSteps(420_000, 480_000, 485_000, 496_000)
    assert timeline.aligned_us == 541_000
    assert (timeline.served, timeline.mirrored) == (None, None)


def test_commits_are_bounded_and_counted() -> None:
    timeline = timeline_of(
        exchange(),
        TIMES,
        with_commits(served(response({})), 1, names="x1"),
        with_commits(mirrored(response({})), 20),
    )
    one, many = timeline.served, timeline.mirrored
    assert one is not None
    assert many is not None
    assert (one.at_us, one.transactions, one.changes, one.named) == ((0,), 1, 2, True)
    assert many.at_us == tuple(1_000 * n for n in range(COMMITS_MAX))
    assert (many.last_us, many.first_xid, many.last_xid, many.transactions, many.changes) == (19_000, 100, 119, 20, 40)
    assert many.named is False


def test_trace_of_the_exchange_itself_is_not_stored_twice() -> None:
    sides = served(response({})), mirrored(response({}))
    assert timeline_of(exchange("x1"), TIMES, *sides, trace_id="x1").trace_id == ""
    assert timeline_of(exchange("x1"), TIMES, *sides, trace_id="4bf9").trace_id == "4bf9"


def test_stored_timeline_is_read_back() -> None:
    timeline = timeline_of(exchange(), TIMES, with_commits(served(response({})), 3), mirrored(response({})))
    assert unpacked_timeline(packed_timeline(timeline)) == timeline
    assert unpacked_timeline(packed_timeline(None)) is None


def test_damaged_timeline_is_refused() -> None:
    with pytest.raises(CaseError, match="timeline of a comparison is damaged"):
        unpacked_timeline(b"\x91\xff")
