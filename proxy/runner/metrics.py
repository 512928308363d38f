"""What the shadow runner counts. Every exchange it reads ends in exactly one of compared, skipped, failed or dropped."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bucket bounds of the OpenTelemetry HTTP conventions."""


class RunnerMetrics:
    """The runner's metrics in one registry. Label values are closed sets: routes, sides, roles, and the names of enums."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.read = Counter("shadow_read_total", "Exchanges read from the journal.", registry=registry)
        self.compared = Counter(
            "shadow_compared_total", "Exchanges compared, by verdict.", ["route", "verdict"], registry=registry
        )
        self.skipped = Counter(
            "shadow_skipped_total",
            "Exchanges not mirrored or not compared, by cause.",
            ["route", "cause"],
            registry=registry,
        )
        self.failed = Counter(
            "shadow_failed_total",
            "Exchanges whose mirrored run failed, by cause.",
            ["route", "cause"],
            registry=registry,
        )
        self.dropped = Counter(
            "shadow_dropped_total",
            "Exchanges lost between journal and comparison, by cause.",
            ["cause"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "shadow_in_flight", "Exchanges in the journal that have no outcome yet.", registry=registry
        )
        self.waiting = Gauge(
            "shadow_waiting", "Mirrored runs and live changes that wait for the shadow.", registry=registry
        )
        self.resyncing = Gauge("shadow_resync_pending", "1 while whole tables have to be compared.", registry=registry)
        self.lag = Gauge("shadow_lag_seconds", "Age of the oldest exchange without an outcome.", registry=registry)
        self.effects = Counter(
            "shadow_effects_total",
            "Effect sets by role and by how sure their attribution is.",
            ["role", "outcome"],
            registry=registry,
        )
        self.background = Counter(
            "shadow_background_transactions_total", "Live transactions that belong to no exchange.", registry=registry
        )
        self.strays = Counter(
            "shadow_stray_transactions_total",
            "Shadow transactions that no mirrored request made; taken back.",
            registry=registry,
        )
        self.aligned_rows = Counter(
            "shadow_aligned_rows_total", "Rows of the shadow written to equal live.", registry=registry
        )
        self.drifted_rows = Counter(
            "shadow_drifted_rows_total", "Rows of the shadow that were not as they had to be.", registry=registry
        )
        self.resyncs = Counter(
            "shadow_resyncs_total", "Comparisons of whole tables, by reason.", ["reason"], registry=registry
        )
        self.resynced_rows = Counter("shadow_resynced_rows_total", "Rows that a resync had to mend.", registry=registry)
        self.confirmations = Counter(
            "shadow_confirmations_total", "Second runs of mismatches, by result.", ["result"], registry=registry
        )
        self.mirrored_seconds = Histogram(
            "shadow_mirrored_duration_seconds",
            "Duration of mirrored requests.",
            ["route", "side"],
            buckets=SECONDS,
            registry=registry,
        )
        self.captured = Counter(
            "shadow_captured_total",
            "Mismatching exchanges copied to the capture journal.",
            ["route"],
            registry=registry,
        )
        self.captures_lost = Gauge(
            "shadow_captures_lost",
            "Mismatching exchanges that could not be copied, since the start.",
            registry=registry,
        )
        self.retries = Counter(
            "shadow_retries_total", "Steps repeated because something did not answer.", ["what"], registry=registry
        )
        self.errors = Counter(
            "shadow_errors_total", "Errors the runner survived, by place.", ["place"], registry=registry
        )

    def watch(
        self,
        *,
        in_flight: Callable[[], float],
        lag_s: Callable[[], float],
        waiting: Callable[[], float],
        resync: Callable[[], float],
    ) -> None:
        """Compute the gauges when they are scraped."""
        self.waiting.set_function(waiting)
        self.resyncing.set_function(resync)
        self.in_flight.set_function(in_flight)
        self.lag.set_function(lag_s)

    @property
    def ended(self) -> float:
        """Exchanges that have their outcome, or were lost."""
        counters = (self.compared, self.skipped, self.failed, self.dropped)
        samples = [s for c in counters for metric in c.collect() for s in metric.samples]
        return sum(s.value for s in samples if s.name.endswith("_total"))
