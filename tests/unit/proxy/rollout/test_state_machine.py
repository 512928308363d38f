"""The table of the rollout's state machine."""

from itertools import product

import pytest

from proxy.rollout.state_machine import REFUSALS, TRANSITIONS, Event, Phase, Refusal, RolloutPosition, next_position


def test_every_pair_is_either_a_transition_or_a_refusal() -> None:
    every = set(product(Phase, Event))
    assert set(TRANSITIONS) | set(REFUSALS) == every
    assert not set(TRANSITIONS) & set(REFUSALS)


@pytest.mark.parametrize("phase", list(Phase))
def test_rollback_is_legal_from_every_phase(phase: Phase) -> None:
    position = next_position(RolloutPosition(phase, 3), Event.ROLL_BACK, last_step=7)
    assert isinstance(position, RolloutPosition)
    assert position.phase.latched


def test_promotions_end_promoted_at_the_last_step() -> None:
    first = next_position(RolloutPosition(), Event.PROMOTE, last_step=2)
    assert first == RolloutPosition(Phase.STEPPING, 1)
    assert next_position(RolloutPosition(Phase.STEPPING, 1), Event.PROMOTE, last_step=2) == RolloutPosition(
        Phase.PROMOTED, 2
    )


def test_pause_at_the_first_step_resumes_to_shadowing() -> None:
    assert next_position(RolloutPosition(Phase.PAUSED, 0), Event.RESUME, last_step=7) == RolloutPosition(
        Phase.SHADOWING, 0
    )


def test_pause_resumes_at_its_step() -> None:
    assert next_position(RolloutPosition(Phase.PAUSED, 4), Event.RESUME, last_step=7) == RolloutPosition(
        Phase.STEPPING, 4
    )


def test_resume_after_a_rollback_returns_to_the_first_step() -> None:
    assert next_position(RolloutPosition(Phase.ROLLED_BACK, 5), Event.RESUME, last_step=7) == RolloutPosition(
        Phase.SHADOWING, 0
    )


def test_rolled_back_rollout_is_not_promoted() -> None:
    position = next_position(RolloutPosition(Phase.ROLLED_BACK, 5), Event.PROMOTE, last_step=7)
    assert isinstance(position, Refusal)
    assert "resume first" in position.reason


def test_steps_are_not_skipped() -> None:
    assert next_position(RolloutPosition(Phase.STEPPING, 1), Event.COMPLETE, last_step=7) == Refusal(
        "steps are not skipped"
    )
