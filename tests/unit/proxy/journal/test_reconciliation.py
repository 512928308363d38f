"""proxy.journal.reconciliation: every exchange is counted once, and what is lost at a hand-over is named."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.number_ranges import EndedNumbers, NumberRanges
from proxy.journal.reconciliation import RunnerState, WriterState, combined, reconcile

WRITER = WriterState("w0-3f2a", offered=4720, written=4715, running=True)
RUNNER = RunnerState({"w0-3f2a": 4710}, {"w0-3f2a": NumberRanges.of(4709, 4710)})
ENDED = {"w0-3f2a": EndedNumbers(NumberRanges.of(1, 4708))}


def test_everything_is_somewhere() -> None:
    (account,) = reconcile([WRITER], RUNNER, ENDED)
    assert (account.queued, account.unread, account.in_flight, account.ended) == (5, 5, 2, 4708)
    assert not account.missing
    assert not account.unwritten


def test_exchange_of_slices_has_ended_when_it_has_in_each() -> None:
    ahead = RunnerState({"w0-3f2a": 4715}, {"w0-3f2a": NumberRanges.of(4714, 4714)})
    runner = combined([RUNNER, ahead, RunnerState({"w0-3f2a": 4712}, {})])
    ended = EndedNumbers.of_all(
        [
            EndedNumbers(NumberRanges.of(1, 4708), NumberRanges.of(7, 8)),
            EndedNumbers(NumberRanges.of(1, 4713)),
            EndedNumbers(NumberRanges([(1, 4699), (4701, 4712)]), NumberRanges.of(9, 9)),
        ]
    )
    (account,) = reconcile([WRITER], runner, {"w0-3f2a": ended})
    assert (account.ended, str(account.missing), str(account.lost)) == (4707, "4700", "7 to 9")
    assert (account.in_flight, account.unread) == (3, 5)


def test_slice_that_has_not_begun_with_a_writer_has_read_nothing_of_it() -> None:
    assert combined([RUNNER, RunnerState({}, {})]).read == {"w0-3f2a": 0}


def test_exchange_lost_between_runner_and_store_is_named() -> None:
    ended = {"w0-3f2a": EndedNumbers(ENDED["w0-3f2a"].all - NumberRanges.of(4700, 4700))}
    (account,) = reconcile([WRITER], RUNNER, ended)
    assert str(account.missing) == "4700"


def test_exchanges_lost_with_the_memory_of_a_killed_proxy_are_named() -> None:
    (account,) = reconcile([replace(WRITER, running=False)], RUNNER, ENDED)
    assert (str(account.unwritten), account.queued) == ("4716 to 4720", 0)


def test_exchanges_that_could_not_be_read_are_named() -> None:
    (account,) = reconcile([WRITER], RUNNER, {"w0-3f2a": EndedNumbers(ENDED["w0-3f2a"].all, NumberRanges.of(12, 14))})
    assert (str(account.lost), account.ended) == ("12 to 14", 4708)


def test_exchanges_lost_with_an_earlier_process_are_not_queued_in_the_next_one() -> None:
    (account,) = reconcile([replace(WRITER, earlier=4718)], RUNNER, ENDED)
    assert (str(account.unwritten), account.queued) == ("4716 to 4718", 2)


def test_exchange_that_ended_after_the_runner_was_asked_is_ended() -> None:
    (account,) = reconcile([WRITER], RUNNER, {"w0-3f2a": EndedNumbers(NumberRanges.of(1, 4712))})
    assert (account.in_flight, account.ended, account.unread) == (0, 4712, 3)
    assert not account.missing


def test_without_a_runner_nothing_behind_its_committed_offset_is_missing() -> None:
    (account,) = reconcile([WRITER], RunnerState({"w0-3f2a": 4700}, {}), ENDED)
    assert (account.unread, account.in_flight) == (7, 0)
    assert not account.missing


@pytest.mark.parametrize("offered", [None, 10])
def test_writer_without_shared_memory_has_nothing_queued_that_is_known(offered: int | None) -> None:
    (account,) = reconcile([WriterState("w1", offered, 10, running=False)], RunnerState({}, {}), {})
    assert (account.queued, len(account.unwritten), account.unread) == (0, 0, 10)


@given(st.lists(st.sampled_from(["queued", "unread", "open", "ended", "lost"]), max_size=30))
def test_each_exchange_is_counted_once(states: list[str]) -> None:
    # As written: those that were read come first, then those on disk, then those in memory.
    order = {"open": 0, "ended": 0, "lost": 0, "unread": 1, "queued": 2}
    numbered = list(enumerate(sorted(states, key=lambda state: order[state]), 1))

    def numbers(*kinds: str) -> NumberRanges:
        return NumberRanges.each(number for number, state in numbered if state in kinds)

    read = len(numbers("open", "ended", "lost"))
    writer = WriterState("w", len(states), len(states) - len(numbers("queued")), running=True)
    (account,) = reconcile(
        [writer], RunnerState({"w": read}, {"w": numbers("open")}), {"w": EndedNumbers(numbers("ended"))}
    )
    assert account.missing == numbers("lost")
    counts = (account.queued, account.unread, account.in_flight, account.ended)
    assert counts == tuple(len(numbers(kind)) for kind in ("queued", "unread", "open", "ended"))
