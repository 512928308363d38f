"""Every metric of the scorer, declared once; unit last, labels from closed sets only."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scorer.tracing import NoTracing, Tracing

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The scorer's metrics in one registry, which is passed in so that two apps in one process do not collide."""

    def __init__(self, registry: CollectorRegistry, tracing: Tracing | None = None) -> None:
        self.registry = registry
        self._tracing = tracing or NoTracing()
        self.requests = Counter("scorer_requests_total", "Responses sent.", ("route", "status"), registry=registry)
        self.request_seconds = Histogram(
            "scorer_request_seconds", "Time from request to response.", ("route",), buckets=_SECONDS, registry=registry
        )
        self.requests_in_progress = Gauge(
            "scorer_requests_in_progress", "Requests admitted and not yet answered.", registry=registry
        )
        self.stage_seconds = Histogram(
            "scorer_stage_seconds",
            "Duration of one stage of the scoring pipeline (auth, config, lock, stamps, verify, links, points, save, commit).",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.scorings = Counter(
            "scorer_scorings_total",
            "Scorings by outcome (passed, not_passed, error).",
            ("outcome",),
            registry=registry,
        )
        self.attempts_repeated = Counter(
            "scorer_attempts_repeated_total",
            "Transactions retried, by cause (links, deadlock, serialization, connection).",
            ("cause",),
            registry=registry,
        )
        self.stamps_dropped = Counter(
            "scorer_stamps_dropped_total",
            "Stamps left out of a score, by cause (type, issuer, expired, subject, proof, clash).",
            ("cause",),
            registry=registry,
        )
        self.proofs_checked = Counter(
            "scorer_proofs_checked_total", "Proof cache look-ups by result (hit, miss).", ("result",), registry=registry
        )
        self.proofs_cached = Gauge("scorer_proofs_cached", "Verification results held in memory.", registry=registry)
        self.verification_seconds = Histogram(
            "scorer_verification_seconds", "Duration of one proof verification.", buckets=_SECONDS, registry=registry
        )
        self.api_keys = Counter(
            "scorer_api_keys_total",
            "API key checks by result (fast, migrated, refused).",
            ("result",),
            registry=registry,
        )
        self.rate_limits = Counter(
            "scorer_rate_limits_total",
            "Requests by rate limit result (passed, limited, unavailable: not counted, so the request passed).",
            ("group", "result"),
            registry=registry,
        )
        self.cache_reads = Counter(
            "scorer_cache_reads_total",
            "Cache look-ups by result (hit, miss, unavailable).",
            ("cache", "result"),
            registry=registry,
        )
        self.cache_writes_failed = Counter(
            "scorer_cache_writes_failed_total", "Failed writes to the shared cache.", ("cache",), registry=registry
        )
        self.upstream_seconds = Histogram(
            "scorer_upstream_seconds",
            "Duration of one request to an upstream service (metadata, model).",
            ("upstream",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.upstream_failures = Counter(
            "scorer_upstream_failures_total",
            "Failed requests to an upstream service (metadata, model, wallet).",
            ("upstream",),
            registry=registry,
        )
        self.analytics_rows = Counter(
            "scorer_analytics_rows_total",
            "Analytics rows by result (written, dropped_full: queue full, dropped_failed: refused by the database).",
            ("result",),
            registry=registry,
        )

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Time one stage of the scoring pipeline, and trace it if tracing is on."""
        timer = self.stage_seconds.labels(name).time()
        return timer if isinstance(self._tracing, NoTracing) else _both(timer, self._tracing.stage(name))


@contextmanager
def _both(timer: AbstractContextManager[object], span: AbstractContextManager[object]) -> Generator[None, None, None]:
    with timer, span:
        yield
