"""ExchangeEvidence of a recorded scenario that no scorer has run: as if the candidate had answered and written as the legacy did."""

from datetime import timedelta

from comparator.rules.conditions import ExchangeEvidence
from tests.golden.evidence import response_of
from tests.golden.judge import recorded_row_changes
from tests.golden.replay import StepRun
from tests.golden.run import evidence_by_step
from tests.golden.scenario import Scenario, Step


def evidence_of_scenario(scenario: Scenario) -> dict[int, list[ExchangeEvidence]]:
    """Return the evidence of each call by step."""
    return evidence_by_step(scenario, [_as_recorded(step) for step in scenario.steps])


def _as_recorded(step: Step) -> StepRun:
    changes = tuple(recorded_row_changes(step, timedelta(0)))
    return StepRun(tuple(map(response_of, step.calls)), changes, timedelta(0))
