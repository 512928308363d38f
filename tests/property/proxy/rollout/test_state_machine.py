"""A rollout stays within its rules for every sequence of events."""

from functools import reduce
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.state_machine import Event, Phase, Refusal, RolloutPosition, next_position

events = st.lists(st.sampled_from(Event), max_size=40)
last_steps = st.integers(min_value=1, max_value=8)


def walk(sequence: list[Event], last_step: int) -> list[RolloutPosition]:
    positions = [RolloutPosition()]
    for event in sequence:
        outcome = next_position(positions[-1], event, last_step=last_step)
        positions.append(positions[-1] if isinstance(outcome, Refusal) else outcome)
    return positions


@given(events, last_steps)
def test_every_sequence_of_events_stays_within_the_steps(sequence: list[Event], last_step: int) -> None:
    assert all(0 <= position.step <= last_step for position in walk(sequence, last_step))


@given(events, last_steps)
def test_phase_and_step_agree(sequence: list[Event], last_step: int) -> None:
    positions = walk(sequence, last_step)
    assert all(position.step == 0 for position in positions if position.phase is Phase.SHADOWING)
    assert all(0 < position.step < last_step for position in positions if position.phase is Phase.STEPPING)
    assert all(position.step == last_step for position in positions if position.phase is Phase.PROMOTED)


@given(events, last_steps)
def test_step_grows_by_one_or_returns_to_the_first(sequence: list[Event], last_step: int) -> None:
    positions = walk(sequence, last_step)
    moves = {after.step - before.step for before, after in pairwise(positions) if after.step}
    assert moves <= {0, 1}


@given(events, last_steps, st.lists(st.sampled_from([e for e in Event if e is not Event.RESUME]), max_size=20))
def test_rollback_holds_until_a_resume(before: list[Event], last_step: int, later: list[Event]) -> None:
    positions = walk([*before, Event.ROLL_BACK, *later], last_step)
    assert all(position.phase.latched for position in positions[len(before) + 1 :])


@given(events, last_steps)
def test_only_a_resume_leaves_the_latch(sequence: list[Event], last_step: int) -> None:
    def check(position: RolloutPosition, event: Event) -> RolloutPosition:
        outcome = next_position(position, event, last_step=last_step)
        result = position if isinstance(outcome, Refusal) else outcome
        assert not position.phase.latched or result.phase.latched or event is Event.RESUME
        return result

    reduce(check, sequence, RolloutPosition())
