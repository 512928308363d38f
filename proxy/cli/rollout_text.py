"""The lines of `shadow status` about the rollout, from the document of GET /rollout, which is a part of /status. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from comparator.stats.confidence import JudgementOutcome
from proxy.rollout.state_machine import Phase


class GateView(msgspec.Struct, frozen=True):
    """The result of one gate."""

    gate: str
    outcome: JudgementOutcome
    reason: str


class AssessmentView(msgspec.Struct, frozen=True):
    """The results of all gates of a group."""

    at: str
    outcome: JudgementOutcome
    gates: tuple[GateView, ...]


class GroupView(msgspec.Struct, frozen=True):
    """The state of a group, and its last assessment."""

    group: str
    phase: Phase
    step: int
    percent: float
    steps: tuple[float, ...]
    actor: str = ""
    reason: str = ""
    at: str | None = None
    gates: AssessmentView | None = None


class RolloutView(msgspec.Struct, frozen=True):
    """The part of the document that is shown."""

    enabled: bool
    groups: tuple[GroupView, ...]
    pending: int = 0


def render(document: Mapping[str, Any]) -> list[str]:
    """Describe each group in a line, followed by what keeps it at its step.

    Returns:
        No lines where no rollout is enabled and nothing is rolled back.
    """
    rollout = msgspec.convert(document, RolloutView)
    lines: list[str] = []
    for group in rollout.groups:
        if rollout.enabled or group.phase.latched:
            lines += _group_lines(group)
    if rollout.pending:
        lines.append(f"  {rollout.pending} entries of the audit log wait for the database")
    return lines


def _group_lines(group: GroupView) -> list[str]:
    steps, last = ", ".join(f"{step:g}" for step in group.steps), len(group.steps) - 1
    lines = [f"rollout   {group.group}: {group.phase}, step {group.step} of {last} ({group.percent:g} % of {steps})"]
    if group.actor:
        lines.append(f"  last change by {group.actor} at {group.at}: {group.reason}".rstrip(": "))
    if group.gates is not None:
        lines.append(f"  gates {group.gates.outcome}, judged at {group.gates.at}")
        lines += [
            f"    {gate.gate}: {gate.reason}" for gate in group.gates.gates if gate.outcome is not JudgementOutcome.GOOD
        ]
    return lines
