"""The rollout's metrics of one proxy process, computed when they are scraped. All labels are from closed sets."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from comparator.stats.confidence import JudgementOutcome
from proxy.rollout.assessment import Assessment
from proxy.rollout.replica import Replica
from proxy.rollout.state_machine import Phase

PHASE = "shadow_rollout_phase"
STEP = "shadow_rollout_step"
VERSION = "shadow_rollout_version"
EPOCH = "shadow_rollout_epoch"
GATE = "shadow_rollout_gate"
STORED = "shadow_rollout_store_connected"
PENDING = "shadow_rollout_audit_pending"
ASSESSED = "shadow_rollout_assessed_timestamp_seconds"
NOTIFICATIONS_DROPPED = "shadow_rollout_notifications_dropped_total"


class RolloutMetrics(Collector):
    """Collects the rollout's metrics.

    Args:
        replica: the states.
        latest: returns the last assessment of each group.
        dropped: returns the number of notifications that were dropped.
    """

    def __init__(
        self, replica: Replica, latest: Callable[[], Mapping[str, Assessment]], dropped: Callable[[], int]
    ) -> None:
        self._replica = replica
        self._latest = latest
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        """Yield all families, for prometheus_client."""
        yield from self._states()
        yield from self._gates()
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
        times = GaugeMetricFamily(
            ASSESSED, "Time at which this process last judged a group, in Unix seconds.", labels=("group",)
        )
        for name, assessment in self._latest().items():
            for result in assessment.gates:
                for outcome in JudgementOutcome:
                    gates.add_metric((name, result.name.value, outcome.value), int(result.outcome is outcome))
            times.add_metric((name,), assessment.at.timestamp())
        yield from (gates, times)
