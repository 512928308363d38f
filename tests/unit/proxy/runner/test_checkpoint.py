"""proxy.runner.checkpoint: how far journal and log are let go together. Times are microseconds."""

import pytest

from comparator.exchanges.model import Exchange, Request, Response, Side
from proxy.journal.reader import JournalEntry, Position
from proxy.runner.checkpoint import CheckpointCommitter, Checkpoints
from proxy.runner.ledger import Place

NOW_US = 1_000_000


def at(sequence: int) -> Position:
    return Position((("w", sequence),))


def entry(sequence: int, *, started_us: int, ended_us: int) -> JournalEntry:
    asked = Request("GET", "/", (), b"")
    exchange = Exchange(
        str(sequence), "r", "", Side.CANDIDATE, "", started_us * 1_000, ended_us * 1_000, asked, Response(200, (), b"")
    )
    return JournalEntry(at(sequence), sequence, exchange)


def checkpoints(*, done: int) -> Checkpoints:
    """Three exchanges, one after the other, of which the first `done` have their outcome."""
    made = Checkpoints(clock_skew_us=5)
    for sequence in (1, 2, 3):
        made.begin(entry(sequence, started_us=sequence * 1_000, ended_us=sequence * 1_000 + 500))
    made.done(at(done))
    return made


@pytest.mark.parametrize(("done", "horizon_us"), [(0, 995), (1, 1_995), (2, 2_995), (3, NOW_US - 5)])
def test_log_is_kept_from_the_start_of_the_first_exchange_without_an_outcome(done: int, horizon_us: int) -> None:
    assert checkpoints(done=done).horizon_us(NOW_US) == horizon_us


@pytest.mark.parametrize(
    ("done", "place_us", "position"), [(3, 9_000, at(3)), (1, 9_000, at(1)), (3, 2_400, at(1)), (3, 1_505, None)]
)
def test_journal_is_kept_where_an_exchange_may_own_a_later_change(
    done: int, place_us: int, position: Position | None
) -> None:
    assert checkpoints(done=done).let_go((place_us, 7)) == position


def test_journal_is_let_go_before_the_log_and_once_a_place() -> None:
    steps: list[object] = []

    def commit(position: Position | None, live_us: int) -> None:
        steps.append((position, live_us))

    resuming = CheckpointCommitter(checkpoints(done=3), 0, lambda _: (9_000, 7), commit, steps.append)
    resuming.checkpoint(NOW_US)
    resuming.checkpoint(NOW_US)
    assert steps == [(at(3), 9_000), (9_000, 7), (9_000, 7)]


def test_log_is_kept_when_the_journal_cannot_be_committed() -> None:
    confirmed: list[Place | None] = []

    def full(position: Position | None, live_us: int) -> None:
        raise OSError(f"no space for {position} at {live_us}")

    resuming = CheckpointCommitter(checkpoints(done=3), 0, lambda _: (9_000, 7), full, confirmed.append)
    with pytest.raises(OSError, match="no space"):
        resuming.checkpoint(NOW_US)
    assert not confirmed
