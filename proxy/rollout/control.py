"""Every change of the rollout, by whomever, goes through here: commands, the admin port, alerts, the controller, the switch.

A promotion is stored before it takes effect. A rollback takes effect before it is stored: in this process's memory first, then on
disk, in the database and at the peers, each of which may be down. A command without a group is about all groups.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import steps_of
from proxy.errors import GatesClosedError, RolloutRefusedError, SettingsError, SwitchError
from proxy.rollout.audit import AuditEntry
from proxy.rollout.evidence import Evidence
from proxy.rollout.gates import GateResult, outcome_of, reasons_of
from proxy.rollout.group_state import ChangeCause, GroupState, all_latched, apply_event
from proxy.rollout.replica import Replica
from proxy.rollout.state_machine import Event, Phase, Refusal
from proxy.rollout.switch import Switch, SwitchState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the gates said about a group, on what evidence, and when."""

    group: str
    state: GroupState
    at: datetime
    evidence: Evidence
    gates: tuple[GateResult, ...]

    @property
    def outcome(self) -> JudgementOutcome:
        """All gates together."""
        return outcome_of(self.gates)

    def snapshot(self) -> dict[str, object]:
        """Gates and figures, as JSON values."""
        return {
            "outcome": self.outcome.value,
            "gates": [
                {"gate": gate.name.value, "outcome": gate.outcome.value, "reason": gate.reason} for gate in self.gates
            ],
            "measured": self.evidence.snapshot(),
        }


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """One change that someone asks for. `id` makes a request that reaches several processes one entry of the log."""

    actor: str
    reason: str = ""
    group: str = ""
    force: bool = False
    finding: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict[str, object])
    id: str = ""


Assess = Callable[[str], Awaitable[Assessment]]


