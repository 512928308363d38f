"""The comparator's metrics. Labels come from closed sets: routes of the configuration, verdicts, causes, kinds.

A finding's path is no label: it would be unbounded. The store and the screens show it.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from comparator.exchange import Observation
from comparator.findings import Sighting
from comparator.verdict import Comparison

OTHER_ROUTE = "other"
"""Label of a route that the configuration does not name."""
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
COMPARE_BUCKETS = (0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0)


class ComparatorMetrics:
    """Declared once for each registry.

    Args:
        registry: where they are registered.
        routes: the configuration's route names; others are counted as OTHER_ROUTE.
    """

    def __init__(self, registry: CollectorRegistry, routes: Iterable[str]) -> None:
        self._routes = frozenset(routes)
        self.comparisons = Counter(
            "shadow_comparisons_total",
            "Comparisons by verdict and cause.",
            ("route", "side", "verdict", "cause"),
            registry=registry,
        )
        self.confirmations = Counter(
            "shadow_confirmations_total",
            "Second runs of mismatches by result: confirmed, transient, unconfirmed.",
            ("route", "result"),
            registry=registry,
        )
        self.differences = Counter(
            "shadow_differences_total",
            "Unexplained differences of mismatches by kind and severity, as the candidate against the legacy.",
            ("route", "kind", "severity"),
            registry=registry,
        )
        self.known_differences = Counter(
            "shadow_known_differences_total",
            "Differences that a declared known difference explains.",
            ("route",),
            registry=registry,
        )
        self.expired_rules = Counter(
            "shadow_expired_rules_total",
            "Places where a rule no longer hides a difference because its term is over.",
            ("route",),
            registry=registry,
        )
        self.uncompared_effects = Counter(
            "shadow_uncompared_effects_total",
            "Comparisons whose effects were not compared because a side's were not attributed.",
            ("route", "outcome"),
            registry=registry,
        )
        self.compare_seconds = Histogram(
            "shadow_compare_seconds",
            "CPU time of one comparison.",
            ("route",),
            buckets=COMPARE_BUCKETS,
            registry=registry,
        )
        self.side_seconds = Histogram(
            "shadow_side_seconds",
            "Duration of one request on one side.",
            ("route", "side", "role"),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.store_batches = Counter(
            "shadow_store_batches_total",
            "Batches given to the store by result: kept, unavailable.",
            ("result",),
            registry=registry,
        )
        self.config_reloads = Counter(
            "shadow_rules_reloads_total",
            "Reloads of the rules by result: taken, refused.",
            ("result",),
            registry=registry,
        )
        self.rules_loaded = Gauge(
            "shadow_rules_loaded_timestamp_seconds", "When the rules in force were loaded.", registry=registry
        )

    def route(self, name: str) -> str:
        """The label of a route."""
        return name if name in self._routes else OTHER_ROUTE

    def observe(
        self,
        route: str,
        comparison: Comparison,
        served: Observation,
        mirrored: Observation,
        *,
        sightings: Iterable[Sighting] = (),
        seconds: float = 0.0,
    ) -> None:
        """Count one comparison that took `seconds`."""
        label = self.route(route)
        self.comparisons.labels(label, comparison.served_by, comparison.verdict, comparison.cause).inc()
        self.compare_seconds.labels(label).observe(seconds)
        for observation in (served, mirrored):
            self.side_seconds.labels(label, observation.side, observation.role).observe(observation.duration_ns / 1e9)
        for sighting in sightings:
            signature = sighting.signature
            self.differences.labels(label, signature.kind, signature.severity).inc(sighting.count)
        if comparison.known:
            self.known_differences.labels(label).inc(len(comparison.known))
        if comparison.expired:
            self.expired_rules.labels(label).inc(len(comparison.expired))
        if comparison.effects_note:
            worst = next(o.effects.outcome for o in (served, mirrored) if o.effects.outcome != "attributed")
            self.uncompared_effects.labels(label, worst).inc()
