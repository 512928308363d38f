"""The metrics of a proxy process. On the serving path a metric is a number to add to; Prometheus families are built when scraped.

The accounting holds at every moment:

    shadow_served_total = shadow_journal_written_total + shadow_journal_queued
                          + sum(shadow_journal_dropped_total) + sum(shadow_skipped_total)
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

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
ROUTE_DROPPED = "shadow_route_dropped_total"
JOURNAL_QUEUED = "shadow_journal_queued"
JOURNAL_UNREAD_DELETED = "shadow_journal_unread_deleted_total"
JOURNAL_TORN_BYTES = "shadow_journal_torn_bytes_total"
SPOOL_BYTES = "shadow_spool_bytes"
SPOOL_UNSHIPPED = "shadow_spool_unshipped"
SPOOL_AGE = "shadow_spool_age_seconds"
SHIPPER_UP = "shadow_shipper_up"
SHIPPER_PAUSED = "shadow_shipper_paused"
SHIPPER_RESTARTS = "shadow_shipper_restarts_total"
IN_FLIGHT = "shadow_in_flight"
CLIENT_CONNECTIONS = "shadow_client_connections"
BACKEND_CONNECTIONS = "shadow_backend_connections"
HEAD_LOOKUPS = "shadow_head_lookups_total"
CANDIDATE_SHARE = "shadow_candidate_share_ratio"
ROLLED_BACK = "shadow_rolled_back"
WORKER_RESTARTS = "shadow_worker_restarts_total"
WORKER_LOST_REQUESTS = "shadow_worker_lost_requests_total"
WORKER_LOST_EXCHANGES = "shadow_worker_lost_exchanges_total"
CONFIG_RELOADS = "shadow_config_reloads_total"
CONFIG_LOADED = "shadow_config_loaded_timestamp_seconds"
CONFIG_NEEDS_RESTART = "shadow_config_needs_restart"

NO_RESPONSE_STATUSES = frozenset((499, 502, 503, 504))
"""Statuses that do not show that the backend served a request: the client was gone, or a gateway had no response."""
NOT_SENT_CAUSES = frozenset((FailureCause.OVERLOAD, FailureCause.EJECTED))
"""Failures of requests that were never sent to the backend."""


class ReloadResult(StrEnum):
    """The result of a configuration reload."""

    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(slots=True)
class RouteSeries:
    """Durations and statuses of one route and side.

    Attributes:
        exemplars: of each bucket the last request of a sampled trace.
    """

    sum_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    exemplars: list[Exemplar | None] = field(default_factory=lambda: [None] * (len(BUCKETS_S) + 1))
    statuses: Counter[int] = field(default_factory=Counter[int])


@dataclass(frozen=True, slots=True)
class SpoolState:
    """The spool of a shared journal, as the shipper of this machine has told last.

    Attributes:
        bytes: size of the segments.
        unshipped: exchanges that the broker was not given yet.
        age_s: age of the oldest of them, in seconds; 0 for none.
        up: whether the shipper runs, and the broker takes what it ships.
        paused: writers of which nothing is shipped because the readers are too far behind.
        restarts: how often the broker had lost what it was given, so that it was shipped again.
    """

    bytes: int = 0
    unshipped: int = 0
    age_s: float = 0.0
    up: bool = False
    paused: int = 0
    restarts: int = 0


@dataclass(slots=True)
class Gauges:
    """Callbacks for values that are read when metrics are scraped.

    Attributes:
        backend_health: whether each side is healthy by checks, and whether it is ejected.
        head_lookups: hits and misses of the head cache, by kind of message.
        spool: the spool of this machine; None in a process that does not report it, or without a shared journal.
    """

    in_flight: Callable[[], int]
    client_connections: Callable[[], int]
    backend_connections: Callable[[], dict[Side, int]]
    candidate_share: Callable[[], float]
    rolled_back: Callable[[], bool]
    backend_health: Callable[[], Mapping[Side, tuple[bool, bool]]]
    journal: Callable[[], WriterCounts]
    head_lookups: Callable[[], Mapping[str, tuple[int, int]]] = lambda: {"request": (0, 0), "response": (0, 0)}
    spool: Callable[[], SpoolState | None] = lambda: None


class ProxyMetrics(Collector):
    """Counts of one proxy process. Route names come from the settings, so every label has a closed set of values."""

    def __init__(self) -> None:
        self.served = 0
        self.overlapped = 0
        self.retries = 0
        self.restarts = 0
        self.lost_requests = 0
        self.lost_exchanges = 0
        self.config_reloads: Counter[ReloadResult] = Counter()
        self.config_loaded_at = 0.0
        self.config_needs_restart = 0
        self.series: dict[tuple[str, Side], RouteSeries] = {}
        self.refused: Counter[int] = Counter()
        self.skipped: Counter[Skip] = Counter()
        self.backend_failures: Counter[tuple[Side, FailureCause]] = Counter()
        self.fallbacks: Counter[Side] = Counter()
        self.gateway_errors: Counter[Side] = Counter()
        """Responses 502, 503 and 504 that the served side sent itself."""
        self.checks: Counter[tuple[Side, bool]] = Counter()
        self.ejections: Counter[Side] = Counter()
        self.gauges: Gauges | None = None
        self._before_split: Counter[Side] = Counter()

    def observe(self, route: str, side: Side, status: int, duration_s: float) -> None:
        """Count a served request."""
        self.served += 1
        series = self.series.get((route, side))
        if series is None:
            series = self.series[(route, side)] = RouteSeries()
        series.sum_s += duration_s
        series.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        series.statuses[status] += 1

    def add_exemplar(self, route: str, side: Side, duration_s: float, trace_id: str, ended_at: float) -> None:
        """Name the trace of a request that was observed, as the example of its bucket.

        Args:
            route: of the request.
            side: that served it.
            duration_s: as it was observed.
            trace_id: W3C trace id; its trace is sampled.
            ended_at: Unix time.
        """
        exemplars = self.series[(route, side)].exemplars
        exemplars[bisect_left(BUCKETS_S, duration_s)] = Exemplar({"trace_id": trace_id}, duration_s, ended_at)

    def _served_by_side(self) -> Counter[Side]:
        counts: Counter[Side] = Counter()
        for (_, side), series in self.series.items():
            counts[side] += sum(series.statuses.values())
        return counts

    def start_split(self) -> None:
        """Begin to count what each side serves under another traffic split."""
        self._before_split = self._served_by_side()

    def served_under_split(self) -> dict[Side, int]:
        """Return how many requests each side has served under the present traffic split."""
        counts = self._served_by_side()
        return {side: counts[side] - self._before_split[side] for side in Side}

    def response_counts(self, side: Side) -> tuple[int, int]:
        """Return how many requests a side has answered, and how many it has failed, since the process started."""
        answered = sum(
            count
            for (_, series_side), series in self.series.items()
            if series_side is side
            for status, count in series.statuses.items()
            if status not in NO_RESPONSE_STATUSES
        )
        failed = sum(
            count
            for (failed_side, cause), count in self.backend_failures.items()
            if failed_side is side and cause not in NOT_SENT_CAUSES
        )
        return answered, failed + self.gateway_errors[side]

    def collect(self) -> Iterator[Metric]:
        """Yield all families, for prometheus_client."""
        yield from self._requests()
        yield from self._counters()
        if self.gauges:
            yield from _journal(self.gauges.journal())
            yield from _present_values(self.gauges)
            yield _head_lookups(self.gauges.head_lookups())
            spool = self.gauges.spool()
            if spool is not None:
                yield from _spool(spool)

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            REQUESTS, "Requests served, by route, side and status.", labels=("route", "side", "status")
        )
        duration = HistogramMetricFamily(
            DURATION, "Time from the header of a request to the end of its response.", labels=("route", "side")
        )
        for (route, side), series in list(self.series.items()):
            for status, count in sorted(series.statuses.items()):
                requests.add_metric((route, side.value, str(status)), count)
            duration.add_metric((route, side.value), list(_cumulative(series)), series.sum_s)
        yield requests
        yield duration

    def _counters(self) -> Iterator[Metric]:
        yield CounterMetricFamily(SERVED, "Requests served, mirrored or not.", value=self.served)
        yield CounterMetricFamily(
            OVERLAPPED, "Exchanges that overlapped another one with the same ordering key.", value=self.overlapped
        )
        yield CounterMetricFamily(
            RETRIES, "Requests sent again because a kept connection was stale.", value=self.retries
        )
        yield from self._worker()
        refused = CounterMetricFamily(REFUSED, "Requests that the proxy refused itself, by status.", labels=("status",))
        for status, count in sorted(self.refused.items()):
            refused.add_metric((str(status),), count)
        yield refused
        skipped = CounterMetricFamily(SKIPPED, "Exchanges served and, by policy, not journaled.", labels=("cause",))
        for skip in Skip:
            skipped.add_metric((skip.value,), self.skipped[skip])
        yield skipped
        failures = CounterMetricFamily(
            BACKEND_FAILURES, "Requests that the served side gave no response to, by cause.", labels=("side", "cause")
        )
        for side in Side:
            for cause in FailureCause:
                failures.add_metric((side.value, cause.value), self.backend_failures[side, cause])
        yield failures
        fallbacks = CounterMetricFamily(
            FALLBACKS,
            "Requests that were sent to the other side than the chosen one, by the side that got them.",
            labels=("side",),
        )
        for side in Side:
            fallbacks.add_metric((side.value,), self.fallbacks[side])
        yield fallbacks
        yield from self._health()

    def _worker(self) -> Iterator[Metric]:
        yield CounterMetricFamily(WORKER_RESTARTS, "Restarts of this worker after a crash.", value=self.restarts)
        sampled = "sampled every 100 ms"
        yield CounterMetricFamily(
            WORKER_LOST_REQUESTS, f"Requests in flight when a worker crashed ({sampled}).", value=self.lost_requests
        )
        yield CounterMetricFamily(
            WORKER_LOST_EXCHANGES,
            f"Exchanges queued for the journal when a worker crashed ({sampled}).",
            value=self.lost_exchanges,
        )
        reloads = CounterMetricFamily(CONFIG_RELOADS, "Reloads of the configuration, by result.", labels=("result",))
        for result in ReloadResult:
            reloads.add_metric((result.value,), self.config_reloads[result])
        yield reloads
        yield GaugeMetricFamily(
            CONFIG_LOADED, "Unix time at which the settings in force were loaded.", value=self.config_loaded_at
        )
        yield GaugeMetricFamily(
            CONFIG_NEEDS_RESTART,
            "Changed settings that only a restart puts in force.",
            value=self.config_needs_restart,
        )

    def _health(self) -> Iterator[Metric]:
        checks = CounterMetricFamily(
            BACKEND_CHECKS, "Health checks of live backends, by result.", labels=("side", "result")
        )
        ejections = CounterMetricFamily(
            BACKEND_EJECTIONS, "Ejections of a backend because it failed requests.", labels=("side",)
        )
        for side in Side:
            checks.add_metric((side.value, "passed"), self.checks[side, True])
            checks.add_metric((side.value, "failed"), self.checks[side, False])
            ejections.add_metric((side.value,), self.ejections[side])
        yield checks
        yield ejections


def _journal(counts: WriterCounts) -> Iterator[Metric]:
    yield CounterMetricFamily(JOURNAL_WRITTEN, "Exchanges written to the journal.", value=counts.written)
    yield CounterMetricFamily(JOURNAL_BYTES, "Bytes written to the journal.", value=counts.written_bytes)
    dropped = CounterMetricFamily(
        JOURNAL_DROPPED,
        "Exchanges served and not journaled because of a failure or overload, by cause.",
        labels=("cause",),
    )
    for cause, count in counts.losses().items():
        dropped.add_metric((cause.value,), count)
    yield dropped
    by_route = CounterMetricFamily(
        ROUTE_DROPPED,
        "The same by route: what the gate on coverage counts.",
        labels=("route",),
    )
    for route, count in sorted(counts.losses_by_route().items()):
        by_route.add_metric((route,), count)
    yield by_route
    yield GaugeMetricFamily(JOURNAL_QUEUED, "Exchanges queued for the journal.", value=counts.queued)
    yield CounterMetricFamily(
        JOURNAL_UNREAD_DELETED,
        "Exchanges deleted before they were read, because the disk limit was reached.",
        value=counts.unread_deleted,
    )
    yield CounterMetricFamily(
        JOURNAL_TORN_BYTES, "Bytes of incomplete frames cut off at start.", value=counts.torn_bytes
    )


def _spool(spool: SpoolState) -> Iterator[Metric]:
    yield GaugeMetricFamily(SPOOL_BYTES, "Size of the spool of a shared journal on this machine.", value=spool.bytes)
    yield GaugeMetricFamily(
        SPOOL_UNSHIPPED, "Exchanges in the spool that the broker was not given yet.", value=spool.unshipped
    )
    yield GaugeMetricFamily(
        SPOOL_AGE, "Age of the oldest exchange in the spool that the broker was not given yet.", value=spool.age_s
    )
    yield GaugeMetricFamily(
        SHIPPER_UP, "1 while the shipper of this machine runs and the broker takes what it ships.", value=int(spool.up)
    )
    yield GaugeMetricFamily(
        SHIPPER_PAUSED,
        "Writers of which nothing is shipped because the slowest reader is too far behind.",
        value=spool.paused,
    )
    yield CounterMetricFamily(
        SHIPPER_RESTARTS,
        "Times that the broker had lost what it was given, so that it was shipped again.",
        value=spool.restarts,
    )


def _head_lookups(counts: Mapping[str, tuple[int, int]]) -> Metric:
    lookups = CounterMetricFamily(
        HEAD_LOOKUPS, "Look-ups in the cache of parsed heads; a miss costs more.", labels=("message", "result")
    )
    for message, (hits, misses) in counts.items():
        lookups.add_metric((message, "hit"), hits)
        lookups.add_metric((message, "miss"), misses)
    return lookups


def _present_values(gauges: Gauges) -> Iterator[Metric]:
    yield GaugeMetricFamily(IN_FLIGHT, "Requests in flight.", value=gauges.in_flight())
    yield GaugeMetricFamily(CLIENT_CONNECTIONS, "Open client connections.", value=gauges.client_connections())
    connections = GaugeMetricFamily(BACKEND_CONNECTIONS, "Open connections to live backends.", labels=("side",))
    for side, count in gauges.backend_connections().items():
        connections.add_metric((side.value,), count)
    yield connections
    healthy = GaugeMetricFamily(
        BACKEND_HEALTHY, "1 while the health checks of a side pass; 0 while they fail.", labels=("side",)
    )
    ejected = GaugeMetricFamily(
        BACKEND_EJECTED, "1 while a side is ejected because it failed requests.", labels=("side",)
    )
    for side, (is_healthy, is_ejected) in gauges.backend_health().items():
        healthy.add_metric((side.value,), int(is_healthy))
        ejected.add_metric((side.value,), int(is_ejected))
    yield healthy
    yield ejected
    yield GaugeMetricFamily(
        CANDIDATE_SHARE, "Share of clients that the candidate serves.", value=gauges.candidate_share()
    )
    yield GaugeMetricFamily(
        ROLLED_BACK,
        "1 while the on-call switch is on and the legacy serves all clients.",
        value=int(gauges.rolled_back()),
    )


def _cumulative(series: RouteSeries) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    total = 0
    bounds = (*map(str, BUCKETS_S), "+Inf")
    for bound, count, exemplar in zip(bounds, series.buckets, series.exemplars, strict=True):
        total += count
        yield (bound, total) if exemplar is None else (bound, total, exemplar)
