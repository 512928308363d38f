"""The state of a route group's rollout, as a value that any two processes merge to the same result. Pure.

A state is superseded only by one of higher rank: first the epoch, then the latch of a rollback, then the version. So a rollback wins
over every other decision of its epoch, however long its writer was cut off, and only an operator's resume starts the next epoch:

    (epoch 1, not latched, version 7)  promoted here while the network was cut
    (epoch 1, latched,     version 3)  rolled back there meanwhile: this one holds everywhere
    (epoch 2, not latched, version 4)  resumed

A resume ends the rollbacks that its operator knew of, and no newer one: `rollback` is the version of the newest rollback that a state
knows. One that a resume does not know is lifted into the resume's epoch, where its latch wins:

    (epoch 2, not latched, version 4, rollback 3)  resumed here
    (epoch 1, latched,     version 5, rollback 5)  rolled back once more there, not known here
    (epoch 2, latched,     version 5, rollback 5)  both merged

Merging is commutative, associative and idempotent: states may arrive in any order, twice, or by way of a third process.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec

from proxy.rollout.state_machine import Event, Phase, Refusal, RolloutPosition, next_position

Rank: TypeAlias = tuple[int, bool, int, str]
ALL = "all"
"""The group of the routes that are in no other."""


class GroupState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One group's rollout.

    Attributes:
        at: the last change.
        entered_at: when the step was entered; evidence counts from there. None before the rollout began.
        salt: a digest of the buckets' salt that the rollout started with; with another one clients would change sides.
        rollback: version of the newest rollback that this state is or has ended; 0 for none.
        id: of the request that made the latest change, which may reach a process in several ways.
    """

    group: str = ALL
    phase: Phase = Phase.SHADOWING
    step: int = 0
    epoch: int = 1
    version: int = 0
    entered_at: datetime | None = None
    at: datetime | None = None
    actor: str = ""
    reason: str = ""
    salt: str = ""
    rollback: int = 0
    id: str = ""

    @property
    def rank(self) -> Rank:
        """The order of two states; the time only breaks a tie, the same way in every process."""
        return (self.epoch, self.phase.latched, self.version, self.at.isoformat() if self.at else "")

    @property
    def position(self) -> RolloutPosition:
        """The part that the state machine knows."""
        return RolloutPosition(self.phase, self.step)

    @property
    def revision(self) -> str:
        """The name of this state for conditional changes. A rollback keeps it while it is being stored."""
        return f"{self.epoch}.r{self.rollback}" if self.phase.latched else f"{self.epoch}.{self.version}"

    def describe(self) -> str:
        """Return the state and the change that led to it, in words."""
        by = f", by {self.actor} at {self.at:%Y-%m-%d %H:%M:%S}" if self.actor and self.at else ""
        return f"{self.phase}, step {self.step}{by}" + (f": {self.reason}" if self.reason else "")

    def with_salt(self, salt: str) -> "GroupState":
        """Return the same state with the salt noted, unless it has one or is at step 0."""
        return self if self.salt or self.step == 0 else msgspec.structs.replace(self, salt=salt)

    def in_epoch(self, epoch: int) -> "GroupState":
        """Return the same state in another epoch."""
        return msgspec.structs.replace(self, epoch=epoch)


States: TypeAlias = Mapping[str, GroupState]
"""States by the name of the group."""


class ChangeCause(msgspec.Struct, frozen=True):
    """The actor, the reason and the time of a change, and the id of the request."""

    actor: str
    reason: str
    at: datetime
    id: str = ""


def apply_event(state: GroupState, event: Event, cause: ChangeCause, *, last_step: int) -> GroupState | Refusal:
    """Return the state after an event: one version later, and when a rollback ends one epoch later."""
    position = next_position(state.position, event, last_step=last_step)
    if isinstance(position, Refusal):
        return position
    resumed = state.phase.latched and not position.phase.latched
    stays = position.step == state.step and not resumed
    return GroupState(
        group=state.group,
        phase=position.phase,
        step=position.step,
        epoch=state.epoch + resumed,
        version=state.version + 1,
        entered_at=state.entered_at if stays and state.entered_at else cause.at,
        at=cause.at,
        actor=cause.actor,
        reason=cause.reason,
        # From 0 % a rollout may go on with another salt: the candidate serves no client that could change sides.
        salt="" if position.step == 0 else state.salt,
        rollback=state.version + 1 if event is Event.ROLL_BACK else state.rollback,
        id=state.id if event is Event.SETTLED else cause.id,
    )


def merge_states(left: States, right: States) -> dict[str, GroupState]:
    """Take the state of higher rank for each group; a rollback that the other state has not ended is kept."""
    merged = dict(left)
    for name, state in right.items():
        merged[name] = _join(merged.get(name, state), state)
    return merged


def _join(one: GroupState, other: GroupState) -> GroupState:
    one, other = _lifted(one, other), _lifted(other, one)
    winner = max(one, other, key=lambda state: state.rank)
    if one.phase.latched and other.phase.latched and one.epoch == other.epoch:
        return msgspec.structs.replace(winner, rollback=max(one.rollback, other.rollback))
    return winner


def _lifted(state: GroupState, other: GroupState) -> GroupState:
    """Return a rollback in the epoch of a later state that does not know it; any other state as it is."""
    unended = state.phase.latched and state.epoch < other.epoch and state.rollback > other.rollback
    return state.in_epoch(other.epoch) if unended else state


def newer_states(known: States, other: States) -> dict[str, GroupState]:
    """Return the states that `other` supersedes what is known with."""
    merged = {name: _join(known.get(name, state), state) for name, state in other.items()}
    return {name: state for name, state in merged.items() if name not in known or state.rank > known[name].rank}


def initial_states(groups: Iterable[str]) -> dict[str, GroupState]:
    """Put every group at its beginning; any state that was ever stored supersedes it."""
    return {name: GroupState(group=name) for name in groups}


def all_latched(states: States) -> bool:
    """Return True when every group is rolled back."""
    return bool(states) and all(state.phase.latched for state in states.values())