class Control:
    """Changes the rollout and keeps switch and replica in step.

    Args:
        switch: the latch of this machine.
        replica: the states.
        now: the clock.
        salt: a digest of the buckets' salt, noted with the states.
        serve: told after anything changed who is to serve.
        announce: told each entry of the audit log, by one process of all.
    """

    def __init__(
        self,
        switch: Switch,
        replica: Replica,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        salt: str = "",
        serve: Callable[[], None] = lambda: None,
        announce: Callable[[AuditEntry], None] = lambda _: None,
    ) -> None:
        self.switch = switch
        self.replica = replica
        self.settings = replica.settings
        self.assess: Assess | None = None
        """Judges a group on the present evidence; None where there is none (a command without a proxy)."""
        self._now = now
        self._salt = salt
        self._serve = serve
        self._asked: ChangeRequest | None = None
        switch.on_change(self._switched)
        replica.watch(changed=self._replicated, stored=self._stored, logged=announce)

    @property
    def now(self) -> datetime:
        """The time of changes."""
        return self._now()

    def start(self) -> None:
        """Take what this machine knows; the switch last, as it wins.

        Raises:
            SettingsError: clients would change sides by the buckets' salt.
        """
        self.replica.load()
        self._note_epoch()
        self.switch.load()
        self.check_salt()

    def rollback(self, asked: ChangeRequest) -> None:
        """Serve from the legacy, now; then store it and tell the others. Never refused, and never waits for anything."""
        if not asked.group:
            # The switch alone decides who serves from here on; what follows is for the other processes and the log.
            self._asked = asked
            self.switch.rollback(actor=asked.actor, reason=asked.reason, identity=asked.id)
            self._asked = None
        self._roll_back_groups(asked)
        self._serve()

    def _roll_back_groups(self, asked: ChangeRequest) -> None:
        cause = ChangeCause(asked.actor, asked.reason, self._now())
        states: dict[str, GroupState] = {}
        entries: list[AuditEntry] = []
        for name in self._groups(asked.group):
            known = self.replica.states[name]
            if known.phase.latched:
                continue
            found = apply_event(known, Event.ROLL_BACK, cause, last_step=self._last_step(name))
            assert isinstance(found, GroupState), "a rollback is legal from every phase"
            states[name] = found
            entries.append(self._entry(Event.ROLL_BACK, asked, cause, known, found))
        if states:
            self.replica.apply(states, entries)

    async def promote(self, asked: ChangeRequest) -> tuple[GroupState, ...]:
        """One step ahead.

        Raises:
            RolloutRefusedError: not from where the rollout stands.
            GatesClosedError: the evidence does not allow it, and it was not forced.
            SupersededError, NotStoredError: nothing was changed.
        """
        if not self.settings.enabled:
            raise RolloutRefusedError("rollout.enabled is false: serve.percent says who serves")
        await self.replica.refresh()
        assessments: dict[str, Assessment] = {}
        for name in self._groups(asked.group):
            self._after(name, Event.PROMOTE, ChangeCause(asked.actor, asked.reason, self._now()))
            assessments[name] = await self._assessed(name, force=asked.force)
        return await self._stored_first(Event.PROMOTE, asked, assessments)

    async def _assessed(self, group: str, *, force: bool) -> Assessment:
        if self.assess is None:
            raise RolloutRefusedError("no evidence can be read here: ask a running proxy")
        found = await self.assess(group)
        if found.outcome is not JudgementOutcome.GOOD and not force:
            reasons = "\n".join(f"  {reason}" for reason in reasons_of(found.gates))
            raise GatesClosedError(f"the gates of {group!r} are closed (--force promotes all the same):\n{reasons}")
        return found

    async def pause(self, asked: ChangeRequest) -> tuple[GroupState, ...]:
        """Stay at this step, whatever the gates say; automatic rollback goes on.

        Raises:
            RolloutRefusedError: not from where the rollout stands.
            SupersededError, NotStoredError: nothing was changed.
        """
        if not self.settings.enabled:
            raise RolloutRefusedError("rollout.enabled is false: there is nothing to pause")
        await self.replica.refresh()
        return await self._stored_first(Event.PAUSE, asked, {})

    async def pause_if_possible(self, asked: ChangeRequest) -> None:
        """Pause every group that can be paused; those that cannot stay as they are.

        Raises:
            SupersededError, NotStoredError: nothing was changed.
        """
        can = [name for name in self._groups(asked.group) if self._pausable(name)]
        if can and self.settings.enabled:
            await self._stored_first(Event.PAUSE, asked, {}, groups=can)

    def _pausable(self, group: str) -> bool:
        return self.replica.states[group].phase in (Phase.SHADOWING, Phase.STEPPING)

    async def resume(self, asked: ChangeRequest) -> tuple[GroupState, ...]:
        """End a pause or a rollback.

        Raises:
            RolloutRefusedError: nothing to resume, or the sentinel file is still there.
            SupersededError, NotStoredError: nothing was changed.
        """
        await self.replica.refresh()
        if self.switch.rolled_back and asked.group:
            raise RolloutRefusedError("everything is rolled back: resume without a group")
        groups = [name for name in self._groups(asked.group) if self._may_resume(name)]
        if not groups and not self.switch.rolled_back:
            raise RolloutRefusedError("nothing to resume: it is neither paused nor rolled back")
        self.switch.check_resumable()
        # Everything that is resumed begins one common epoch, so that a proxy that missed it knows its switch to be outdated.
        epoch = max(self.replica.states[name].epoch for name in self.replica.groups)
        states = await self._stored_first(Event.RESUME, asked, {}, groups=groups, epoch=epoch)
        if not groups:
            self.note("resume", asked)
        try:
            if self.switch.rolled_back:
                self.switch.resume(actor=asked.actor, reason=asked.reason)
        except SwitchError as error:
            raise RolloutRefusedError(str(error)) from error
        self._serve()
        return states

    def _may_resume(self, group: str) -> bool:
        return self.replica.states[group].phase in (Phase.PAUSED, Phase.ROLLING_BACK, Phase.ROLLED_BACK)

    async def _stored_first(
        self,
        event: Event,
        asked: ChangeRequest,
        assessments: Mapping[str, Assessment],
        *,
        groups: Sequence[str] | None = None,
        epoch: int = 0,
    ) -> tuple[GroupState, ...]:
        cause = ChangeCause(asked.actor, asked.reason, self._now())
        changes: list[tuple[GroupState, GroupState]] = []
        entries: list[AuditEntry] = []
        for name in self._groups(asked.group) if groups is None else groups:
            known = self.replica.states[name]
            found = self._after(name, event, cause).with_salt(self._salt)
            if known.epoch < found.epoch <= epoch:
                found = found.in_epoch(epoch + 1)
            changes.append((known, found))
            entries.append(self._entry(event, asked, cause, known, found, assessments.get(name)))
        await self.replica.store_first(changes, entries)
        logger.warning("rollout_changed", extra={"change": event.value, "actor": asked.actor, "reason": asked.reason})
        return tuple(found for _, found in changes)

    def _after(self, group: str, event: Event, cause: ChangeCause) -> GroupState:
        found = apply_event(self.replica.states[group], event, cause, last_step=self._last_step(group))
        if isinstance(found, Refusal):
            raise RolloutRefusedError(f"{group}: {found.reason}")
        return found

    def _entry(
        self,
        event: Event,
        asked: ChangeRequest,
        cause: ChangeCause,
        before: GroupState,
        after: GroupState,
        assessment: Assessment | None = None,
    ) -> AuditEntry:
        return AuditEntry(
            id=f"{asked.id or uuid.uuid4()}/{before.group}",
            at=cause.at,
            group=before.group,
            event=event.value,
            actor=asked.actor,
            reason=asked.reason,
            forced=asked.force and assessment is not None and assessment.outcome is not JudgementOutcome.GOOD,
            before=before,
            after=after,
            finding=asked.finding,
            evidence=assessment.snapshot() if assessment else dict(asked.evidence),
        )

    def check_salt(self) -> None:
        """Nothing, if no client changes sides by the buckets' salt.

        Raises:
            SettingsError: a group that is under way began with another salt.
        """
        for name, state in self.replica.configured.items():
            if self._salt and state.salt not in ("", self._salt) and not state.phase.latched:
                raise SettingsError(
                    f"the rollout of {name!r} began with another salt, clients would change sides: put it back, or roll back "
                    "and begin anew - at `$.serve.salt`"
                )

    async def begin(self, group: str, actor: str) -> None:
        """Note when the first step was entered, once in the life of a migration: from then on evidence counts.

        Raises:
            SupersededError, NotStoredError: nothing was changed.
        """
        known = self.replica.states[group]
        cause = ChangeCause(actor, "the rollout begins", self._now())
        begun = msgspec.structs.replace(known, version=known.version + 1, entered_at=cause.at, at=cause.at, actor=actor)
        entry = AuditEntry(f"begin/{group}", cause.at, group, "begin", actor, cause.reason, before=known, after=begun)
        await self.replica.store_first([(known, begun)], [entry])

    def note(self, event: str, asked: ChangeRequest) -> None:
        """Put something that changed nothing into the log: a gate that failed, somebody who was refused."""
        entry = AuditEntry(
            id=asked.id or str(uuid.uuid4()),
            at=self._now(),
            group=asked.group,
            event=event,
            actor=asked.actor,
            reason=asked.reason,
            finding=asked.finding,
            evidence=dict(asked.evidence),
        )
        self.replica.apply({}, [entry])

    def _groups(self, group: str) -> Sequence[str]:
        if group and group not in self.replica.groups:
            raise RolloutRefusedError(f"there is no group {group!r}: {', '.join(self.replica.groups)}")
        return (group,) if group else self.replica.groups

    def _last_step(self, group: str) -> int:
        return len(steps_of(self.settings, group)) - 1

    # What other processes did: switch and states follow each other.

    def _switched(self, state: SwitchState) -> None:
        """The switch changed: here, by its file, by the sentinel file or by a signal."""
        self._serve()
        if state.rolled_back:
            # Another process of this machine may have noted it already.
            self.replica.poll_file()
            asked = self._asked or ChangeRequest(state.actor, state.reason)
            self._roll_back_groups(replace(asked, id=asked.id or state.id))

    def _replicated(self) -> None:
        """The states changed: here, by another process of this machine, by the database or by a peer."""
        self._note_epoch()
        own = self.replica.configured
        if all_latched(own) and not self.switch.rolled_back:
            latest = max(own.values(), key=lambda state: state.rank)
            self.switch.rollback(actor=latest.actor, reason=latest.reason)
        elif self.switch.rolled_back and all(self._resumed_since(one) for one in own.values()):
            self._follow_resume(max(own.values(), key=lambda state: state.rank))
        self._serve()

    def _resumed_since(self, state: GroupState) -> bool:
        return not state.phase.latched and state.epoch > self.switch.state.epoch

    def _follow_resume(self, state: GroupState) -> None:
        try:
            self.switch.resume(actor=state.actor, reason=state.reason)
        except SwitchError as error:
            logger.error("resume_not_followed", extra={"error": str(error)})

    def _stored(self, states: Sequence[GroupState]) -> None:
        """A rollback that is stored is no longer under way."""
        settled: dict[str, GroupState] = {}
        for state in states:
            if state.phase is Phase.ROLLING_BACK and state.group in self.replica.groups:
                cause = ChangeCause(state.actor, state.reason, self._now())
                found = apply_event(state, Event.SETTLED, cause, last_step=self._last_step(state.group))
                assert isinstance(found, GroupState), "what is rolling back can settle"
                settled[state.group] = found
        if settled:
            self.replica.apply(settled)

    def _note_epoch(self) -> None:
        self.switch.epoch = max(state.epoch for state in self.replica.configured.values())
