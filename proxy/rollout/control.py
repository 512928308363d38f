"""The single entry point for every rollout change: commands, the admin port, alerts, the controller, signals and files.

A promotion is stored before it takes effect. A rollback takes effect before it is stored: first in this process's memory, then on
disk, in the database and at the peers, each of which may be down. A change without a group is about all groups.

`open_control` builds the control, for a running proxy and for a command alike. `shadow rollback` is `Control.rollback` here, and from
there `Switch.rollback`.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import RolloutSettings, steps_of
from proxy.config.serve import ServeSettings
from proxy.errors import GatesClosedError, RolloutRefusedError, SettingsError, SwitchError
from proxy.rollout.audit import AuditEntry, AuditEvent
from proxy.rollout.evidence import Evidence
from proxy.rollout.gates import GateResult, outcome_of, reasons_of
from proxy.rollout.group_state import ALL, ChangeCause, GroupState, all_latched, apply_event
from proxy.rollout.replica import Replica
from proxy.rollout.state_machine import Event, Phase, Refusal
from proxy.rollout.switch import Switch, SwitchState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The results of all gates for one group, with the state and the evidence that they were judged on."""

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
        """Return the gates and the figures as JSON values, for the audit log."""
        return {
            "outcome": self.outcome.value,
            "gates": [
                {"gate": gate.name.value, "outcome": gate.outcome.value, "reason": gate.reason} for gate in self.gates
            ],
            "figures": self.evidence.snapshot(),
        }


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A request for one change.

    Attributes:
        group: a route group; "" for all groups.
        force: promote through gates that are not open.
        finding: id of the finding that caused a rollback.
        evidence: figures for the audit log, as JSON values.
        id: makes a request that reaches several processes one entry of the audit log; "" generates one.
    """

    actor: str
    reason: str = ""
    group: str = ""
    force: bool = False
    finding: str | None = None
    evidence: Mapping[str, object] = field(default_factory=dict[str, object])
    id: str = ""


Assess = Callable[[str], Awaitable[Assessment]]


class Control:
    """Changes the rollout, and keeps the switch and the replica consistent.

    Args:
        switch: the on-call switch of this machine.
        replica: the states of all groups.
        now: the clock.
        salt: a digest of the buckets' salt, stored with the states.
        on_change: called after any change of which side serves.
        announce: called with each entry of the audit log, in the one process that logged it.
    """

    def __init__(
        self,
        switch: Switch,
        replica: Replica,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        salt: str = "",
        on_change: Callable[[], None] = lambda: None,
        announce: Callable[[AuditEntry], None] = lambda _: None,
    ) -> None:
        self.switch = switch
        self.replica = replica
        self.settings = replica.settings
        self.assess: Assess | None = None
        """Judges a group on the present evidence; None where no evidence is read (in a command)."""
        self._now = now
        self._salt = salt
        self._on_change = on_change
        self._request: ChangeRequest | None = None
        switch.on_change(self._switch_changed)
        replica.watch(changed=self._replica_changed, stored=self._states_stored, logged=announce)

    @property
    def now(self) -> datetime:
        """The present time."""
        return self._now()

    def start(self) -> None:
        """Load the states and the switch from this machine's files; the switch comes last, as it wins.

        Raises:
            SettingsError: clients would change sides, because `serve.salt` is another one than the rollout started with.
        """
        self.replica.load()
        self._note_epoch()
        self.switch.load()
        self.check_salt()

    def rollback(self, request: ChangeRequest) -> None:
        """Serve from the legacy at once; then store it and tell the other processes. Never refuses and never waits.

        Raises:
            RolloutRefusedError: there is no such group.
        """
        if not request.group:
            # From here on the switch alone decides that the legacy serves; the rest is for the other processes and the audit log.
            self._request = request
            self.switch.rollback(actor=request.actor, reason=request.reason, identity=request.id)
            self._request = None
        self._roll_back_groups(request)
        self._on_change()

    def _roll_back_groups(self, request: ChangeRequest) -> None:
        cause = ChangeCause(request.actor, request.reason, self._now())
        states: dict[str, GroupState] = {}
        entries: list[AuditEntry] = []
        for name in self._groups(request.group):
            before = self.replica.states[name]
            if before.phase.latched:
                continue
            after = apply_event(before, Event.ROLL_BACK, cause, last_step=self._last_step(name))
            assert isinstance(after, GroupState), "a rollback is legal from every phase"
            states[name] = after
            entries.append(self._entry(AuditEvent.ROLL_BACK, request, cause, before, after))
        if states:
            self.replica.apply(states, entries)

    async def promote(self, request: ChangeRequest) -> tuple[GroupState, ...]:
        """Move one step ahead.

        Returns:
            The new states.

        Raises:
            RolloutRefusedError: the present phase does not allow it.
            GatesClosedError: the evidence does not allow it, and the request does not force it.
            SupersededError, NotStoredError: nothing was changed.
        """
        if not self.settings.enabled:
            raise RolloutRefusedError("rollout.enabled is false: serve.percent says which side serves")
        await self.replica.refresh()
        assessments: dict[str, Assessment] = {}
        for name in self._groups(request.group):
            self._state_after(name, Event.PROMOTE, ChangeCause(request.actor, request.reason, self._now()))
            assessments[name] = await self._assess_for_promotion(name, force=request.force)
        return await self._store_first(Event.PROMOTE, request, assessments)

    async def _assess_for_promotion(self, group: str, *, force: bool) -> Assessment:
        if self.assess is None:
            raise RolloutRefusedError("a command reads no evidence: send the promotion to a running proxy")
        assessment = await self.assess(group)
        if assessment.outcome is not JudgementOutcome.GOOD and not force:
            reasons = "\n".join(f"  {reason}" for reason in reasons_of(assessment.gates))
            raise GatesClosedError(f"the gates of {group!r} are closed (--force promotes anyway):\n{reasons}")
        return assessment

    async def pause(self, request: ChangeRequest) -> tuple[GroupState, ...]:
        """Stay at this step, whatever the gates say; automatic rollback goes on.

        Returns:
            The new states.

        Raises:
            RolloutRefusedError: the present phase does not allow it.
            SupersededError, NotStoredError: nothing was changed.
        """
        if not self.settings.enabled:
            raise RolloutRefusedError("rollout.enabled is false: there is nothing to pause")
        await self.replica.refresh()
        return await self._store_first(Event.PAUSE, request, {})

    async def pause_if_possible(self, request: ChangeRequest) -> None:
        """Pause every group that can be paused; the others stay as they are.

        Raises:
            SupersededError, NotStoredError: nothing was changed.
        """
        groups = [name for name in self._groups(request.group) if self._can_pause(name)]
        if groups and self.settings.enabled:
            await self._store_first(Event.PAUSE, request, {}, groups=groups)

    def _can_pause(self, group: str) -> bool:
        return self.replica.states[group].phase in (Phase.SHADOWING, Phase.STEPPING)

    async def resume(self, request: ChangeRequest) -> tuple[GroupState, ...]:
        """End a pause or a rollback.

        Returns:
            The new states.

        Raises:
            RolloutRefusedError: there is nothing to resume.
            SentinelFileError: the sentinel file exists.
            SwitchNotStoredError: the states have resumed, and the switch could not be written: resume again.
            SupersededError, NotStoredError: nothing was changed.
        """
        await self.replica.refresh()
        if self.switch.rolled_back and request.group:
            raise RolloutRefusedError("all groups are rolled back: resume without a group")
        groups = [name for name in self._groups(request.group) if self._can_resume(name)]
        if not groups and not self.switch.rolled_back:
            raise RolloutRefusedError("nothing to resume: it is neither paused nor rolled back")
        self.switch.check_resumable()
        # All groups that resume enter one common epoch. A proxy that missed both the rollback and the resume compares it with the
        # epoch of its own switch, and knows that the switch is outdated (`_replica_changed`).
        epoch = max(self.replica.states[name].epoch for name in self.replica.groups)
        states = await self._store_first(Event.RESUME, request, {}, groups=groups, epoch=epoch)
        if not groups:
            self.note(AuditEvent.RESUME, request)
        if self.switch.rolled_back:
            self.switch.resume(actor=request.actor, reason=request.reason)
        self._on_change()
        return states

    def _can_resume(self, group: str) -> bool:
        return self.replica.states[group].phase in (Phase.PAUSED, Phase.ROLLING_BACK, Phase.ROLLED_BACK)

    async def _store_first(
        self,
        event: Event,
        request: ChangeRequest,
        assessments: Mapping[str, Assessment],
        *,
        groups: Sequence[str] | None = None,
        epoch: int = 0,
    ) -> tuple[GroupState, ...]:
        cause = ChangeCause(request.actor, request.reason, self._now())
        changes: list[tuple[GroupState, GroupState]] = []
        entries: list[AuditEntry] = []
        for name in self._groups(request.group) if groups is None else groups:
            before = self.replica.states[name]
            after = self._state_after(name, event, cause).with_salt(self._salt)
            if before.epoch < after.epoch <= epoch:
                after = after.in_epoch(epoch + 1)
            changes.append((before, after))
            entries.append(self._entry(AuditEvent(event), request, cause, before, after, assessments.get(name)))
        await self.replica.store_first(changes, entries)
        logger.warning(
            "rollout_changed", extra={"change": event.value, "actor": request.actor, "reason": request.reason}
        )
        return tuple(after for _, after in changes)

    def _state_after(self, group: str, event: Event, cause: ChangeCause) -> GroupState:
        after = apply_event(self.replica.states[group], event, cause, last_step=self._last_step(group))
        if isinstance(after, Refusal):
            raise RolloutRefusedError(f"{group}: {after.reason}")
        return after

    def _entry(
        self,
        event: AuditEvent,
        request: ChangeRequest,
        cause: ChangeCause,
        before: GroupState,
        after: GroupState,
        assessment: Assessment | None = None,
    ) -> AuditEntry:
        return AuditEntry(
            id=f"{request.id or uuid.uuid4()}/{before.group}",
            at=cause.at,
            group=before.group,
            event=event,
            actor=request.actor,
            reason=request.reason,
            forced=request.force and assessment is not None and assessment.outcome is not JudgementOutcome.GOOD,
            before=before,
            after=after,
            finding=request.finding,
            evidence=assessment.snapshot() if assessment else dict(request.evidence),
        )

    def check_salt(self) -> None:
        """Check that the buckets' salt is the one that each rollout under way started with.

        Raises:
            SettingsError: it is another one, so clients would change sides.
        """
        for name, state in self.replica.configured.items():
            if self._salt and state.salt not in ("", self._salt) and not state.phase.latched:
                raise SettingsError(
                    f"serve.salt: the rollout of `{name}` started with another salt, and clients would change sides: restore the "
                    "salt, or roll back and start the rollout again"
                )

    async def begin(self, group: str, actor: str) -> None:
        """Store the time at which the first step was entered, once in the life of a migration: evidence counts from then on.

        Raises:
            SupersededError, NotStoredError: nothing was changed.
        """
        before = self.replica.states[group]
        now, reason = self._now(), "the rollout begins"
        after = msgspec.structs.replace(before, version=before.version + 1, entered_at=now, at=now, actor=actor)
        entry = AuditEntry(f"begin/{group}", now, group, AuditEvent.BEGIN, actor, reason, before=before, after=after)
        await self.replica.store_first([(before, after)], [entry])

    def note(self, event: AuditEvent, request: ChangeRequest) -> None:
        """Add an entry about something that changed no state to the audit log."""
        entry = AuditEntry(
            id=request.id or str(uuid.uuid4()),
            at=self._now(),
            group=request.group,
            event=event,
            actor=request.actor,
            reason=request.reason,
            finding=request.finding,
            evidence=dict(request.evidence),
        )
        self.replica.apply({}, [entry])

    def _groups(self, group: str) -> Sequence[str]:
        if group and group not in self.replica.groups:
            raise RolloutRefusedError(f"there is no group {group!r}: {', '.join(self.replica.groups)}")
        return (group,) if group else self.replica.groups

    def _last_step(self, group: str) -> int:
        return len(steps_of(self.settings, group)) - 1

    # Changes made elsewhere: the switch and the states follow each other.

    def _switch_changed(self, state: SwitchState) -> None:
        """Follow the switch, which changed here, by its file, by the sentinel file or by a signal."""
        self._on_change()
        if state.rolled_back:
            # Another process of this machine may have stored the states already.
            self.replica.poll_file()
            request = self._request or ChangeRequest(state.actor, state.reason)
            self._roll_back_groups(replace(request, id=request.id or state.id))

    def _replica_changed(self) -> None:
        """Follow the states, which changed here, in another process of this machine, in the database or at a peer."""
        self._note_epoch()
        states = self.replica.configured
        if all_latched(states) and not self.switch.rolled_back:
            latest = max(states.values(), key=lambda state: state.rank)
            self.switch.rollback(actor=latest.actor, reason=latest.reason)
        elif self.switch.rolled_back and all(self._resumed_since(state) for state in states.values()):
            self._follow_resume(max(states.values(), key=lambda state: state.rank))
        self._on_change()

    def _resumed_since(self, state: GroupState) -> bool:
        return not state.phase.latched and state.epoch > self.switch.state.epoch

    def _follow_resume(self, state: GroupState) -> None:
        try:
            self.switch.resume(actor=state.actor, reason=state.reason)
        except SwitchError as error:
            logger.error("resume_not_followed", extra={"error": str(error)})

    def _states_stored(self, states: Sequence[GroupState]) -> None:
        """Settle the rollbacks that are stored now."""
        settled: dict[str, GroupState] = {}
        for state in states:
            if state.phase is Phase.ROLLING_BACK and state.group in self.replica.groups:
                cause = ChangeCause(state.actor, state.reason, self._now())
                after = apply_event(state, Event.SETTLED, cause, last_step=self._last_step(state.group))
                assert isinstance(after, GroupState), "a rollback under way can settle"
                settled[state.group] = after
        if settled:
            self.replica.apply(settled)

    def _note_epoch(self) -> None:
        self.switch.epoch = max(state.epoch for state in self.replica.configured.values())


def open_control(
    serve: ServeSettings,
    rollout: RolloutSettings,
    dsn: str,
    *,
    salt: str = "",
    on_change: Callable[[], None] = lambda: None,
    announce: Callable[[AuditEntry], None] = lambda _: None,
) -> Control:
    """Build the control over this machine's files and the database. `Control.start` loads the files.

    Args:
        serve: section `serve:`; names the files of the switch.
        rollout: section `rollout:`.
        dsn: the database of states and audit log; "" keeps both in files only.
        salt: as for Control.
        on_change: as for Control.
        announce: as for Control.
    """
    switch = Switch(Path(serve.state_file), Path(serve.sentinel_file))
    replica = Replica(with_file_names(rollout, Path(serve.state_file)), groups_of(rollout), dsn)
    return Control(switch, replica, salt=salt, on_change=on_change, announce=announce)


def groups_of(rollout: RolloutSettings) -> tuple[str, ...]:
    """List all groups; the group of the remaining routes comes first."""
    return (ALL, *(group.name for group in rollout.groups))


def with_file_names(rollout: RolloutSettings, switch_file: Path) -> RolloutSettings:
    """Complete the section with the names of its files: by default they lie beside the state file of the switch."""
    return msgspec.structs.replace(
        rollout,
        state_file=rollout.state_file or str(switch_file.with_name("rollout.json")),
        audit_file=rollout.audit_file or str(switch_file.with_name("rollout-audit.ndjson")),
    )
