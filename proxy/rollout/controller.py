"""Judge every group on a timer and act: roll back on bad evidence, promote on good evidence where that is automatic.

Every process can judge; only the leader acts on the timer. The decisions are pure functions (proxy.rollout.gates); this module collects
the evidence, asks them, and changes the rollout through the control.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import steps_of
from proxy.errors import RolloutError
from proxy.rollout.assessment import Assessment
from proxy.rollout.audit import AuditEvent
from proxy.rollout.control import ChangeRequest, Control
from proxy.rollout.evidence import Evidence, SuspectFinding
from proxy.rollout.gates import (
    Streaks,
    grounds_for_rollback,
    implicated_finding,
    judge,
    reasons_of,
    step_alpha,
    streaks_after,
)
from proxy.rollout.group_state import GroupState
from proxy.rollout.state_machine import Phase
from proxy.rollout.traffic_split import step_of

logger = logging.getLogger(__name__)

ACTOR: Final = "controller"
HISTORY_MAX: Final = 12
"""Evaluations that are remembered, for people."""

CollectEvidence: TypeAlias = Callable[[GroupState, datetime], Awaitable[Evidence]]
IsLeader: TypeAlias = Callable[[], Awaitable[bool]]


async def always_leader() -> bool:
    """Lead, as the only process of an installation."""
    return True


class Controller:
    """Judges groups and acts on the results.

    Args:
        control: changes the rollout.
        collect: reads the evidence of a group since its step was entered.
        is_leader: returns True in the one process that acts.
        on_new_cause: called with the group and a finding of each cause that is new.
    """

    def __init__(
        self,
        control: Control,
        collect: CollectEvidence,
        *,
        is_leader: IsLeader = always_leader,
        on_new_cause: Callable[[str, SuspectFinding], None] = lambda _group, _suspect: None,
    ) -> None:
        self.latest: dict[str, Assessment] = {}
        """The last assessment of each group."""
        self.history: dict[str, deque[Assessment]] = {}
        """The last evaluations of each group at its present step, oldest first."""
        self._control = control
        self._collect = collect
        self._is_leader = is_leader
        self._on_new_cause = on_new_cause
        self._known_causes: dict[str, set[str]] = {}
        self._streaks: dict[str, tuple[tuple[int, int], Streaks]] = {}
        """For each group the epoch and step that its streaks belong to, and the streaks."""
        self._failing: dict[str, frozenset[str]] = {}
        control.assess = self.assess

    async def assess(self, group: str) -> Assessment:
        """Judge a group on the present evidence."""
        control = self._control
        state, now = control.replica.states[group], control.now
        evidence = await self._collect(state, now)
        settings = control.settings
        alpha = step_alpha(
            settings.gates,
            epoch=state.epoch,
            steps=len(steps_of(settings, group)),
            groups=len(control.replica.groups),
        )
        # Quantiles and intervals are some milliseconds of arithmetic: not on the loop that serves clients.
        results = await asyncio.to_thread(
            judge, evidence, settings.gates, step_of(settings, state), settings.auto_rollback, alpha=alpha
        )
        assessment = Assessment(group, state, now, evidence, results)
        self.latest[group] = assessment
        return assessment

    async def run(self) -> None:
        """Judge and act every `evaluate_s`, until cancelled."""
        while True:
            await asyncio.sleep(self._control.settings.evaluate_s)
            if await self._is_leader():
                for group in self._control.replica.groups:
                    await self.evaluate(group)

    async def evaluate(self, group: str) -> None:
        """Judge one group once, and act on the result."""
        state = self._control.replica.states[group]
        if state.phase.latched:
            return
        if state.entered_at is None:
            await self._begin(group)
            return
        assessment = await self.assess(group)
        if self._control.replica.states[group] != assessment.state:
            # The state changed while it was judged: the evidence belongs to another step.
            return
        self._remember(assessment)
        self._report_new_causes(assessment)
        if not self._roll_back_if_bad(assessment):
            self._log_failed_gates(assessment)
            await self._promote_if_good(assessment)

    def _remember(self, assessment: Assessment) -> None:
        held = self.history.setdefault(assessment.group, deque(maxlen=HISTORY_MAX))
        if held and held[-1].state.entered_at != assessment.state.entered_at:
            held.clear()
        held.append(assessment)

    def streaks(self, group: str) -> Streaks:
        """Return for how many evaluations in a row gates have spoken against the candidate, at the present step."""
        state = self._control.replica.states[group]
        step, streaks = self._streaks.get(group, ((state.epoch, state.step), {}))
        return streaks if step == (state.epoch, state.step) else {}

    async def _begin(self, group: str) -> None:
        try:
            await self._control.begin(group, ACTOR)
        except RolloutError as error:
            logger.warning("rollout_begin_failed", extra={"group": group, "error": str(error)})

    def _roll_back_if_bad(self, assessment: Assessment) -> bool:
        settings = self._control.settings
        step = (assessment.state.epoch, assessment.state.step)
        streaks_step, streaks = self._streaks.get(assessment.group, (step, {}))
        streaks = streaks_after(streaks if streaks_step == step else {}, assessment.gates)
        self._streaks[assessment.group] = (step, streaks)
        ground = grounds_for_rollback(streaks, assessment.gates, settings.auto_rollback)
        if ground is None:
            return False
        suspect = implicated_finding(ground, assessment.evidence, settings.gates.points_tables)
        reason = f"{ground.name}: {ground.reason}" + (f"; {suspect}" if suspect else "")
        is_only_group = len(self._control.replica.groups) == 1
        self._control.rollback(
            ChangeRequest(
                ACTOR,
                reason,
                group="" if is_only_group else assessment.group,
                finding=suspect.id if suspect else None,
                evidence=assessment.snapshot(),
            )
        )
        return True

    def _report_new_causes(self, assessment: Assessment) -> None:
        """Report the causes that are new since the last evaluation. The first one reports none: they may be old.

        A finding without a cause waits for one: the next solution names it, unless it is one of too few exchanges.
        """
        by_cause: dict[str, SuspectFinding] = {}
        for suspect in assessment.evidence.suspects:
            if suspect.cause:
                by_cause.setdefault(suspect.cause, suspect)
        known = self._known_causes.get(assessment.group)
        self._known_causes[assessment.group] = by_cause.keys() | (known or set())
        if known is not None:
            for cause, suspect in by_cause.items():
                if cause not in known:
                    self._on_new_cause(assessment.group, suspect)

    def _log_failed_gates(self, assessment: Assessment) -> None:
        """Log a gate that has become bad once, until it is good again."""
        bad = [result for result in assessment.gates if result.outcome is JudgementOutcome.BAD]
        names = frozenset(result.name.value for result in bad)
        before = self._failing.get(assessment.group, frozenset())
        self._failing[assessment.group] = names
        if names - before:
            suspect = next(iter(assessment.evidence.suspects), None)
            self._control.note(
                AuditEvent.GATE_FAILED,
                ChangeRequest(
                    ACTOR,
                    "; ".join(reasons_of(bad)),
                    assessment.group,
                    finding=suspect.id if suspect else None,
                    evidence=assessment.snapshot(),
                ),
            )

    async def _promote_if_good(self, assessment: Assessment) -> None:
        state = assessment.state
        if assessment.outcome is not JudgementOutcome.GOOD or state.phase not in (Phase.SHADOWING, Phase.STEPPING):
            return
        if not self.promotes_automatically(state) or not self._control.settings.enabled:
            return
        try:
            await self._control.promote(ChangeRequest(ACTOR, "all gates are open", group=assessment.group))
        except RolloutError as error:
            logger.warning("promotion_failed", extra={"group": assessment.group, "error": str(error)})

    def promotes_automatically(self, state: GroupState) -> bool:
        """Return True when the step of this state is left without an operator."""
        settings = self._control.settings
        manual = step_of(settings, state).manual
        return settings.auto_promote if manual is None else not manual
