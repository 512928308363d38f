"""proxy.runner.checkpoint: how far journal and log are committed. Times are microseconds."""

from collections.abc import Callable

import pytest

from proxy.journal.delivery import MergedPosition
from proxy.runner.checkpoint import CommitOnSave, CommitWithLog, OpenExchanges
from proxy.runner.ledger import LiveCommit

NOW_US = 1_000_000
CHECKPOINT = LiveCommit(9_000, 7)


def at(sequence: int) -> MergedPosition:
    return MergedPosition((("w", sequence),))


def exchanges(*, saved: int) -> OpenExchanges[MergedPosition]:
    """Return three exchanges, one after the other, of which the first `saved` have a saved outcome."""
    result = OpenExchanges[MergedPosition](clock_skew_us=5)
    for sequence in (1, 2, 3):
        result.begin(sequence, at(sequence), started_us=sequence * 1_000, ended_us=sequence * 1_000 + 500)
    result.saved(saved)
    return result


@pytest.mark.parametrize(("saved", "horizon_us"), [(0, 995), (1, 1_995), (2, 2_995), (3, NOW_US - 5)])
def test_log_is_kept_from_the_start_of_the_first_exchange_without_a_saved_outcome(saved: int, horizon_us: int) -> None:
    assert exchanges(saved=saved).horizon_us(NOW_US) == horizon_us


@pytest.mark.parametrize(
    ("saved", "checkpoint_us", "position"), [(3, 9_000, at(3)), (1, 9_000, at(1)), (3, 2_400, at(1)), (3, 1_505, None)]
)
def test_journal_is_kept_from_the_first_exchange_that_may_own_a_later_change(
    saved: int, checkpoint_us: int, position: MergedPosition | None
) -> None:
    assert exchanges(saved=saved).take_before(LiveCommit(checkpoint_us, 7)) == position


def test_journal_is_committed_before_the_log_and_once_per_checkpoint() -> None:
    steps: list[object] = []

    def commit(position: MergedPosition | None, live_us: int, ended: Callable[[bool], None]) -> None:
        steps.append((position, live_us))
        disk.append(ended)

    disk: list[Callable[[bool], None]] = []
    checkpoints = CommitWithLog(exchanges(saved=3), 0, lambda _: CHECKPOINT, commit, steps.append)
    checkpoints.checkpoint(NOW_US)
    checkpoints.checkpoint(NOW_US)
    assert steps == [(at(3), 9_000)]
    disk.pop()(True)
    checkpoints.checkpoint(NOW_US)
    assert steps == [(at(3), 9_000), CHECKPOINT, CHECKPOINT]


def test_log_is_kept_when_the_journal_cannot_be_committed_and_it_is_committed_again() -> None:
    confirmed: list[LiveCommit | None] = []
    stored = [False, True]

    def commit(position: MergedPosition | None, live_us: int, ended: Callable[[bool], None]) -> None:
        ended(stored.pop(0))

    checkpoints = CommitWithLog(exchanges(saved=3), 0, lambda _: CHECKPOINT, commit, confirmed.append)
    checkpoints.checkpoint(NOW_US)
    assert not confirmed
    checkpoints.checkpoint(NOW_US)
    assert confirmed == [CHECKPOINT]


def test_without_a_persistent_slot_a_position_is_committed_when_its_outcome_is_saved() -> None:
    steps: list[object] = []
    checkpoints = CommitOnSave[MergedPosition](steps.append, lambda: 41, steps.append)
    checkpoints.begin(1, at(1), started_us=1_000, ended_us=1_500)
    checkpoints.start(NOW_US)
    checkpoints.saved(1, at(1))
    checkpoints.checkpoint(NOW_US)
    assert steps == [at(1), 41]
