"""The metrics that dashboards and rules may use, each taken from the module that declares it.

A metric is referenced through the attribute or constant of its package, never by its text: a renamed metric is renamed in every
panel, and a removed metric or an unknown label fails when this module or a dashboard is imported. Every selector names the job,
because proxy and runner each export a `shadow_in_flight` and a `shadow_skipped_total` that count different things.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client import Metric as Family
from prometheus_client.metrics import MetricWrapperBase

from comparator.metrics import ComparatorMetrics
from dashboards.errors import UnknownLabelError, UnknownMetricError
from proxy.rollout import metrics as rollout_metrics
from proxy.runner.metrics import RunnerMetrics
from proxy.serving import metrics as proxy_metrics
from scorer.metrics import Metrics as ScorerMetrics

PROXY_JOB: Final = "shadow-proxy"
RUNNER_JOB: Final = "shadow-runner"
CANDIDATE_JOB: Final = "shadow-candidate"
JOBS: Final = (PROXY_JOB, RUNNER_JOB, CANDIDATE_JOB)
"""The jobs of provisioning/prometheus/prometheus.yml."""

TARGET_LABELS: Final = frozenset({"installation", "job", "instance", "role"})
"""Labels that the scrape configuration adds. `installation` tells the installations in one Prometheus apart. `role` is "served" or "mirrored" and tells the candidate's two instances apart."""

