"""Rollouts on files or on a database, with a clock that the test controls."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import RolloutSettings
from proxy.rollout.assessment import Assessment
from proxy.rollout.control import Control
from proxy.rollout.evidence import Evidence
from proxy.rollout.gates import GateName, GateResult
from proxy.rollout.replica import Replica
from proxy.rollout.switch import Switch

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that advances by 1 ms per reading, and otherwise only when the test sets `at`."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at


def settings_in(folder: Path, **changes: Any) -> RolloutSettings:
    """Return settings of an enabled rollout with its files in `folder`."""
    values: dict[str, Any] = {
        "enabled": True,
        "steps": (0.0, 10.0, 100.0),
        "state_file": str(folder / "rollout.json"),
        "audit_file": str(folder / "audit.ndjson"),
        "poll_s": 0.1,
    }
    return RolloutSettings(**(values | changes))


def control_in(
    folder: Path, *, dsn: str = "", outcome: JudgementOutcome = JudgementOutcome.GOOD, salt: str = "", **changes: Any
) -> Control:
    """Return a started control on the files of `folder`, as in a process that has just started."""
    settings = settings_in(folder, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    groups = ("all", *(group.name for group in settings.groups))
    switch = Switch(folder / "switch.json", folder / "rollback")
    control = Control(switch, Replica(settings, groups, dsn), now=Clock(), salt=salt)
    force_outcome(control, outcome)
    control.start()
    return control


def force_outcome(control: Control, outcome: JudgementOutcome) -> None:
    """Make the control judge every group with this outcome."""

    async def assess(group: str) -> Assessment:
        gates = (GateResult(GateName.MISMATCHES, outcome, f"it is {outcome}"),)
        return Assessment(group, control.replica.states[group], control.now, Evidence(), gates)

    control.assess = assess
