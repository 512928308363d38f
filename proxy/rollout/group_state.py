"""The state of a route group's rollout, as a value that any two processes merge to the same result. Pure.

A state is superseded only by one of higher rank: first the epoch, then the latch of a rollback, then the version. So a rollback wins
over every other decision of its epoch, however long its writer was cut off, and only an operator's resume starts the next epoch:

    (epoch 1, not latched, version 7)  promoted here while the network was cut
    (epoch 1, latched,     version 3)  rolled back there meanwhile: this one holds everywhere
    (epoch 2, not latched, version 4)  resumed

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

    @property
    def rank(self) -> Rank:
        """The order of two states; the time only breaks a tie, the same way in every process."""
        return (self.epoch, self.phase.latched, self.version, self.at.isoformat() if self.at else "")

    @property
    def position(self) -> RolloutPosition:
        """The part that the state machine knows."""
        return RolloutPosition(self.phase, self.step)

    def with_salt(self, salt: str) -> "GroupState":
        """Return the same state with the salt noted, unless it has one or is at step 0."""
        return self if self.salt or self.step == 0 else msgspec.structs.replace(self, salt=salt)

    def in_epoch(self, epoch: int) -> "GroupState":
        """Return the same state in another epoch."""
        return msgspec.structs.replace(self, epoch=epoch)


States: TypeAlias = Mapping[str, GroupState]
"""States by the name of the group."""


class ChangeCause(msgspec.Struct, frozen=True):
    """The actor, the reason and the time of a change."""

    actor: str
    reason: str
    at: datetime


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
    )


def merge_states(left: States, right: States) -> dict[str, GroupState]:
    """Take the state of higher rank for each group."""
    merged = dict(left)
    for name, state in right.items():
        merged[name] = max(merged.get(name, state), state, key=lambda known: known.rank)
    return merged


def newer_states(known: States, other: States) -> dict[str, GroupState]:
    """Select the states in `other` that supersede what is known."""
    return {name: state for name, state in other.items() if name not in known or state.rank > known[name].rank}


def initial_states(groups: Iterable[str]) -> dict[str, GroupState]:
    """Put every group at its beginning; any state that was ever stored supersedes it."""
    return {name: GroupState(group=name) for name in groups}


def all_latched(states: States) -> bool:
    """Return True when every group is rolled back."""
    return bool(states) and all(state.phase.latched for state in states.values())
