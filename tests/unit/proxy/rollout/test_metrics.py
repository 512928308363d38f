"""Metrics of the rollout: the figures of gates, and the settings that alerts compare with."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import msgspec
from prometheus_client import CollectorRegistry

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import GateSettings
from proxy.rollout.assessment import Assessment
from proxy.rollout.evidence import Evidence
from proxy.rollout.gate_measure import Measure, MeasureUnit
from proxy.rollout.gates import GateName, GateResult
from proxy.rollout.group_state import GroupState
from proxy.rollout.metrics import RolloutMetrics
from proxy.rollout.replica import Replica

GATES = (
    GateResult(
        GateName.MISMATCHES,
        JudgementOutcome.BAD,
        "",
        measure=Measure(MeasureUnit.SHARE, 0.02, 0.001, low=0.01, high=0.03),
    ),
    GateResult(GateName.TIME, JudgementOutcome.NOT_ENOUGH, "", measure=Measure(MeasureUnit.SECONDS, 60, 1800)),
    GateResult(GateName.ERRORS, JudgementOutcome.NOT_ENOUGH, "no requests yet"),
)
ASSESSMENT = Assessment(
    "all", cast("GroupState", None), datetime(2026, 3, 1, tzinfo=UTC), cast("Evidence", None), GATES
)


def registry(gates: GateSettings) -> CollectorRegistry:
    replica = cast("Replica", SimpleNamespace(configured={}, connected=True, pending={}))
    made = CollectorRegistry()
    made.register(RolloutMetrics(replica, gates, lambda: {"all": ASSESSMENT}, lambda: 0))
    return made


def figures(of: CollectorRegistry, gate: str) -> dict[tuple[str, str], float]:
    samples = (sample for family in of.collect() for sample in family.samples)
    return {
        (sample.labels["figure"], sample.labels["unit"]): sample.value
        for sample in samples
        if sample.name == "shadow_rollout_gate_figure" and sample.labels["gate"] == gate
    }


def test_gate_shows_its_figure_interval_and_limit() -> None:
    assert figures(registry(GateSettings()), "mismatches") == {
        ("value", "share"): 0.02,
        ("low", "share"): 0.01,
        ("high", "share"): 0.03,
        ("limit", "share"): 0.001,
    }


def test_counted_figure_has_no_interval() -> None:
    assert figures(registry(GateSettings()), "time") == {("value", "seconds"): 60, ("limit", "seconds"): 1800}


def test_gate_without_a_measure_shows_no_figure() -> None:
    assert figures(registry(GateSettings()), "errors") == {}


def test_every_setting_that_is_a_number_is_exported() -> None:
    gates = GateSettings(latency_ratio_max=1.5)
    made = registry(gates)
    numbers = {name: value for name, value in msgspec.structs.asdict(gates).items() if isinstance(value, int | float)}
    samples = (sample for family in made.collect() for sample in family.samples)
    exported = {s.labels["setting"]: s.value for s in samples if s.name == "shadow_rollout_gate_setting"}

    assert exported == numbers
    assert exported["latency_ratio_max"] == 1.5
