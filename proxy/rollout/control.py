"""The single entry point for every rollout change: commands, the admin port, alerts, the controller, signals and files.

A promotion is stored before it takes effect. A rollback takes effect before it is stored: first in this process's memory, then on
disk, in the database and at the peers, each of which may be down. A change without a group is about all groups.

Every other change is decided on a state that its sender has seen, and `revision` names it. A change that names an outdated one is refused:
of two operators who promote at the same moment one is told that the other was first, and a resume that was on its way while it was rolled
back once more does not end that rollback.

`open_control` builds the control, for a running proxy and for a command alike. `shadow rollback` is `Control.rollback` here, and from
there `Switch.rollback`.
"""

import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from proxy.config.rollout import RolloutSettings, steps_of
from proxy.config.serve import ServeSettings
from proxy.errors import GatesClosedError, RequestExpiredError, RolloutRefusedError, SettingsError, SupersededError
from proxy.rollout.audit import AuditEntry, AuditEvent
from proxy.rollout.disk import Disks
from proxy.rollout.group_state import ALL, ChangeCause, GroupState, States, all_latched, apply_event
from proxy.rollout.replica import Replica
from proxy.rollout.state_machine import Event, Phase, Refusal
from proxy.rollout.switch import Switch, SwitchState

if TYPE_CHECKING:
    # (not imported: a rollback needs no gates, and their import takes as long as the rest of it)
    from proxy.rollout.assessment import Assessment

logger = logging.getLogger(__name__)

