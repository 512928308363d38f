"""The judgement of one group: the results of all gates, with the state and the evidence that they were judged on. Pure."""

from dataclasses import dataclass
from datetime import datetime

from comparator.stats.confidence import JudgementOutcome
from proxy.rollout.evidence import Evidence
from proxy.rollout.gates import GateResult, outcome_of, reasons_of
from proxy.rollout.group_state import GroupState


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

    @property
    def is_good(self) -> bool:
        """True when every gate is open."""
        return self.outcome is JudgementOutcome.GOOD

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of the gates that are not open, bad ones first."""
        return reasons_of(self.gates)

    def snapshot(self) -> dict[str, object]:
        """Return the gates and the figures as JSON values, for the audit log."""
        return {
            "outcome": self.outcome.value,
            "gates": [
                {
                    "gate": gate.name.value,
                    "outcome": gate.outcome.value,
                    "reason": gate.reason,
                    "measure": gate.measure.document() if gate.measure else None,
                }
                for gate in self.gates
            ],
            "figures": self.evidence.snapshot(),
        }
