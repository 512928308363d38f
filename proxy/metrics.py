"""The proxy's metrics. On the serving path a metric is an addition in a slot; Prometheus' text is made when it is asked for.

The accounting: `shadow_served_total = shadow_journal_written_total + shadow_journal_queued + sum(shadow_journal_dropped_total)
+ sum(shadow_skipped_total)` at every moment.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from comparator.exchange import FailureCause, Side
from proxy.journal.writing import Counts
from proxy.routes import Skip

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

SERVED = "shadow_served_total"
REQUESTS = "shadow_requests_total"
DURATION = "shadow_request_duration_seconds"
REFUSED = "shadow_refused_total"
BACKEND_FAILURES = "shadow_backend_failures_total"
RETRIES = "shadow_backend_retries_total"
FALLBACKS = "shadow_fallbacks_total"
SKIPPED = "shadow_skipped_total"
OVERLAPPED = "shadow_overlapped_total"
JOURNAL_WRITTEN = "shadow_journal_written_total"
JOURNAL_BYTES = "shadow_journal_written_bytes_total"
JOURNAL_DROPPED = "shadow_journal_dropped_total"
JOURNAL_QUEUED = "shadow_journal_queued"
JOURNAL_UNREAD_DELETED = "shadow_journal_unread_deleted_total"
JOURNAL_TORN_BYTES = "shadow_journal_torn_bytes_total"
IN_FLIGHT = "shadow_in_flight"
CALLER_CONNECTIONS = "shadow_caller_connections"
BACKEND_CONNECTIONS = "shadow_backend_connections"
CANDIDATE_SHARE = "shadow_candidate_share_ratio"
ROLLED_BACK = "shadow_rolled_back"
WORKER_RESTARTS = "shadow_worker_restarts_total"


@dataclass(slots=True)
class Series:
    """Durations of one route and side, in seconds."""

    sum_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    statuses: Counter[int] = field(default_factory=Counter[int])

    def observe(self, status: int, duration_s: float) -> None:
        """Count one reply."""
        self.sum_s += duration_s
        self.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self.statuses[status] += 1


@dataclass(slots=True)
class Gauges:
    """What is read when asked for."""

    in_flight: Callable[[], int]
    caller_connections: Callable[[], int]
    backend_connections: Callable[[], dict[Side, int]]
    candidate_share: Callable[[], float]
    rolled_back: Callable[[], bool]
    journal: Callable[[], Counts]


class ProxyMetrics(Collector):
    """Counts of one proxy process. Route names come from settings, so every label is from a closed set."""

    def __init__(self) -> None:
        self.served = 0
        self.overlapped = 0
        self.retries = 0
        self.restarts = 0
        self.series: dict[tuple[str, Side], Series] = {}
        self.refused: Counter[int] = Counter()
        self.skipped: Counter[Skip] = Counter()
        self.backend_failures: Counter[tuple[Side, FailureCause]] = Counter()
        self.fallbacks: Counter[Side] = Counter()
        self.gauges: Gauges | None = None

    def observe(self, route: str, side: Side, status: int, duration_s: float) -> None:
        """One request was served."""
        self.served += 1
        series = self.series.get((route, side))
        if series is None:
            series = self.series[(route, side)] = Series()
        series.observe(status, duration_s)

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        yield from self._requests()
        yield from self._counters()
        if self.gauges:
            yield from _journal(self.gauges.journal())
            yield from _now(self.gauges)

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(REQUESTS, "Requests served.", labels=("route", "side", "status"))
        duration = HistogramMetricFamily(
            DURATION, "From a request's header to the end of its reply.", labels=("route", "side")
        )
        for (route, side), series in list(self.series.items()):
            for status, count in sorted(series.statuses.items()):
                requests.add_metric((route, side.value, str(status)), count)
            duration.add_metric((route, side.value), list(_cumulative(series.buckets)), series.sum_s)
        yield requests
        yield duration

    def _counters(self) -> Iterator[Metric]:
        yield CounterMetricFamily(SERVED, "Requests served, whatever came of their copies.", value=self.served)
        yield CounterMetricFamily(
            OVERLAPPED, "Exchanges during which another with the same key was in flight.", value=self.overlapped
        )
        yield CounterMetricFamily(
            RETRIES, "Requests sent again because a kept connection was stale.", value=self.retries
        )
        yield CounterMetricFamily(WORKER_RESTARTS, "How often this worker was started again.", value=self.restarts)
        refused = CounterMetricFamily(REFUSED, "Requests the proxy answered itself, by status.", labels=("status",))
        for status, count in sorted(self.refused.items()):
            refused.add_metric((str(status),), count)
        yield refused
        skipped = CounterMetricFamily(SKIPPED, "Served and by policy not journaled.", labels=("cause",))
        for skip in Skip:
            skipped.add_metric((skip.value,), self.skipped[skip])
        yield skipped
        failures = CounterMetricFamily(BACKEND_FAILURES, "Served sides that gave no reply.", labels=("side", "cause"))
        for side in Side:
            for cause in FailureCause:
                failures.add_metric((side.value, cause.value), self.backend_failures[side, cause])
        yield failures
        fallbacks = CounterMetricFamily(FALLBACKS, "Requests the other side answered.", labels=("side",))
        for side in Side:
            fallbacks.add_metric((side.value,), self.fallbacks[side])
        yield fallbacks


def _journal(counts: Counts) -> Iterator[Metric]:
    yield CounterMetricFamily(JOURNAL_WRITTEN, "Exchanges on disk.", value=counts.written)
    yield CounterMetricFamily(JOURNAL_BYTES, "Bytes on disk.", value=counts.written_bytes)
    dropped = CounterMetricFamily(JOURNAL_DROPPED, "Exchanges served and lost to the journal.", labels=("cause",))
    for cause, count in counts.losses().items():
        dropped.add_metric((cause.value,), count)
    yield dropped
    yield GaugeMetricFamily(JOURNAL_QUEUED, "Exchanges waiting for the disk.", value=counts.queued)
    yield CounterMetricFamily(
        JOURNAL_UNREAD_DELETED,
        "Exchanges deleted unread because the disk limit was reached.",
        value=counts.unread_deleted,
    )
    yield CounterMetricFamily(JOURNAL_TORN_BYTES, "Bytes cut from a torn tail at start.", value=counts.torn_bytes)


def _now(gauges: Gauges) -> Iterator[Metric]:
    yield GaugeMetricFamily(IN_FLIGHT, "Requests being served.", value=gauges.in_flight())
    yield GaugeMetricFamily(CALLER_CONNECTIONS, "Open connections of callers.", value=gauges.caller_connections())
    connections = GaugeMetricFamily(BACKEND_CONNECTIONS, "Open connections to backends.", labels=("side",))
    for side, count in gauges.backend_connections().items():
        connections.add_metric((side.value,), count)
    yield connections
    yield GaugeMetricFamily(CANDIDATE_SHARE, "Share of callers the candidate serves.", value=gauges.candidate_share())
    yield GaugeMetricFamily(
        ROLLED_BACK, "1 while the on-call switch holds the legacy.", value=int(gauges.rolled_back())
    )


def _cumulative(buckets: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
        total += count
        yield bound, total
