"""The comparator's metrics. Labels come from closed sets: routes of the configuration, kinds, severities.

What each exchange ended as (compared, by verdict; failed; skipped) is counted by whoever runs the comparison; these say what
the comparisons found. A finding's path is no label: it would be unbounded. The store and the screens show it.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from comparator.findings.clustering import Occurrence
from comparator.verdict import Comparison

OTHER_ROUTE: Final = "other"
"""Label of a route that the configuration does not name."""
OTHER_TABLE: Final = "other"
"""Label of a table that the configuration does not describe."""
COMPARE_BUCKETS: Final = (0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0)


class ComparatorMetrics:
    """Declared once for each registry.

    Args:
        registry: where they are registered.
        routes: the configuration's route names; others are counted as OTHER_ROUTE.
        tables: the tables that the configuration describes; others are counted as OTHER_TABLE.
    """

    def __init__(self, registry: CollectorRegistry, routes: Iterable[str], tables: Iterable[str] = ()) -> None:
        self._routes = frozenset(routes)
        self._tables = frozenset(tables)
        self.differences = Counter(
            "shadow_differences_total",
            "Unexplained differences of mismatches by kind and severity, as the candidate against the legacy.",
            ("route", "kind", "severity"),
            registry=registry,
        )
        self.row_differences = Counter(
            "shadow_row_differences_total",
            "Those of the differences that are in committed rows, by table.",
            ("table", "kind"),
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
        self.undescribed_tables = Counter(
            "shadow_undescribed_tables_total",
            "Changed tables that the configuration does not describe, each once for a comparison.",
            ("route",),
            registry=registry,
        )
        self.compare_seconds = Histogram(
            "shadow_compare_seconds",
            "Time one comparison took.",
            ("route",),
            buckets=COMPARE_BUCKETS,
            registry=registry,
        )
        self.rules_reloads = Counter(
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

    def table(self, name: str) -> str:
        """The label of a table."""
        return name if name in self._tables else OTHER_TABLE

    def observe(
        self,
        route: str,
        comparison: Comparison,
        *,
        occurrences: Iterable[Occurrence] = (),
        seconds: float | None = None,
    ) -> None:
        """Count what one comparison found; it took `seconds`, None when nobody measured."""
        label = self.route(route)
        if seconds is not None:
            self.compare_seconds.labels(label).observe(seconds)
        for sighting in occurrences:
            signature = sighting.signature
            self.differences.labels(label, signature.kind, signature.severity).inc(sighting.count)
            if sighting.example.table:
                self.row_differences.labels(self.table(sighting.example.table), signature.kind).inc(sighting.count)
        if comparison.known:
            self.known_differences.labels(label).inc(len(comparison.known))
        if comparison.expired:
            self.expired_rules.labels(label).inc(len(comparison.expired))
        if comparison.undescribed:
            self.undescribed_tables.labels(label).inc(len(comparison.undescribed))
