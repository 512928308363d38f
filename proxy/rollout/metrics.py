"""The rollout's metrics of one proxy process, computed when they are scraped. All labels are from closed sets."""

from collections.abc import Callable, Iterator, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import GateSettings
from proxy.rollout.assessment import Assessment
from proxy.rollout.gate_measure import Measure
from proxy.rollout.replica import Replica
from proxy.rollout.state_machine import Phase

PHASE = "shadow_rollout_phase"
STEP = "shadow_rollout_step"
VERSION = "shadow_rollout_version"
EPOCH = "shadow_rollout_epoch"
GATE = "shadow_rollout_gate"
GATE_FIGURE = "shadow_rollout_gate_figure"
GATE_SETTING = "shadow_rollout_gate_setting"
STORED = "shadow_rollout_store_connected"
PENDING = "shadow_rollout_audit_pending"
ASSESSED = "shadow_rollout_assessed_timestamp_seconds"
NOTIFICATIONS_DROPPED = "shadow_rollout_notifications_dropped_total"


class RolloutMetrics(Collector):
    """Collects the rollout's metrics.

    Args:
        replica: the states.
        gates: the settings `rollout.gates`, whose limits alerts compare with.
        latest: returns the last assessment of each group.
        dropped: returns the number of notifications that were dropped.
    """

    def __init__(
        self,
        replica: Replica,
        gates: GateSettings,
        latest: Callable[[], Mapping[str, Assessment]],
        dropped: Callable[[], int],
    ) -> None:
        self._replica = replica
        self._settings = {
            name: float(value)
            for name, value in msgspec.structs.asdict(gates).items()
            if isinstance(value, int | float)
        }
        self._latest = latest
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        """Yield all families, for prometheus_client."""
        yield from self._states()
        yield from self._gates()
        yield self._limits()
        yield GaugeMetricFamily(STORED, "1 while the rollout's database answers.", value=int(self._replica.connected))
        yield GaugeMetricFamily(
            PENDING, "Entries of the audit log that wait to be stored.", value=len(self._replica.pending)
        )
        yield CounterMetricFamily(
            NOTIFICATIONS_DROPPED,
            "Notifications dropped because a queue was full or every attempt failed.",
            value=self._dropped(),
        )

    def _states(self) -> Iterator[Metric]:
        phases = GaugeMetricFamily(PHASE, "1 for the phase of a group.", labels=("group", "phase"))
        steps = GaugeMetricFamily(STEP, "Index of a group's step.", labels=("group",))
        versions = GaugeMetricFamily(VERSION, "Version of a group's state; equal in all processes.", labels=("group",))
        epochs = GaugeMetricFamily(
            EPOCH, "Epoch of a group's state; grows with each resumed rollback.", labels=("group",)
        )
        for name, state in self._replica.configured.items():
            for phase in Phase:
                phases.add_metric((name, phase.value), int(state.phase is phase))
            steps.add_metric((name,), state.step)
            versions.add_metric((name,), state.version)
            epochs.add_metric((name,), state.epoch)
        yield from (phases, steps, versions, epochs)

    def _gates(self) -> Iterator[Metric]:
        gates = GaugeMetricFamily(
            GATE, "1 for the outcome of a gate when it was last judged.", labels=("group", "gate", "outcome")
        )
        figures = GaugeMetricFamily(
            GATE_FIGURE,
            "The figure of a gate when it was last judged, the ends of its interval, and its limit.",
            labels=("group", "gate", "figure", "unit"),
        )
        times = GaugeMetricFamily(
            ASSESSED, "Time at which this process last judged a group, in Unix seconds.", labels=("group",)
        )
        for name, assessment in self._latest().items():
            for result in assessment.gates:
                for outcome in JudgementOutcome:
                    gates.add_metric((name, result.name.value, outcome.value), int(result.outcome is outcome))
                if result.measure is not None:
                    for figure, value in _figures(result.measure):
                        figures.add_metric((name, result.name.value, figure, result.measure.unit.value), value)
            times.add_metric((name,), assessment.at.timestamp())
        yield from (gates, figures, times)

    def _limits(self) -> Metric:
        limits = GaugeMetricFamily(GATE_SETTING, "The settings rollout.gates that are numbers.", labels=("setting",))
        for name, value in self._settings.items():
            limits.add_metric((name,), value)
        return limits


def _figures(measure: Measure) -> Iterator[tuple[str, float]]:
    """Yield the figures of a measure that are known, by their label."""
    known = {"value": measure.value, "low": measure.low, "high": measure.high, "limit": measure.limit}
    yield from ((name, value) for name, value in known.items() if value is not None)
