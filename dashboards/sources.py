"""The metrics that dashboards and rules may use, each taken from the module that declares it.

A metric is taken by the attribute or constant of its package, never by its text: a renamed metric renames every panel, a removed
one and a wrong label fail when this module or a dashboard is imported. Every selector names the job, because proxy and runner
both have a `shadow_in_flight` and a `shadow_skipped_total`, which count different things.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client import Metric as Family
from prometheus_client.metrics import MetricWrapperBase

from comparator.metrics import ComparatorMetrics
from dashboards.errors import UnknownLabelError, UnknownMetricError
from proxy.runner.metrics import RunnerMetrics
from proxy.serving import metrics as proxy
from scorer.metrics import Metrics as ScorerMetrics

PROXY_JOB: Final = "shadow-proxy"
RUNNER_JOB: Final = "shadow-runner"
CANDIDATE_JOB: Final = "shadow-candidate"
JOBS: Final = (PROXY_JOB, RUNNER_JOB, CANDIDATE_JOB)
"""Jobs of the scrape configuration."""

TARGET_LABELS: Final = frozenset({"job", "instance", "role"})
"""Labels that the scrape configuration adds; `role` tells the candidate's instances apart."""

_OPERATORS: Final = ("=~", "!~", "!=")
_SUFFIX: Final = {"counter": "_total"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one job.

    Attributes:
        name: as on the metrics page; of a histogram without `_bucket`.
        kind: counter, gauge or histogram.
        labels: those that its declaration gives it.
    """

    name: str
    kind: str
    labels: frozenset[str]
    job: str

    def of(self, **labels: str) -> str:
        """The selector of a counter or gauge. A value may begin with an operator: `status="=~5.."`."""
        if self.kind == "histogram":
            raise UnknownMetricError(f"{self.name} is a histogram: ask for its buckets or count")
        return self._select("", labels)

    def bucket(self, **labels: str) -> str:
        """The selector of a histogram's buckets."""
        return self._part("_bucket", labels)

    def count(self, **labels: str) -> str:
        """The selector of how often a histogram observed."""
        return self._part("_count", labels)

    def sum(self, **labels: str) -> str:
        """The selector of the sum of what a histogram observed."""
        return self._part("_sum", labels)

    def _part(self, part: str, labels: dict[str, str]) -> str:
        if self.kind != "histogram":
            raise UnknownMetricError(f"{self.name}{part}: {self.name} is a {self.kind}")
        return self._select(part, labels)

    def _select(self, part: str, labels: dict[str, str]) -> str:
        unknown = labels.keys() - self.labels - TARGET_LABELS
        if unknown:
            raise UnknownLabelError(f"{self.name} has no label {', '.join(sorted(unknown))}")
        matchers = ",".join(_matcher(name, value) for name, value in ({"job": self.job} | labels).items())
        return f"{self.name}{part}{{{matchers}}}"


def declared(metric: MetricWrapperBase, job: str) -> Metric:
    """A metric that a package declares with prometheus_client."""
    family = next(iter(metric.describe()))
    # The library has no public way to the label names of a metric without samples.
    labels = cast("tuple[str, ...]", vars(metric)["_labelnames"])
    return Metric(family.name + _SUFFIX.get(family.type, ""), family.type, frozenset(labels), job)


def _matcher(name: str, value: str) -> str:
    operator = next((o for o in _OPERATORS if value.startswith(o)), "")
    return f'{name}{operator or "="}"{value[len(operator) :]}"'


def _observed(families: Iterable[Family], job: str) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for family in families:
        name = family.name + _SUFFIX.get(family.type, "")
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        found[name] = Metric(name, family.type, labels, job)
    return found


def _proxy_families() -> Iterable[Family]:
    """Every family of the proxy. It makes them when asked, so each labelled one is given a sample to be seen with."""
    seen = proxy.ProxyMetrics()
    seen.observe("route", proxy.Side.CANDIDATE, 200, 0.0)
    seen.refused[400] += 1
    seen.gauges = proxy.Gauges(
        in_flight=lambda: 0,
        client_connections=lambda: 0,
        backend_connections=lambda: dict.fromkeys(proxy.Side, 0),
        candidate_share=lambda: 0.0,
        rolled_back=lambda: False,
        journal=proxy.WriterCounts,
        fit=lambda: dict.fromkeys(proxy.Side, (True, False)),
    )
    return seen.collect()


_PROXY: Final = _observed(_proxy_families(), PROXY_JOB)


def _of_proxy(name: str) -> Metric:
    if name not in _PROXY:
        raise UnknownMetricError(f"the proxy has no metric {name}")
    return _PROXY[name]


SERVED = _of_proxy(proxy.SERVED)
REQUESTS = _of_proxy(proxy.REQUESTS)
SERVED_SECONDS = _of_proxy(proxy.DURATION)
REFUSED = _of_proxy(proxy.REFUSED)
BACKEND_FAILURES = _of_proxy(proxy.BACKEND_FAILURES)
BACKEND_RETRIES = _of_proxy(proxy.RETRIES)
FALLBACKS = _of_proxy(proxy.FALLBACKS)
BACKEND_CHECKS = _of_proxy(proxy.BACKEND_CHECKS)
BACKEND_EJECTIONS = _of_proxy(proxy.BACKEND_EJECTIONS)
BACKEND_HEALTHY = _of_proxy(proxy.BACKEND_HEALTHY)
BACKEND_EJECTED = _of_proxy(proxy.BACKEND_EJECTED)
NOT_JOURNALED = _of_proxy(proxy.SKIPPED)
OVERLAPPED = _of_proxy(proxy.OVERLAPPED)
JOURNAL_WRITTEN = _of_proxy(proxy.JOURNAL_WRITTEN)
JOURNAL_BYTES = _of_proxy(proxy.JOURNAL_BYTES)
JOURNAL_DROPPED = _of_proxy(proxy.JOURNAL_DROPPED)
JOURNAL_QUEUED = _of_proxy(proxy.JOURNAL_QUEUED)
JOURNAL_UNREAD_DELETED = _of_proxy(proxy.JOURNAL_UNREAD_DELETED)
JOURNAL_TORN_BYTES = _of_proxy(proxy.JOURNAL_TORN_BYTES)
SERVING = _of_proxy(proxy.IN_FLIGHT)
CLIENT_CONNECTIONS = _of_proxy(proxy.CLIENT_CONNECTIONS)
BACKEND_CONNECTIONS = _of_proxy(proxy.BACKEND_CONNECTIONS)
HEADS = _of_proxy(proxy.HEADS)
CANDIDATE_SHARE = _of_proxy(proxy.CANDIDATE_SHARE)
ROLLED_BACK = _of_proxy(proxy.ROLLED_BACK)
WORKER_RESTARTS = _of_proxy(proxy.WORKER_RESTARTS)
WORKER_LOST_REQUESTS = _of_proxy(proxy.WORKER_LOST_REQUESTS)
WORKER_LOST_COPIES = _of_proxy(proxy.WORKER_LOST_COPIES)
CONFIG_RELOADS = _of_proxy(proxy.CONFIG_RELOADS)
CONFIG_LOADED = _of_proxy(proxy.CONFIG_LOADED)
CONFIG_NEEDS_RESTART = _of_proxy(proxy.CONFIG_NEEDS_RESTART)

_RUNNER: Final = RunnerMetrics(CollectorRegistry())

READ = declared(_RUNNER.read, RUNNER_JOB)
COMPARED = declared(_RUNNER.compared, RUNNER_JOB)
SKIPPED = declared(_RUNNER.skipped, RUNNER_JOB)
FAILED = declared(_RUNNER.failed, RUNNER_JOB)
DROPPED = declared(_RUNNER.dropped, RUNNER_JOB)
IN_FLIGHT = declared(_RUNNER.in_flight, RUNNER_JOB)
WAITING = declared(_RUNNER.waiting, RUNNER_JOB)
RESYNC_PENDING = declared(_RUNNER.resyncing, RUNNER_JOB)
LAG = declared(_RUNNER.lag, RUNNER_JOB)
EFFECTS = declared(_RUNNER.effects, RUNNER_JOB)
BACKGROUND = declared(_RUNNER.background, RUNNER_JOB)
STRAYS = declared(_RUNNER.strays, RUNNER_JOB)
ALIGNED_ROWS = declared(_RUNNER.aligned_rows, RUNNER_JOB)
DRIFTED_ROWS = declared(_RUNNER.drifted_rows, RUNNER_JOB)
RESYNCS = declared(_RUNNER.resyncs, RUNNER_JOB)
RESYNCED_ROWS = declared(_RUNNER.resynced_rows, RUNNER_JOB)
CONFIRMATIONS = declared(_RUNNER.confirmations, RUNNER_JOB)
MIRRORED_SECONDS = declared(_RUNNER.mirrored_seconds, RUNNER_JOB)
CAPTURED = declared(_RUNNER.captured, RUNNER_JOB)
CAPTURES_LOST = declared(_RUNNER.captures_lost, RUNNER_JOB)
RUNNER_RETRIES = declared(_RUNNER.retries, RUNNER_JOB)
RUNNER_ERRORS = declared(_RUNNER.errors, RUNNER_JOB)

_COMPARATOR: Final = ComparatorMetrics(CollectorRegistry(), ())

DIFFERENCES = declared(_COMPARATOR.differences, RUNNER_JOB)
ROW_DIFFERENCES = declared(_COMPARATOR.row_differences, RUNNER_JOB)
KNOWN_DIFFERENCES = declared(_COMPARATOR.known_differences, RUNNER_JOB)
EXPIRED_RULES = declared(_COMPARATOR.expired_rules, RUNNER_JOB)
UNDESCRIBED_TABLES = declared(_COMPARATOR.undescribed_tables, RUNNER_JOB)
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
    """A metric of prometheus_client's ProcessCollector, which shows them on Linux only."""
    return Metric(name, kind, frozenset(), job)


CANDIDATE_MEMORY = _process("process_resident_memory_bytes", "gauge", CANDIDATE_JOB)
CANDIDATE_CPU = _process("process_cpu_seconds_total", "counter", CANDIDATE_JOB)
CANDIDATE_FILES = _process("process_open_fds", "gauge", CANDIDATE_JOB)
RUNNER_MEMORY = _process("process_resident_memory_bytes", "gauge", RUNNER_JOB)
RUNNER_CPU = _process("process_cpu_seconds_total", "counter", RUNNER_JOB)
PROXY_MEMORY = _process("process_resident_memory_bytes", "gauge", PROXY_JOB)
PROXY_CPU = _process("process_cpu_seconds_total", "counter", PROXY_JOB)
PROXY_FILES = _process("process_open_fds", "gauge", PROXY_JOB)


def up(job: str) -> Metric:
    """Whether Prometheus reached a job's processes; Prometheus makes it itself."""
    return Metric("up", "gauge", frozenset(), job)


DECLARED: Final = frozenset(value for value in tuple(globals().values()) if isinstance(value, Metric))
"""Every metric above."""
