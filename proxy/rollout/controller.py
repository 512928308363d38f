"""Judges every group on a timer, whatever it waits for, and acts: rolls back on bad evidence, promotes on good where it may.

Every process can judge; only the one that holds the lead acts on the timer. Decisions are made by pure functions; this module reads,
asks them, and tells the control.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import steps_of
from proxy.errors import RolloutError
from proxy.rollout.control import Assessment, ChangeRequest, Control
from proxy.rollout.evidence import Evidence, SuspectFinding
from proxy.rollout.gates import Streaks, grounds_for_rollback, implicated_finding, judge, reasons_of, streaks_after
from proxy.rollout.group_state import GroupState
from proxy.rollout.state_machine import Phase

logger = logging.getLogger(__name__)

ACTOR: Final = "controller"

Measure: TypeAlias = Callable[[GroupState, datetime], Awaitable[Evidence]]
Lead: TypeAlias = Callable[[], Awaitable[bool]]


async def always_leads() -> bool:
    """The lead of a process that is alone."""
    return True


class Controller:
    """Judges and acts.

    Args:
        control: changes the rollout.
        measure: reads the evidence of a group since its step was entered.
        lead: whether this process is the one to act.
        found: told each finding that is new.
    """

    def __init__(
        self,
        control: Control,
        measure: Measure,
        *,
        lead: Lead = always_leads,
        found: Callable[[str, SuspectFinding], None] = lambda _group, _suspect: None,
    ) -> None:
        self.latest: dict[str, Assessment] = {}
        """The last assessment of each group."""
        self._control = control
        self._measure = measure
        self._lead = lead
        self._found = found
        self._findings: dict[str, set[str]] = {}
        self._streaks: dict[str, tuple[tuple[int, int], Streaks]] = {}
        self._failing: dict[str, tuple[str, ...]] = {}
        control.assess = self.assess

    async def assess(self, group: str) -> Assessment:
        """Judge a group on the present evidence."""
        control = self._control
        state, now = control.replica.states[group], control.now
        measured = await self._measure(state, now)
        steps = steps_of(control.settings, group)
        step = steps[min(state.step, len(steps) - 1)]
        # Quantiles and intervals are some milliseconds of arithmetic: not on the loop that serves clients.
        gates = await asyncio.to_thread(judge, measured, control.settings.gates, step, control.settings.auto_rollback)
        found = Assessment(group, state, now, measured, gates)
        self.latest[group] = found
        return found

    async def run(self) -> None:
        """Judge and act every `evaluate_s`, until cancelled."""
        while True:
            await asyncio.sleep(self._control.settings.evaluate_s)
            if await self._lead():
                for group in self._control.replica.groups:
                    await self.evaluate(group)

    async def evaluate(self, group: str) -> None:
        """Judge one group once, and do what follows."""
        state = self._control.replica.states[group]
        if state.phase.latched:
            return
        if state.entered_at is None:
            await self._begin(group)
            return
        found = await self.assess(group)
        if self._control.replica.states[group] != found.state:
            # Somebody changed it while it was being judged: the evidence is another step's.
            return
        self._notify_findings(found)
        if not self._rolled_back(found):
            self._note_failures(found)
            await self._promote(found)

    async def _begin(self, group: str) -> None:
        try:
            await self._control.begin(group, ACTOR)
        except RolloutError as error:
            logger.warning("rollout_not_begun", extra={"group": group, "error": str(error)})

    def _rolled_back(self, found: Assessment) -> bool:
        settings = self._control.settings
        at = (found.state.epoch, found.state.step)
        known_at, known = self._streaks.get(found.group, (at, {}))
        streaks = streaks_after(known if known_at == at else {}, found.gates)
        self._streaks[found.group] = (at, streaks)
        ground = grounds_for_rollback(streaks, found.gates, settings.auto_rollback)
        if ground is None:
            return False
        suspect = implicated_finding(ground, found.evidence, settings.gates.points_tables)
        reason = f"{ground.name}: {ground.reason}" + (f"; {suspect}" if suspect else "")
        only = len(self._control.replica.groups) == 1
        self._control.rollback(
            ChangeRequest(
                ACTOR,
                reason,
                group="" if only else found.group,
                finding=suspect.id if suspect else "",
                evidence=found.snapshot(),
            )
        )
        return True

    def _notify_findings(self, found: Assessment) -> None:
        """Findings that were not there at the last look. The first look tells none: they may be old."""
        seen = {suspect.id for suspect in found.evidence.suspects}
        known = self._findings.get(found.group)
        self._findings[found.group] = seen | (known or set())
        if known is not None:
            for suspect in found.evidence.suspects:
                if suspect.id not in known:
                    self._found(found.group, suspect)

    def _note_failures(self, found: Assessment) -> None:
        """A gate that has become bad is told once, until it is good again."""
        bad = tuple(gate.name.value for gate in found.gates if gate.outcome is JudgementOutcome.BAD)
        before = self._failing.get(found.group, ())
        self._failing[found.group] = bad
        if set(bad) - set(before):
            reasons = "; ".join(reasons_of([gate for gate in found.gates if gate.outcome is JudgementOutcome.BAD]))
            suspect = next(iter(found.evidence.suspects), None)
            finding = suspect.id if suspect else ""
            self._control.note(
                "gate_failed", ChangeRequest(ACTOR, reasons, found.group, finding=finding, evidence=found.snapshot())
            )

    async def _promote(self, found: Assessment) -> None:
        if found.outcome is not JudgementOutcome.GOOD or found.state.phase not in (Phase.SHADOWING, Phase.STEPPING):
            return
        if not self.may_promote(found.state) or not self._control.settings.enabled:
            return
        try:
            await self._control.promote(ChangeRequest(ACTOR, "all gates are open", group=found.group))
        except RolloutError as error:
            logger.warning("promotion_failed", extra={"group": found.group, "error": str(error)})

    def may_promote(self, state: GroupState) -> bool:
        """Whether this step is left without a person."""
        settings = self._control.settings
        steps = steps_of(settings, state.group)
        manual = steps[min(state.step, len(steps) - 1)].manual
        return settings.auto_promote if manual is None else not manual
