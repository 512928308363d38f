"""Where each group's rollout stands, as a value that any two processes merge alike. Pure.

A state is superseded only by one of higher rank: first the epoch, then whether it is rolled back, then the version. A rollback thus
wins over whatever else was decided in its epoch, however long a writer was cut off, and only a person's resume begins the next
epoch. Merging is commutative, associative and idempotent, so states may arrive in any order, twice, or through anybody.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec

from proxy.rollout.state_machine import Event, Phase, RolloutPosition, Refusal, next_position

Rank: TypeAlias = tuple[int, bool, int, str]
ALL = "all"
"""The group of the routes that are in no other."""


class GroupState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One group's rollout. `at` is the last change, `entered_at` when the step was entered (evidence counts from there).

    `salt` is a digest of the buckets' salt when the rollout began: with another one clients would change sides.
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
        """What decides which of two states holds; the time only breaks a tie, the same way everywhere."""
        return (self.epoch, self.phase.latched, self.version, self.at.isoformat() if self.at else "")

    @property
    def position(self) -> RolloutPosition:
        """The machine's view."""
        return RolloutPosition(self.phase, self.step)

    def with_salt(self, salt: str) -> "GroupState":
        """The same state, its salt noted if there is none yet."""
        return self if self.salt or self.step == 0 else msgspec.structs.replace(self, salt=salt)

    def in_epoch(self, epoch: int) -> "GroupState":
        """The same state, in another epoch."""
        return msgspec.structs.replace(self, epoch=epoch)


States: TypeAlias = Mapping[str, GroupState]


class ChangeCause(msgspec.Struct, frozen=True):
    """Who changes something, when and why."""

    actor: str
    reason: str
    at: datetime


def apply_event(state: GroupState, event: Event, cause: ChangeCause, *, last_step: int) -> GroupState | Refusal:
    """The state after an event: a new version, and after a rollback was resumed a new epoch."""
    found = next_position(state.position, event, last_step=last_step)
    if isinstance(found, Refusal):
        return found
    resumed = state.phase.latched and not found.phase.latched
    stays = found.step == state.step and not resumed
    return GroupState(
        group=state.group,
        phase=found.phase,
        step=found.step,
        epoch=state.epoch + resumed,
        version=state.version + 1,
        entered_at=state.entered_at if stays and state.entered_at else cause.at,
        at=cause.at,
        actor=cause.actor,
        reason=cause.reason,
        # Who was at 0 % may come back with another salt: nobody changes sides.
        salt="" if found.step == 0 else state.salt,
    )


def merge_states(one: States, other: States) -> dict[str, GroupState]:
    """Of each group the state of higher rank."""
    groups = {**one, **other}
    return {name: max((s for s in (one.get(name), other.get(name)) if s), key=lambda s: s.rank) for name in groups}


def newer_states(known: States, other: States) -> dict[str, GroupState]:
    """What of `other` supersedes what is known."""
    return {name: state for name, state in other.items() if name not in known or state.rank > known[name].rank}


def initial_states(groups: Iterable[str]) -> dict[str, GroupState]:
    """Every group at its beginning; anything that was ever stored supersedes it."""
    return {name: GroupState(group=name) for name in groups}


def all_latched(states: States) -> bool:
    """Whether every group is rolled back."""
    return bool(states) and all(state.phase.latched for state in states.values())