_OPERATORS: Final = ("=~", "!~", "!=")
_SUFFIX_BY_KIND: Final = {"counter": "_total"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one job.

    Attributes:
        name: the name on the metrics page, with `_total` for a counter and without `_bucket` for a histogram.
        kind: counter, gauge or histogram.
        labels: the label names that its declaration gives it.
        job: the scrape job that exports it.
    """

    name: str
    kind: str
    labels: frozenset[str]
    job: str

    def select(self, **labels: str) -> str:
        """Return the selector of a counter or gauge.

        `REQUESTS.select(side="legacy", status="=~5..")` is
        `shadow_requests_total{job="shadow-proxy",side="legacy",status=~"5.."}`.

        Args:
            labels: the value of each label, which may begin with an operator (`=~`, `!~`, `!=`); without one it must be equal.

        Raises:
            UnknownLabelError: the metric does not have such a label.
            UnknownMetricError: the metric is a histogram, of which only buckets, count and sum are exported.
        """
        if self.kind == "histogram":
            raise UnknownMetricError(f"{self.name} is a histogram: use bucket(), count() or sum()")
        return self._selector("", labels)

    def bucket(self, **labels: str) -> str:
        """Return the selector of a histogram's buckets."""
        return self._histogram_selector("_bucket", labels)

    def count(self, **labels: str) -> str:
        """Return the selector of the number of a histogram's observations."""
        return self._histogram_selector("_count", labels)

    def sum(self, **labels: str) -> str:
        """Return the selector of the sum of a histogram's observations."""
        return self._histogram_selector("_sum", labels)

    def _histogram_selector(self, suffix: str, labels: dict[str, str]) -> str:
        if self.kind != "histogram":
            raise UnknownMetricError(f"{self.name}{suffix} does not exist: {self.name} is a {self.kind}")
        return self._selector(suffix, labels)

    def _selector(self, suffix: str, labels: dict[str, str]) -> str:
        unknown = labels.keys() - self.labels - TARGET_LABELS
        if unknown:
            raise UnknownLabelError(f"{self.name} has no label {', '.join(sorted(unknown))}")
        matchers = ",".join(_matcher(name, value) for name, value in ({"job": self.job} | labels).items())
        return f"{self.name}{suffix}{{{matchers}}}"


def declared(metric: MetricWrapperBase, job: str) -> Metric:
    """Describe a metric that a package declares with prometheus_client."""
    return _described(next(iter(metric.describe())), metric, job)


def _described(family: Family, labelled: MetricWrapperBase | Family, job: str) -> Metric:
    # Label names are public on samples only, and most metrics have none before they are first counted.
    labels = cast("tuple[str, ...]", vars(labelled)["_labelnames"])
    return Metric(family.name + _SUFFIX_BY_KIND.get(family.type, ""), family.type, frozenset(labels), job)


def _matcher(name: str, value: str) -> str:
    operator = next((operator for operator in _OPERATORS if value.startswith(operator)), "")
    return f'{name}{operator or "="}"{value[len(operator) :]}"'


def _proxy_families() -> Iterable[Family]:
    """Collect every family of a proxy process, which builds its families on each scrape."""
    serving = proxy_metrics.ProxyMetrics()
    serving.gauges = proxy_metrics.Gauges(
        in_flight=lambda: 0,
        client_connections=lambda: 0,
        backend_connections=lambda: dict.fromkeys(proxy_metrics.Side, 0),
        candidate_share=lambda: 0.0,
        rolled_back=lambda: False,
        journal=proxy_metrics.WriterCounts,
        spool=proxy_metrics.SpoolState,
        backend_health=lambda: dict.fromkeys(proxy_metrics.Side, (True, False)),
    )
    replica = cast("rollout_metrics.Replica", SimpleNamespace(configured={}, pending=(), connected=False))
    rollout = rollout_metrics.RolloutMetrics(replica, rollout_metrics.GateSettings(), latest=dict, dropped=lambda: 0)
    return (*serving.collect(), *rollout.collect())


_PROXY: Final = {metric.name: metric for metric in (_described(f, f, PROXY_JOB) for f in _proxy_families())}


def _proxy_metric(name: str) -> Metric:
    if name not in _PROXY:
        raise UnknownMetricError(f"the proxy has no metric {name}")
    return _PROXY[name]


SERVED = _proxy_metric(proxy_metrics.SERVED)
REQUESTS = _proxy_metric(proxy_metrics.REQUESTS)
SERVED_SECONDS = _proxy_metric(proxy_metrics.DURATION)
REFUSED = _proxy_metric(proxy_metrics.REFUSED)
BACKEND_FAILURES = _proxy_metric(proxy_metrics.BACKEND_FAILURES)
BACKEND_RETRIES = _proxy_metric(proxy_metrics.RETRIES)
FALLBACKS = _proxy_metric(proxy_metrics.FALLBACKS)
BACKEND_CHECKS = _proxy_metric(proxy_metrics.BACKEND_CHECKS)
BACKEND_EJECTIONS = _proxy_metric(proxy_metrics.BACKEND_EJECTIONS)
BACKEND_HEALTHY = _proxy_metric(proxy_metrics.BACKEND_HEALTHY)
BACKEND_EJECTED = _proxy_metric(proxy_metrics.BACKEND_EJECTED)
PROXY_SKIPPED = _proxy_metric(proxy_metrics.SKIPPED)
OVERLAPPED = _proxy_metric(proxy_metrics.OVERLAPPED)
JOURNAL_WRITTEN = _proxy_metric(proxy_metrics.JOURNAL_WRITTEN)
JOURNAL_BYTES = _proxy_metric(proxy_metrics.JOURNAL_BYTES)
JOURNAL_DROPPED = _proxy_metric(proxy_metrics.JOURNAL_DROPPED)
ROUTE_DROPPED = _proxy_metric(proxy_metrics.ROUTE_DROPPED)
JOURNAL_QUEUED = _proxy_metric(proxy_metrics.JOURNAL_QUEUED)
JOURNAL_UNREAD_DELETED = _proxy_metric(proxy_metrics.JOURNAL_UNREAD_DELETED)
JOURNAL_TORN_BYTES = _proxy_metric(proxy_metrics.JOURNAL_TORN_BYTES)
SPOOL_BYTES = _proxy_metric(proxy_metrics.SPOOL_BYTES)
SPOOL_UNSHIPPED = _proxy_metric(proxy_metrics.SPOOL_UNSHIPPED)
SPOOL_AGE = _proxy_metric(proxy_metrics.SPOOL_AGE)
SHIPPER_UP = _proxy_metric(proxy_metrics.SHIPPER_UP)
SHIPPER_PAUSED = _proxy_metric(proxy_metrics.SHIPPER_PAUSED)
SHIPPER_RESTARTS = _proxy_metric(proxy_metrics.SHIPPER_RESTARTS)
PROXY_IN_FLIGHT = _proxy_metric(proxy_metrics.IN_FLIGHT)
CLIENT_CONNECTIONS = _proxy_metric(proxy_metrics.CLIENT_CONNECTIONS)
BACKEND_CONNECTIONS = _proxy_metric(proxy_metrics.BACKEND_CONNECTIONS)
HEAD_LOOKUPS = _proxy_metric(proxy_metrics.HEAD_LOOKUPS)
CANDIDATE_SHARE = _proxy_metric(proxy_metrics.CANDIDATE_SHARE)
ROLLED_BACK = _proxy_metric(proxy_metrics.ROLLED_BACK)
WORKER_RESTARTS = _proxy_metric(proxy_metrics.WORKER_RESTARTS)
WORKER_LOST_REQUESTS = _proxy_metric(proxy_metrics.WORKER_LOST_REQUESTS)
WORKER_LOST_EXCHANGES = _proxy_metric(proxy_metrics.WORKER_LOST_EXCHANGES)
CONFIG_RELOADS = _proxy_metric(proxy_metrics.CONFIG_RELOADS)
CONFIG_LOADED = _proxy_metric(proxy_metrics.CONFIG_LOADED)
CONFIG_NEEDS_RESTART = _proxy_metric(proxy_metrics.CONFIG_NEEDS_RESTART)
ROLLOUT_PHASE = _proxy_metric(rollout_metrics.PHASE)
ROLLOUT_STEP = _proxy_metric(rollout_metrics.STEP)
ROLLOUT_VERSION = _proxy_metric(rollout_metrics.VERSION)
ROLLOUT_EPOCH = _proxy_metric(rollout_metrics.EPOCH)
ROLLOUT_GATE = _proxy_metric(rollout_metrics.GATE)
ROLLOUT_GATE_FIGURE = _proxy_metric(rollout_metrics.GATE_FIGURE)
ROLLOUT_GATE_SETTING = _proxy_metric(rollout_metrics.GATE_SETTING)
ROLLOUT_STORE_CONNECTED = _proxy_metric(rollout_metrics.STORED)
ROLLOUT_AUDIT_PENDING = _proxy_metric(rollout_metrics.PENDING)
ROLLOUT_ASSESSED = _proxy_metric(rollout_metrics.ASSESSED)
ROLLOUT_NOTIFICATIONS_DROPPED = _proxy_metric(rollout_metrics.NOTIFICATIONS_DROPPED)

_RUNNER: Final = RunnerMetrics(CollectorRegistry())

READ = declared(_RUNNER.read, RUNNER_JOB)
COMPARED = declared(_RUNNER.compared, RUNNER_JOB)
RESPONSE_ONLY = declared(_RUNNER.response_only, RUNNER_JOB)
IN_PART = declared(_RUNNER.in_part, RUNNER_JOB)
RUNNER_SKIPPED = declared(_RUNNER.skipped, RUNNER_JOB)
OTHER_SLICE = declared(_RUNNER.other_slice, RUNNER_JOB)
FAILED = declared(_RUNNER.failed, RUNNER_JOB)
DROPPED = declared(_RUNNER.dropped, RUNNER_JOB)
RUNNER_IN_FLIGHT = declared(_RUNNER.in_flight, RUNNER_JOB)
MISSING = declared(_RUNNER.missing, RUNNER_JOB)
UNWRITTEN = declared(_RUNNER.unwritten, RUNNER_JOB)
LEASE_HELD = declared(_RUNNER.lease_held, RUNNER_JOB)
READER_AWAY = declared(_RUNNER.reader_away, RUNNER_JOB)
TRIM_FAILURES = declared(_RUNNER.trim_failures, RUNNER_JOB)
BROKER_UP = declared(_RUNNER.broker_up, RUNNER_JOB)
WRITER_UNREAD = declared(_RUNNER.writer_unread, RUNNER_JOB)
WRITER_LAG = declared(_RUNNER.writer_lag, RUNNER_JOB)
WRITER_SILENT = declared(_RUNNER.writer_silent, RUNNER_JOB)
WRITER_CLOCK_AHEAD = declared(_RUNNER.writer_clock_ahead, RUNNER_JOB)
WRITER_LOST = declared(_RUNNER.writer_lost, RUNNER_JOB)
WAL_RETAINED = declared(_RUNNER.wal_retained, RUNNER_JOB)
WAITING = declared(_RUNNER.waiting, RUNNER_JOB)
RESYNC_PENDING = declared(_RUNNER.resyncing, RUNNER_JOB)
LAG = declared(_RUNNER.lag, RUNNER_JOB)
EFFECTS = declared(_RUNNER.effects, RUNNER_JOB)
BACKGROUND = declared(_RUNNER.background, RUNNER_JOB)
STRAYS = declared(_RUNNER.strays, RUNNER_JOB)
GIVEN_UP = declared(_RUNNER.given_up, RUNNER_JOB)
UNSETTLED = declared(_RUNNER.unsettled, RUNNER_JOB)
SIDE_UNTAGGED = declared(_RUNNER.untagged, RUNNER_JOB)
ALIGNED_ROWS = declared(_RUNNER.aligned_rows, RUNNER_JOB)
DRIFTED_ROWS = declared(_RUNNER.drifted_rows, RUNNER_JOB)
SAMPLED_ROWS = declared(_RUNNER.sampled_rows, RUNNER_JOB)
RESYNCS = declared(_RUNNER.resyncs, RUNNER_JOB)
SCHEMA_DIFFERS = declared(_RUNNER.schema_differs, RUNNER_JOB)
NOT_CAPTURED = declared(_RUNNER.not_captured, RUNNER_JOB)
RESYNCED_ROWS = declared(_RUNNER.resynced_rows, RUNNER_JOB)
CONFIRMATIONS = declared(_RUNNER.confirmations, RUNNER_JOB)
MIRRORED_SECONDS = declared(_RUNNER.mirrored_seconds, RUNNER_JOB)
MISMATCH_JOURNAL_WRITTEN = declared(_RUNNER.mismatch_journal_written, RUNNER_JOB)
MISMATCH_JOURNAL_DROPPED = declared(_RUNNER.mismatch_journal_dropped, RUNNER_JOB)
RUNNER_RETRIES = declared(_RUNNER.retries, RUNNER_JOB)
RUNNER_ERRORS = declared(_RUNNER.errors, RUNNER_JOB)

_COMPARATOR: Final = ComparatorMetrics(CollectorRegistry(), ())

DIFFERENCES = declared(_COMPARATOR.differences, RUNNER_JOB)
ROW_DIFFERENCES = declared(_COMPARATOR.row_differences, RUNNER_JOB)
KNOWN_DIFFERENCES = declared(_COMPARATOR.known_differences, RUNNER_JOB)
EXPIRED_RULES = declared(_COMPARATOR.expired_rules, RUNNER_JOB)
CAUSES = declared(_COMPARATOR.causes, RUNNER_JOB)
UNDESCRIBED_TABLES = declared(_COMPARATOR.undescribed_tables, RUNNER_JOB)
LEFT_OUT_TABLES = declared(_COMPARATOR.left_out_tables, RUNNER_JOB)
COMPARE_SECONDS = declared(_COMPARATOR.compare_seconds, RUNNER_JOB)
RULES_RELOADS = declared(_COMPARATOR.rules_reloads, RUNNER_JOB)
RULES_LOADED = declared(_COMPARATOR.rules_loaded, RUNNER_JOB)

_SCORER: Final = ScorerMetrics(CollectorRegistry())

SCORER_REQUESTS = declared(_SCORER.requests, CANDIDATE_JOB)
SCORER_SECONDS = declared(_SCORER.request_seconds, CANDIDATE_JOB)
SCORER_IN_PROGRESS = declared(_SCORER.requests_in_progress, CANDIDATE_JOB)
STAGE_SECONDS = declared(_SCORER.stage_seconds, CANDIDATE_JOB)
SCORINGS = declared(_SCORER.scorings, CANDIDATE_JOB)
ATTEMPTS_REPEATED = declared(_SCORER.attempts_repeated, CANDIDATE_JOB)
STAMPS_DROPPED = declared(_SCORER.stamps_dropped, CANDIDATE_JOB)
PROOFS_CHECKED = declared(_SCORER.proofs_checked, CANDIDATE_JOB)
PROOFS_CACHED = declared(_SCORER.proofs_cached, CANDIDATE_JOB)
VERIFICATION_SECONDS = declared(_SCORER.verification_seconds, CANDIDATE_JOB)
API_KEYS = declared(_SCORER.api_keys, CANDIDATE_JOB)
RATE_LIMITS = declared(_SCORER.rate_limits, CANDIDATE_JOB)
CACHE_READS = declared(_SCORER.cache_reads, CANDIDATE_JOB)
CACHE_WRITES_FAILED = declared(_SCORER.cache_writes_failed, CANDIDATE_JOB)
UPSTREAM_SECONDS = declared(_SCORER.upstream_seconds, CANDIDATE_JOB)
UPSTREAM_FAILURES = declared(_SCORER.upstream_failures, CANDIDATE_JOB)
ANALYTICS_ROWS = declared(_SCORER.analytics_rows, CANDIDATE_JOB)


def _process(name: str, kind: str, job: str) -> Metric:
    """Describe a metric of prometheus_client's ProcessCollector, which exports them on Linux only."""
    return Metric(name, kind, frozenset(), job)


CANDIDATE_MEMORY = _process("process_resident_memory_bytes", "gauge", CANDIDATE_JOB)
CANDIDATE_CPU = _process("process_cpu_seconds_total", "counter", CANDIDATE_JOB)
CANDIDATE_FILES = _process("process_open_fds", "gauge", CANDIDATE_JOB)
RUNNER_MEMORY = _process("process_resident_memory_bytes", "gauge", RUNNER_JOB)
RUNNER_CPU = _process("process_cpu_seconds_total", "counter", RUNNER_JOB)
PROXY_MEMORY = _process("process_resident_memory_bytes", "gauge", PROXY_JOB)
PROXY_CPU = _process("process_cpu_seconds_total", "counter", PROXY_JOB)
PROXY_FILES = _process("process_open_fds", "gauge", PROXY_JOB)
CANDIDATE_STARTED = _process("process_start_time_seconds", "gauge", CANDIDATE_JOB)
RUNNER_STARTED = _process("process_start_time_seconds", "gauge", RUNNER_JOB)
PROXY_STARTED = _process("process_start_time_seconds", "gauge", PROXY_JOB)


def up(job: str) -> Metric:
    """Return the metric that Prometheus itself writes for each target of a job: 1 if the scrape succeeded, else 0."""
    return Metric("up", "gauge", frozenset(), job)


ALL_METRICS: Final = frozenset(value for value in tuple(globals().values()) if isinstance(value, Metric))
"""Every metric of this module."""
