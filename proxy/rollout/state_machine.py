"""What a rollout may do when: phases, events, and the one table that says what follows. Pure.

```
shadowing ──promote──> stepping ──promote──> ... ──complete──> promoted
    │  ▲                 │   ▲                                   │
  pause resume         pause resume                              │
    ▼  │                 ▼   │                                   │
   paused ──────────────paused          every phase ──roll_back──> rolling_back ──settled──> rolled_back ──resume──> shadowing
```

Shadowing is step 0 (the candidate serves nobody and is only mirrored to), stepping is any step between the first and the last.
Every pair of a phase and an event is either in TRANSITIONS or in REFUSALS. Rolled back is latched: only a person's resume ends it,
and then evidence begins anew at step 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where a rollout stands."""

    SHADOWING = "shadowing"
    STEPPING = "stepping"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"

    @property
    def latched(self) -> bool:
        """Whether the legacy serves everybody until a person resumes."""
        return self in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)


class Event(StrEnum):
    """What can happen to a rollout. `complete` is the promotion to the last step; `settled`: the rollback is stored."""

    PROMOTE = "promote"
    COMPLETE = "complete"
    PAUSE = "pause"
    RESUME = "resume"
    ROLL_BACK = "roll_back"
    SETTLED = "settled"


class StepChange(StrEnum):
    """What becomes of the step."""

    KEEP = "keep"
    NEXT = "next"
    FIRST = "first"


@dataclass(frozen=True, slots=True)
class Transition:
    """The next phase, and what becomes of the step."""

    phase: Phase
    move: StepChange = StepChange.KEEP


TRANSITIONS: Final[Mapping[tuple[Phase, Event], Transition]] = {
    (Phase.SHADOWING, Event.PROMOTE): Transition(Phase.STEPPING, StepChange.NEXT),
    (Phase.SHADOWING, Event.COMPLETE): Transition(Phase.PROMOTED, StepChange.NEXT),
    (Phase.SHADOWING, Event.PAUSE): Transition(Phase.PAUSED),
    (Phase.SHADOWING, Event.ROLL_BACK): Transition(Phase.ROLLING_BACK),
    (Phase.STEPPING, Event.PROMOTE): Transition(Phase.STEPPING, StepChange.NEXT),
    (Phase.STEPPING, Event.COMPLETE): Transition(Phase.PROMOTED, StepChange.NEXT),
    (Phase.STEPPING, Event.PAUSE): Transition(Phase.PAUSED),
    (Phase.STEPPING, Event.ROLL_BACK): Transition(Phase.ROLLING_BACK),
    (Phase.PAUSED, Event.RESUME): Transition(Phase.STEPPING),
    (Phase.PAUSED, Event.ROLL_BACK): Transition(Phase.ROLLING_BACK),
    (Phase.PROMOTED, Event.ROLL_BACK): Transition(Phase.ROLLING_BACK),
    (Phase.ROLLING_BACK, Event.ROLL_BACK): Transition(Phase.ROLLING_BACK),
    (Phase.ROLLING_BACK, Event.SETTLED): Transition(Phase.ROLLED_BACK),
    (Phase.ROLLING_BACK, Event.RESUME): Transition(Phase.SHADOWING, StepChange.FIRST),
    (Phase.ROLLED_BACK, Event.ROLL_BACK): Transition(Phase.ROLLED_BACK),
    (Phase.ROLLED_BACK, Event.SETTLED): Transition(Phase.ROLLED_BACK),
    (Phase.ROLLED_BACK, Event.RESUME): Transition(Phase.SHADOWING, StepChange.FIRST),
}

_LATCHED: Final = "it is rolled back: resume first, when the cause is known and gone"
_RUNNING: Final = "nothing to resume: it is neither paused nor rolled back"
_NOT_ROLLING: Final = "no rollback is under way"

REFUSALS: Final[Mapping[tuple[Phase, Event], str]] = {
    (Phase.SHADOWING, Event.RESUME): _RUNNING,
    (Phase.SHADOWING, Event.SETTLED): _NOT_ROLLING,
    (Phase.STEPPING, Event.RESUME): _RUNNING,
    (Phase.STEPPING, Event.SETTLED): _NOT_ROLLING,
    (Phase.PAUSED, Event.PROMOTE): "it is paused: resume first",
    (Phase.PAUSED, Event.COMPLETE): "it is paused: resume first",
    (Phase.PAUSED, Event.PAUSE): "it is paused already",
    (Phase.PAUSED, Event.SETTLED): _NOT_ROLLING,
    (Phase.PROMOTED, Event.PROMOTE): "the candidate serves everybody: there is no step beyond",
    (Phase.PROMOTED, Event.COMPLETE): "the candidate serves everybody: there is no step beyond",
    (Phase.PROMOTED, Event.PAUSE): "the candidate serves everybody: nothing is left to pause",
    (Phase.PROMOTED, Event.RESUME): _RUNNING,
    (Phase.PROMOTED, Event.SETTLED): _NOT_ROLLING,
    (Phase.ROLLING_BACK, Event.PROMOTE): _LATCHED,
    (Phase.ROLLING_BACK, Event.COMPLETE): _LATCHED,
    (Phase.ROLLING_BACK, Event.PAUSE): _LATCHED,
    (Phase.ROLLED_BACK, Event.PROMOTE): _LATCHED,
    (Phase.ROLLED_BACK, Event.COMPLETE): _LATCHED,
    (Phase.ROLLED_BACK, Event.PAUSE): _LATCHED,
}


@dataclass(frozen=True, slots=True)
class RolloutPosition:
    """A phase and the index of the step, 0 is the first."""

    phase: Phase = Phase.SHADOWING
    step: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that is not possible now, and why."""

    reason: str


def next_position(place: RolloutPosition, event: Event, *, last_step: int) -> RolloutPosition | Refusal:
    """Where `event` leads. A promotion that arrives at `last_step` is the `complete` event, whichever was asked for."""
    if event is Event.PROMOTE and place.step + 1 >= last_step:
        event = Event.COMPLETE
    refusal = REFUSALS.get((place.phase, event))
    if refusal is not None:
        return Refusal(refusal)
    if event is Event.COMPLETE and place.step + 1 < last_step:
        return Refusal("steps are not skipped")
    transition = TRANSITIONS[place.phase, event]
    step = {StepChange.KEEP: place.step, StepChange.NEXT: place.step + 1, StepChange.FIRST: 0}[transition.move]
    # A step of a plan that has become shorter since is the last.
    step = min(step, last_step)
    at_first = transition.phase is Phase.STEPPING and step == 0
    return RolloutPosition(Phase.SHADOWING if at_first else transition.phase, step)
