"""The state machine of a rollout: phases, events, and one table of transitions. Pure.

```
shadowing ──promote──> stepping ──promote──> ... ──complete──> promoted
    │  ▲                 │   ▲                                   │
  pause resume         pause resume                              │
    ▼  │                 ▼   │                                   │
   paused ──────────────paused          every phase ──roll_back──> rolling_back ──settled──> rolled_back ──resume──> shadowing
```

Shadowing is step 0: the candidate serves no client and gets mirrored requests only. Stepping is any step between the first and the
last. Every pair of a phase and an event is either in TRANSITIONS or in REFUSALS. A rollback is latched: only an operator's resume
ends it, and the rollout then starts again at step 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """The phases of a rollout."""

    SHADOWING = "shadowing"
    STEPPING = "stepping"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"

    @property
    def latched(self) -> bool:
        """True while the legacy serves all clients until an operator resumes."""
        return self in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)


class Event(StrEnum):
    """The events of a rollout. `complete` is the promotion to the last step; `settled`: the rollback is stored."""

    PROMOTE = "promote"
    COMPLETE = "complete"
    PAUSE = "pause"
    RESUME = "resume"
    ROLL_BACK = "roll_back"
    SETTLED = "settled"


class StepChange(StrEnum):
    """The effect of a transition on the step."""

    KEEP = "keep"
    NEXT = "next"
    FIRST = "first"


@dataclass(frozen=True, slots=True)
class Transition:
    """The next phase, and the effect on the step."""

    phase: Phase
    step_change: StepChange = StepChange.KEEP


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

_LATCHED: Final = "it is rolled back: resume first, when the cause is known and fixed"
_NOT_LATCHED: Final = "nothing to resume: it is neither paused nor rolled back"
_NO_ROLLBACK: Final = "no rollback is under way"

REFUSALS: Final[Mapping[tuple[Phase, Event], str]] = {
    (Phase.SHADOWING, Event.RESUME): _NOT_LATCHED,
    (Phase.SHADOWING, Event.SETTLED): _NO_ROLLBACK,
    (Phase.STEPPING, Event.RESUME): _NOT_LATCHED,
    (Phase.STEPPING, Event.SETTLED): _NO_ROLLBACK,
    (Phase.PAUSED, Event.PROMOTE): "it is paused: resume first",
    (Phase.PAUSED, Event.COMPLETE): "it is paused: resume first",
    (Phase.PAUSED, Event.PAUSE): "it is already paused",
    (Phase.PAUSED, Event.SETTLED): _NO_ROLLBACK,
    (Phase.PROMOTED, Event.PROMOTE): "the candidate serves all clients: this is the last step",
    (Phase.PROMOTED, Event.COMPLETE): "the candidate serves all clients: this is the last step",
    (Phase.PROMOTED, Event.PAUSE): "the candidate serves all clients: nothing is left to pause",
    (Phase.PROMOTED, Event.RESUME): _NOT_LATCHED,
    (Phase.PROMOTED, Event.SETTLED): _NO_ROLLBACK,
    (Phase.ROLLING_BACK, Event.PROMOTE): _LATCHED,
    (Phase.ROLLING_BACK, Event.COMPLETE): _LATCHED,
    (Phase.ROLLING_BACK, Event.PAUSE): _LATCHED,
    (Phase.ROLLED_BACK, Event.PROMOTE): _LATCHED,
    (Phase.ROLLED_BACK, Event.COMPLETE): _LATCHED,
    (Phase.ROLLED_BACK, Event.PAUSE): _LATCHED,
}


@dataclass(frozen=True, slots=True)
class RolloutPosition:
    """A phase and the index of the step; 0 is the first."""

    phase: Phase = Phase.SHADOWING
    step: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why an event is not possible now."""

    reason: str


def next_position(position: RolloutPosition, event: Event, *, last_step: int) -> RolloutPosition | Refusal:
    """Return the position after an event. A promotion that arrives at `last_step` is the event `complete`."""
    if event is Event.PROMOTE and position.step + 1 >= last_step:
        event = Event.COMPLETE
    refusal = REFUSALS.get((position.phase, event))
    if refusal is not None:
        return Refusal(refusal)
    if event is Event.COMPLETE and position.step + 1 < last_step:
        return Refusal("steps are not skipped")
    transition = TRANSITIONS[position.phase, event]
    step = {StepChange.KEEP: position.step, StepChange.NEXT: position.step + 1, StepChange.FIRST: 0}[
        transition.step_change
    ]
    # The configured steps may have become fewer since: a step beyond the last one is the last.
    step = min(step, last_step)
    at_first = transition.phase is Phase.STEPPING and step == 0
    return RolloutPosition(Phase.SHADOWING if at_first else transition.phase, step)
