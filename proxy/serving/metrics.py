"""The proxy's metrics. On the serving path a metric is an addition in a slot; Prometheus' text is made when it is asked for.

The accounting: `shadow_served_total = shadow_journal_written_total + shadow_journal_queued + sum(shadow_journal_dropped_total)
+ sum(shadow_skipped_total)` at every moment.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from comparator.exchanges.model import FailureCause, Side
from comparator.exchanges.skip import Skip
from proxy.journal.driver import WriterCounts

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

SERVED = "shadow_served_total"
REQUESTS = "shadow_requests_total"
DURATION = "shadow_request_duration_seconds"
REFUSED = "shadow_refused_total"
BACKEND_FAILURES = "shadow_backend_failures_total"
RETRIES = "shadow_backend_retries_total"
FALLBACKS = "shadow_fallbacks_total"
BACKEND_CHECKS = "shadow_backend_checks_total"
BACKEND_EJECTIONS = "shadow_backend_ejections_total"
BACKEND_HEALTHY = "shadow_backend_healthy"
BACKEND_EJECTED = "shadow_backend_ejected"
SKIPPED = "shadow_skipped_total"
OVERLAPPED = "shadow_overlapped_total"
JOURNAL_WRITTEN = "shadow_journal_written_total"
JOURNAL_BYTES = "shadow_journal_written_bytes_total"
JOURNAL_DROPPED = "shadow_journal_dropped_total"
JOURNAL_QUEUED = "shadow_journal_queued"
JOURNAL_UNREAD_DELETED = "shadow_journal_unread_deleted_total"
JOURNAL_TORN_BYTES = "shadow_journal_torn_bytes_total"
IN_FLIGHT = "shadow_in_flight"
CLIENT_CONNECTIONS = "shadow_client_connections"
BACKEND_CONNECTIONS = "shadow_backend_connections"
HEADS = "shadow_heads_total"
CANDIDATE_SHARE = "shadow_candidate_share_ratio"
ROLLED_BACK = "shadow_rolled_back"
WORKER_RESTARTS = "shadow_worker_restarts_total"
WORKER_LOST_REQUESTS = "shadow_worker_lost_requests_total"
WORKER_LOST_COPIES = "shadow_worker_lost_copies_total"
CONFIG_RELOADS = "shadow_config_reloads_total"
CONFIG_LOADED = "shadow_config_loaded_timestamp_seconds"
CONFIG_NEEDS_RESTART = "shadow_config_needs_restart"

NO_ANSWER = frozenset((499, 502, 503, 504))
"""Statuses that do not show that the backend served a request: the client was gone, or somebody's gateway had no response."""
UNASKED = frozenset((FailureCause.OVERLOAD, FailureCause.EJECTED))
"""Failures of requests that the backend never saw."""


@dataclass(slots=True)
class RouteSeries:
    """Durations of one route and side, in seconds."""

    sum_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    statuses: Counter[int] = field(default_factory=Counter[int])


@dataclass(slots=True)
class Gauges:
    """What is read when asked for."""

    in_flight: Callable[[], int]
    client_connections: Callable[[], int]
    backend_connections: Callable[[], dict[Side, int]]
    candidate_share: Callable[[], float]
    rolled_back: Callable[[], bool]
    fit: Callable[[], Mapping[Side, tuple[bool, bool]]]
    """Whether each side is healthy by checks, and whether it is ejected."""
    journal: Callable[[], WriterCounts]
    heads: Callable[[], Mapping[str, tuple[int, int]]] = lambda: {"request": (0, 0), "response": (0, 0)}
    """Heads of requests and of responses: how many were recognised, and how many parsed."""