SWITCH = "/switch"
"""The name of the on-call switch in a revision; no group can have it."""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A request for one change.

    Attributes:
        group: a route group; "" for all groups.
        force: promote through gates that are not open.
        finding: id of the finding that caused a rollback.
        evidence: figures for the audit log, as JSON values.
        id: makes a request that reaches several processes one entry of the audit log; "" generates one.
        decided_on: the `Control.revision` that the change was decided on; "" is the present one.
        from_step: the step that a promotion was decided on; None is the present one.
        expires_at: Unix time after which the sender no longer waits, and nothing is changed; None for never.
        decided_at: Unix time at which the operator decided on it; None for now. A rollback since then is one that he did not know of.
    """

    actor: str
    reason: str = ""
    group: str = ""
    force: bool = False
    finding: str | None = None
    evidence: Mapping[str, object] = field(default_factory=dict[str, object])
    id: str = ""
    decided_on: str = ""
    from_step: int | None = None
    expires_at: float | None = None
    decided_at: float | None = None

    def cause(self, at: datetime) -> ChangeCause:
        """Return actor, reason, time and id of the change."""
        return ChangeCause(self.actor, self.reason, at, self.id)


Assess: TypeAlias = "Callable[[str], Awaitable[Assessment]]"


NO_ASSESSMENTS: "Mapping[str, Assessment]" = {}


async def _no_other_process() -> None:
    """Ask no other process, as the only one."""


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
        self.ask_others: Callable[[], Awaitable[None]] = _no_other_process
        """Learns of the rollbacks that other proxies know, before one is ended."""
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

    @property
    def revision(self) -> str:
        """The name of the present state of all groups and the switch, as `ChangeRequest.decided_on`: `all:1.4,reads:1.2`."""
        return ",".join(f"{name}:{value}" for name, value in self._revisions().items())

    @property
    def in_force(self) -> str:
        """The state that clients are served by, in words: what the last change has led to."""
        switch = self.switch.state
        if switch.rolled_back:
            stored = "" if self.switch.stored else ", not stored yet"
            return (
                f"rolled back by {switch.actor} at {switch.at}"
                + (f": {switch.reason}" if switch.reason else "")
                + stored
            )
        return "; ".join(f"{name}: {state.describe()}" for name, state in self.replica.configured.items())

    def _revisions(self) -> dict[str, str]:
        revisions = {name: state.revision for name, state in self.replica.configured.items()}
        if self.switch.rolled_back:
            revisions[SWITCH] = hashlib.blake2b(self.switch.state.id.encode(), digest_size=4).hexdigest()
        return revisions

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
        groups = self._groups(request.group)
        request = replace(request, id=request.id or str(uuid.uuid4()))
        if not request.group:
            # From here on the switch alone decides that the legacy serves; the rest is for the other processes and the audit log.
            self._request = request
            self.switch.rollback(actor=request.actor, reason=request.reason, identity=request.id)
            self._request = None
        self._roll_back_groups(request, groups, again=True)
        self._on_change()

    def _roll_back_groups(self, request: ChangeRequest, groups: Sequence[str], *, again: bool) -> None:
        """Roll groups back; with `again` those too that are rolled back, so that a resume that does not know of it is refused."""
        cause = request.cause(self._now())
        states: dict[str, GroupState] = {}
        entries: list[AuditEntry] = []
        for name in groups:
            before = self.replica.states[name]
            if before.phase.latched and (not again or before.id == request.id):
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
            RequestExpiredError, SupersededError, NotStoredError: nothing was changed.
        """
        if not self.settings.enabled:
            raise RolloutRefusedError("rollout.enabled is false: serve.percent says which side serves")
        await self.replica.refresh()
        known = self._known(request, self._groups(request.group))
        assessments: dict[str, Assessment] = {}
        for name, state in known.items():
            self._state_after(state, Event.PROMOTE, request.cause(self._now()))
            assessments[name] = await self._assess_for_promotion(name, force=request.force)
        return await self._store_first(Event.PROMOTE, request, known, assessments)

    def _known(self, request: ChangeRequest, groups: Sequence[str]) -> States:
        """Return the states that the request was decided on, which are the present ones.

        Raises:
            RequestExpiredError: its sender no longer waits for it.
            SupersededError: it was decided on others.
        """
        self._check_expiry(request)
        known = {name: self.replica.states[name] for name in groups}
        if request.from_step is not None:
            for name, state in known.items():
                if state.step != request.from_step:
                    raise SupersededError(f"{name} is not at step {request.from_step} any more: {state.describe()}")
        if request.decided_on:
            self._check_decided_on(request, groups)
        return known

    def _check_expiry(self, request: ChangeRequest) -> None:
        if request.expires_at is not None and self._now().timestamp() > request.expires_at:
            raise RequestExpiredError("the request has expired: its sender has given up, so nothing was changed")

    def _check_decided_at(self, request: ChangeRequest, known: States) -> None:
        """Refuse a resume that an operator decided on before the rollback that it would end; its command was stopped or slow meanwhile."""
        switch = self.switch.state
        rollbacks = [(switch.at, switch.actor)] if switch.rolled_back else []
        rollbacks += [
            (state.at.isoformat(), state.actor)
            for state in known.values()
            if state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK) and state.at is not None
        ]
        for at, actor in rollbacks:
            if request.decided_at is not None and datetime.fromisoformat(at).timestamp() > request.decided_at:
                raise SupersededError(
                    f"it was rolled back by {actor} at {at}, after this resume was decided on; resume again to end that rollback"
                )

    def _check_decided_on(self, request: ChangeRequest, groups: Sequence[str]) -> None:
        parts = [part.rpartition(":") for part in request.decided_on.split(",")]
        named = {name: revision for name, _, revision in parts}
        present = self._revisions()
        for name in groups:
            if named.get(name) != present[name]:
                raise SupersededError(
                    f"{name} has changed since this was decided: {self.replica.states[name].describe()}; look at it and decide again"
                )
        if named.get(SWITCH) != present.get(SWITCH) and not request.group:
            state = self.switch.state
            raise SupersededError(
                f"there is a newer rollback, by {state.actor} at {state.at}: {state.reason}; look at it and decide again"
                if state.rolled_back
                else "the rollback that this was decided on has ended: look at the state and decide again"
            )

    async def _assess_for_promotion(self, group: str, *, force: bool) -> "Assessment":
        if self.assess is None:
            raise RolloutRefusedError("a command reads no evidence: send the promotion to a running proxy")
        assessment = await self.assess(group)
        if not assessment.is_good and not force:
            reasons = "\n".join(f"  {reason}" for reason in assessment.reasons)
            raise GatesClosedError(f"the gates of {group!r} are closed (--force promotes anyway):\n{reasons}")
        return assessment

    async def pause(self, request: ChangeRequest) -> tuple[GroupState, ...]:
        """Stay at this step, whatever the gates say; automatic rollback goes on.

        Returns:
            The new states.

        Raises:
            RolloutRefusedError: the present phase does not allow it.
            RequestExpiredError, SupersededError, NotStoredError: nothing was changed.
        """
        if not self.settings.enabled:
            raise RolloutRefusedError("rollout.enabled is false: there is nothing to pause")
        await self.replica.refresh()
        return await self._store_first(Event.PAUSE, request, self._known(request, self._groups(request.group)))

    async def pause_if_possible(self, request: ChangeRequest) -> None:
        """Pause every group that can be paused; the others stay as they are.

        Raises:
            SupersededError, NotStoredError: nothing was changed.
        """
        groups = [name for name in self._groups(request.group) if self._can_pause(name)]
        if groups and self.settings.enabled:
            await self._store_first(Event.PAUSE, request, self._known(request, groups))

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
            SupersededError: there is a newer rollback than the one that the request was decided on, or than is known here; it holds.
            RequestExpiredError, NotStoredError: nothing was changed.
        """
        await self.replica.refresh()
        await self.ask_others()
        await self.switch.check_resumable()
        # (from here to the first write nothing is waited for, so that nothing can change in between)
        if self.switch.rolled_back and request.group:
            raise RolloutRefusedError("all groups are rolled back: resume without a group")
        known = self._known(request, self._groups(request.group))
        ended = self.switch.state
        self._check_decided_at(request, known)
        groups = {name: state for name, state in known.items() if self._can_resume(state)}
        if not groups and not ended.rolled_back:
            raise RolloutRefusedError("nothing to resume: it is neither paused nor rolled back")
        # All groups that resume enter one common epoch. A proxy that missed both the rollback and the resume compares it with the
        # epoch of its own switch, and knows that the switch is outdated (`_replica_changed`).
        epoch = max(self.replica.states[name].epoch for name in self.replica.groups)
        states = await self._store_first(Event.RESUME, request, groups, epoch=epoch)
        if not groups:
            self.note(AuditEvent.RESUME, request)
        if ended.rolled_back and self.switch.rolled_back:
            await self.switch.resume(actor=request.actor, reason=request.reason, ends=ended)
        self._on_change()
        return states

    def _can_resume(self, state: GroupState) -> bool:
        return state.phase in (Phase.PAUSED, Phase.ROLLING_BACK, Phase.ROLLED_BACK)

    async def _store_first(
        self,
        event: Event,
        request: ChangeRequest,
        known: States,
        assessments: "Mapping[str, Assessment]" = NO_ASSESSMENTS,
        *,
        epoch: int = 0,
    ) -> tuple[GroupState, ...]:
        """Store an event for the states that it was decided on; something newer that is known by now refuses it."""
        self._check_expiry(request)
        request = replace(request, id=request.id or str(uuid.uuid4()))
        cause = request.cause(self._now())
        changes: list[tuple[GroupState, GroupState]] = []
        entries: list[AuditEntry] = []
        for name, before in known.items():
            after = self._state_after(before, event, cause).with_salt(self._salt)
            if before.epoch < after.epoch <= epoch:
                after = after.in_epoch(epoch + 1)
            changes.append((before, after))
            entries.append(self._entry(AuditEvent(event), request, cause, before, after, assessments.get(name)))
        await self.replica.store_first(changes, entries)
        logger.warning(
            "rollout_changed", extra={"change": event.value, "actor": request.actor, "reason": request.reason}
        )
        return tuple(after for _, after in changes)

    def _state_after(self, state: GroupState, event: Event, cause: ChangeCause) -> GroupState:
        after = apply_event(state, event, cause, last_step=self._last_step(state.group))
        if isinstance(after, Refusal):
            raise RolloutRefusedError(f"{state.group}: {after.reason}")
        return after

    def _entry(
        self,
        event: AuditEvent,
        request: ChangeRequest,
        cause: ChangeCause,
        before: GroupState,
        after: GroupState,
        assessment: "Assessment | None" = None,
    ) -> AuditEntry:
        return AuditEntry(
            id=f"{request.id}/{before.group}",
            at=cause.at,
            group=before.group,
            event=event,
            actor=request.actor,
            reason=request.reason,
            forced=request.force and assessment is not None and not assessment.is_good,
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
            request = self._request or ChangeRequest(state.actor, state.reason, id=state.id)
            self._roll_back_groups(request, self.replica.groups, again=False)

    def _replica_changed(self) -> None:
        """Follow the states, which changed here, in another process of this machine, in the database or at a peer."""
        self._note_epoch()
        states = self.replica.configured
        if all_latched(states) and not self.switch.rolled_back:
            latest = max(states.values(), key=lambda state: state.rank)
            self.switch.rollback(actor=latest.actor, reason=latest.reason, identity=latest.id)
        elif self.switch.rolled_back and all(self._resumed_since(state) for state in states.values()):
            latest = max(states.values(), key=lambda state: state.rank)
            self.switch.follow_resume(actor=latest.actor, reason=latest.reason)
        self._on_change()

    def _resumed_since(self, state: GroupState) -> bool:
        return not state.phase.latched and state.epoch > self.switch.state.epoch

    def _states_stored(self, states: Sequence[GroupState]) -> None:
        """Settle the rollbacks that are stored now."""
        settled: dict[str, GroupState] = {}
        for state in states:
            # (one that was rolled back once more meanwhile is settled when that is stored)
            if state.phase is Phase.ROLLING_BACK and self.replica.configured.get(state.group) == state:
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
    disks: Disks | None = None,
) -> Control:
    """Build the control over this machine's files and the database. `Control.start` loads the files.

    Args:
        serve: section `serve:`; names the files of the switch.
        rollout: section `rollout:`.
        dsn: the database of states and audit log; "" keeps both in files only.
        salt: as for Control.
        on_change: as for Control.
        announce: as for Control.
        disks: where files are read and written; by default at once, as in a command.
    """
    switch = Switch(Path(serve.state_file), Path(serve.sentinel_file), disks=disks)
    replica = Replica(with_file_names(rollout, Path(serve.state_file)), groups_of(rollout), dsn, disks=disks)
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
