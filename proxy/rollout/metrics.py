"""The rollout's metrics of one proxy process, made when they are asked for. All labels are from closed sets."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from comparator.stats.confidence import JudgementOutcome
from proxy.rollout.control import Assessment
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
MESSAGES_DROPPED = "shadow_rollout_messages_dropped_total"


class RolloutMetrics(Collector):
    """What the rollout says about itself.

    Args:
        replica: the states.
        latest: the last assessment of each group.
        dropped: messages that were given up.
    """

    def __init__(
        self, replica: Replica, latest: Callable[[], Mapping[str, Assessment]], dropped: Callable[[], int]
    ) -> None:
        self._replica = replica
        self._latest = latest
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        yield from self._states()
        yield from self._gates()
        yield GaugeMetricFamily(STORED, "1 while the rollout's database answers.", value=int(self._replica.connected))
        yield GaugeMetricFamily(PENDING, "Audit entries not in the log yet.", value=len(self._replica.pending))
        yield CounterMetricFamily(MESSAGES_DROPPED, "Messages that no target took.", value=self._dropped())

    def _states(self) -> Iterator[Metric]:
        phase = GaugeMetricFamily(PHASE, "1 for the phase a group is in.", labels=("group", "phase"))
        step = GaugeMetricFamily(STEP, "Index of a group's step.", labels=("group",))
        version = GaugeMetricFamily(VERSION, "Version of a group's state; equal in all processes.", labels=("group",))
        epoch = GaugeMetricFamily(
            EPOCH, "Epoch of a group's state; grows with each resumed rollback.", labels=("group",)
        )
        for name, state in self._replica.configured.items():
            for one in Phase:
                phase.add_metric((name, one.value), int(state.phase is one))
            step.add_metric((name,), state.step)
            version.add_metric((name,), state.version)
            epoch.add_metric((name,), state.epoch)
        yield from (phase, step, version, epoch)

    def _gates(self) -> Iterator[Metric]:
        gate = GaugeMetricFamily(
            GATE, "1 for the outcome of a gate when it was last judged.", labels=("group", "gate", "outcome")
        )
        assessed = GaugeMetricFamily(ASSESSED, "When a group was last judged here.", labels=("group",))
        for name, found in self._latest().items():
            for one in found.gates:
                for outcome in JudgementOutcome:
                    gate.add_metric((name, one.name.value, outcome.value), int(one.outcome is outcome))
            assessed.add_metric((name,), found.at.timestamp())
        yield from (gate, assessed)