class ProxyMetrics(Collector):
    """Counts of one proxy process. Route names come from settings, so every label is from a closed set."""

    def __init__(self) -> None:
        self.served = 0
        self.overlapped = 0
        self.retries = 0
        self.restarts = 0
        self.lost_requests = 0
        self.lost_copies = 0
        self.config_reloads: Counter[str] = Counter()
        self.config_loaded_at = 0.0
        self.config_needs_restart = 0
        self.series: dict[tuple[str, Side], RouteSeries] = {}
        self.refused: Counter[int] = Counter()
        self.skipped: Counter[Skip] = Counter()
        self.backend_failures: Counter[tuple[Side, FailureCause]] = Counter()
        self.fallbacks: Counter[Side] = Counter()
        self.gateway_errors: Counter[Side] = Counter()
        """Responses 502, 503 and 504 that a served side gave itself."""
        self.checks: Counter[tuple[Side, bool]] = Counter()
        self.ejections: Counter[Side] = Counter()
        self.gauges: Gauges | None = None

    def observe(self, route: str, side: Side, status: int, duration_s: float) -> None:
        """One request was served."""
        self.served += 1
        series = self.series.get((route, side))
        if series is None:
            series = self.series[(route, side)] = RouteSeries()
        series.sum_s += duration_s
        series.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        series.statuses[status] += 1

    def heard(self, side: Side) -> tuple[int, int]:
        """How many requests a side answered, and how many it failed, since the process began."""
        statuses = [series.statuses for (_, of), series in self.series.items() if of is side]
        answered = sum(count for one in statuses for status, count in one.items() if status not in NO_ANSWER)
        failures = [
            count for (of, cause), count in self.backend_failures.items() if of is side and cause not in UNASKED
        ]
        return answered, sum(failures) + self.gateway_errors[side]

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        yield from self._requests()
        yield from self._counters()
        if self.gauges:
            yield from _journal(self.gauges.journal())
            yield from _now(self.gauges)
            yield _heads(self.gauges.heads())

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(REQUESTS, "Requests served.", labels=("route", "side", "status"))
        duration = HistogramMetricFamily(
            DURATION, "From a request's header to the end of its response.", labels=("route", "side")
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
        yield from self._worker()
        refused = CounterMetricFamily(REFUSED, "Requests the proxy answered itself, by status.", labels=("status",))
        for status, count in sorted(self.refused.items()):
            refused.add_metric((str(status),), count)
        yield refused
        skipped = CounterMetricFamily(SKIPPED, "Served and by policy not journaled.", labels=("cause",))
        for skip in Skip:
            skipped.add_metric((skip.value,), self.skipped[skip])
        yield skipped
        failures = CounterMetricFamily(
            BACKEND_FAILURES, "Served sides that gave no response.", labels=("side", "cause")
        )
        for side in Side:
            for cause in FailureCause:
                failures.add_metric((side.value, cause.value), self.backend_failures[side, cause])
        yield failures
        fallbacks = CounterMetricFamily(FALLBACKS, "Requests the other side answered.", labels=("side",))
        for side in Side:
            fallbacks.add_metric((side.value,), self.fallbacks[side])
        yield fallbacks
        yield from self._health()

    def _worker(self) -> Iterator[Metric]:
        yield CounterMetricFamily(WORKER_RESTARTS, "How often this worker was started again.", value=self.restarts)
        lost = "as of a tenth of a second before"
        yield CounterMetricFamily(
            WORKER_LOST_REQUESTS, f"Requests in flight when a worker died, {lost}.", value=self.lost_requests
        )
        yield CounterMetricFamily(
            WORKER_LOST_COPIES, f"Copies waiting for the disk when a worker died, {lost}.", value=self.lost_copies
        )
        reloads = CounterMetricFamily(CONFIG_RELOADS, "New settings by what became of them.", labels=("result",))
        for result in ("taken", "refused"):
            reloads.add_metric((result,), self.config_reloads[result])
        yield reloads
        yield GaugeMetricFamily(CONFIG_LOADED, "When the settings in force were loaded.", value=self.config_loaded_at)
        yield GaugeMetricFamily(
            CONFIG_NEEDS_RESTART,
            "Settings that the file changed and that need a restart.",
            value=self.config_needs_restart,
        )

    def _health(self) -> Iterator[Metric]:
        checks = CounterMetricFamily(BACKEND_CHECKS, "Health checks by their result.", labels=("side", "result"))
        ejections = CounterMetricFamily(
            BACKEND_EJECTIONS, "How often a backend that failed requests was spared for a while.", labels=("side",)
        )
        for side in Side:
            checks.add_metric((side.value, "well"), self.checks[side, True])
            checks.add_metric((side.value, "failed"), self.checks[side, False])
            ejections.add_metric((side.value,), self.ejections[side])
        yield checks
        yield ejections


def _journal(counts: WriterCounts) -> Iterator[Metric]:
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


def _heads(read: Mapping[str, tuple[int, int]]) -> Metric:
    heads = CounterMetricFamily(
        HEADS, "Heads of messages: recognised by their shape, or parsed, which costs more.", labels=("message", "how")
    )
    for message, (recognised, parsed) in read.items():
        heads.add_metric((message, "recognised"), recognised)
        heads.add_metric((message, "parsed"), parsed)
    return heads


def _now(gauges: Gauges) -> Iterator[Metric]:
    yield GaugeMetricFamily(IN_FLIGHT, "Requests being served.", value=gauges.in_flight())
    yield GaugeMetricFamily(CLIENT_CONNECTIONS, "Open connections of clients.", value=gauges.client_connections())
    connections = GaugeMetricFamily(BACKEND_CONNECTIONS, "Open connections to backends.", labels=("side",))
    for side, count in gauges.backend_connections().items():
        connections.add_metric((side.value,), count)
    yield connections
    healthy = GaugeMetricFamily(BACKEND_HEALTHY, "0 while a side's health check fails.", labels=("side",))
    ejected = GaugeMetricFamily(
        BACKEND_EJECTED, "1 while a side is spared because it failed requests.", labels=("side",)
    )
    for side, (is_healthy, is_ejected) in gauges.fit().items():
        healthy.add_metric((side.value,), int(is_healthy))
        ejected.add_metric((side.value,), int(is_ejected))
    yield healthy
    yield ejected
    yield GaugeMetricFamily(CANDIDATE_SHARE, "Share of clients the candidate serves.", value=gauges.candidate_share())
    yield GaugeMetricFamily(
        ROLLED_BACK, "1 while the on-call switch holds the legacy.", value=int(gauges.rolled_back())
    )


def _cumulative(buckets: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
        total += count
        yield bound, total
