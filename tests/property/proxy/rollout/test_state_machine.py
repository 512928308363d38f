"""Whatever happens in whatever order, a rollout stays within its rules."""

from functools import reduce
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.state_machine import Event, Phase, Refusal, RolloutPosition, next_position

events = st.lists(st.sampled_from(Event), max_size=40)
last_steps = st.integers(min_value=1, max_value=8)


def walk(sequence: list[Event], last_step: int) -> list[RolloutPosition]:
    places = [RolloutPosition()]
    for event in sequence:
        found = next_position(places[-1], event, last_step=last_step)
        places.append(places[-1] if isinstance(found, Refusal) else found)
    return places


@given(events, last_steps)
def test_every_sequence_of_events_stays_within_the_steps(sequence: list[Event], last_step: int) -> None:
    assert all(0 <= place.step <= last_step for place in walk(sequence, last_step))


@given(events, last_steps)
def test_phase_and_step_agree(sequence: list[Event], last_step: int) -> None:
    places = walk(sequence, last_step)
    assert all(place.step == 0 for place in places if place.phase is Phase.SHADOWING)
    assert all(0 < place.step < last_step for place in places if place.phase is Phase.STEPPING)
    assert all(place.step == last_step for place in places if place.phase is Phase.PROMOTED)


@given(events, last_steps)
def test_step_grows_by_one_or_returns_to_the_first(sequence: list[Event], last_step: int) -> None:
    places = walk(sequence, last_step)
    moves = {after.step - before.step for before, after in pairwise(places) if after.step}
    assert moves <= {0, 1}


@given(events, last_steps, st.lists(st.sampled_from([e for e in Event if e is not Event.RESUME]), max_size=20))
def test_rollback_holds_until_a_resume(before: list[Event], last_step: int, later: list[Event]) -> None:
    places = walk([*before, Event.ROLL_BACK, *later], last_step)
    assert all(place.phase.latched for place in places[len(before) + 1 :])


@given(events, last_steps)
def test_only_a_resume_leaves_the_latch(sequence: list[Event], last_step: int) -> None:
    def check(place: RolloutPosition, event: Event) -> RolloutPosition:
        found = next_position(place, event, last_step=last_step)
        result = place if isinstance(found, Refusal) else found
        assert not place.phase.latched or result.phase.latched or event is Event.RESUME
        return result

    reduce(check, sequence, RolloutPosition())
