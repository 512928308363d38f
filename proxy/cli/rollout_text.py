"""Where each group's rollout stands, in words, from what GET /rollout and /status show. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec


class _Gate(msgspec.Struct, frozen=True):
    gate: str
    outcome: str
    reason: str


class _Judged(msgspec.Struct, frozen=True):
    at: str
    outcome: str
    gates: tuple[_Gate, ...]


class _Group(msgspec.Struct, frozen=True):
    group: str
    phase: str
    step: int
    percent: float
    steps: tuple[float, ...]
    actor: str = ""
    reason: str = ""
    at: str | None = None
    gates: _Judged | None = None


class _Overview(msgspec.Struct, frozen=True):
    enabled: bool
    groups: tuple[_Group, ...]
    pending: int = 0


def render(document: Mapping[str, Any]) -> list[str]:
    """One line a group, and what keeps it at its step; nothing where no rollout is enabled and nothing is rolled back."""
    found = msgspec.convert(document, _Overview)
    lines: list[str] = []
    for group in found.groups:
        if found.enabled or group.phase in ("rolling_back", "rolled_back"):
            lines += _group_lines(group)
    if found.pending:
        lines.append(f"  {found.pending} entries of the audit log wait for the database")
    return lines


def _group_lines(group: _Group) -> list[str]:
    last = len(group.steps) - 1
    words = f"rollout   {group.group}: {group.phase}, step {group.step} of {last} ({group.percent:g} % of {_list(group.steps)})"
    lines = [words]
    if group.actor:
        lines.append(f"  last change by {group.actor} at {group.at}: {group.reason}".rstrip(": "))
    if group.gates is not None:
        lines.append(f"  gates {group.gates.outcome}, judged at {group.gates.at}")
        lines += [f"    {gate.gate}: {gate.reason}" for gate in group.gates.gates if gate.outcome != "good"]
    return lines


def _list(steps: tuple[float, ...]) -> str:
    return ", ".join(f"{step:g}" for step in steps)
