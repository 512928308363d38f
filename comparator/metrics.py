"""Define the comparator's metrics. Labels come from closed sets: configured routes and tables, kinds, severities.

They count the differences in comparisons. The outcomes of exchanges (compared, by verdict; failed; skipped) are counted by the shadow runner.
The place of a finding is not a label, because it is unbounded; the store has it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from comparator.exchanges.comparison import Comparison
from comparator.findings.clustering import FindingState, Occurrence

OTHER_ROUTE: Final = "other"
"""Label of every route that is not configured."""
OTHER_TABLE: Final = "other"
"""Label of every table without a description in `compare.tables`."""
CAUSE_STATES: Final = (*FindingState, "provisional")
COMPARE_BUCKETS: Final = (0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0)


class ComparatorMetrics:
    """The comparator's metrics in one registry.

    Args:
        registry: registry of the metrics.
        routes: names of the configured routes; others are counted as OTHER_ROUTE.
        tables: names of the described tables; others are counted as OTHER_TABLE.
    """

    def __init__(self, registry: CollectorRegistry, routes: Iterable[str], tables: Iterable[str] = ()) -> None:
        self._routes = frozenset(routes)
        self._tables = frozenset(tables)
        self.differences = Counter(
            "shadow_differences_total",
            "Unexplained differences in mismatches, by kind and severity of the candidate relative to the legacy.",
            ("route", "kind", "severity"),
            registry=registry,
        )
        self.row_differences = Counter(
            "shadow_row_differences_total",
            "Unexplained differences in committed rows, by table and kind.",
            ("table", "kind"),
            registry=registry,
        )
        self.known_differences = Counter(
            "shadow_known_differences_total",
            "Differences that a declaration in compare.known_differences explains.",
            ("route",),
            registry=registry,
        )
        self.expired_rules = Counter(
            "shadow_expired_rules_total",
            "Places at which an expired rule no longer allows a difference.",
            ("route",),
            registry=registry,
        )
        self.undescribed_tables = Counter(
            "shadow_undescribed_tables_total",
            "Changed tables without a description in compare.tables, each counted once per comparison.",
            ("route",),
            registry=registry,
        )
        self.left_out_tables = Counter(
            "shadow_left_out_tables_total",
            "Comparisons from which a table was left out, because its rows may be of another request, by table and reason.",
            ("route", "table", "reason"),
            registry=registry,
        )
        self.compare_seconds = Histogram(
            "shadow_compare_seconds",
            "Duration of one comparison.",
            ("route",),
            buckets=COMPARE_BUCKETS,
            registry=registry,
        )
        self.causes = Gauge(
            "shadow_causes",
            "Causes that the store has mismatches of, by state; those of few exchanges are provisional.",
            ("state",),
            registry=registry,
        )
        self.rules_reloads = Counter(
            "shadow_rules_reloads_total",
            "Reloads of the comparison rules, by result: applied, refused.",
            ("result",),
            registry=registry,
        )
        self.rules_loaded = Gauge(
            "shadow_rules_loaded_timestamp_seconds", "Time at which the rules in force were loaded.", registry=registry
        )

    def route(self, name: str) -> str:
        """Return the label of a route."""
        return name if name in self._routes else OTHER_ROUTE

    def table(self, name: str) -> str:
        """Return the label of a table."""
        return name if name in self._tables else OTHER_TABLE

    def set_causes(self, by_state: Mapping[str, int]) -> None:
        """Set the numbers of causes; a state that is missing has none."""
        for state in CAUSE_STATES:
            self.causes.labels(state).set(by_state.get(state, 0))

    def observe(
        self,
        route: str,
        comparison: Comparison,
        *,
        occurrences: Iterable[Occurrence] = (),
        seconds: float | None = None,
    ) -> None:
        """Count one comparison.

        Args:
            route: name of the route.
            comparison: the comparison.
            occurrences: findings that occur in it.
            seconds: its duration, None if it was not measured.
        """
        label = self.route(route)
        if seconds is not None:
            self.compare_seconds.labels(label).observe(seconds)
        for occurrence in occurrences:
            signature = occurrence.signature
            self.differences.labels(label, signature.kind, signature.severity).inc(occurrence.count)
            if occurrence.example.table:
                self.row_differences.labels(self.table(occurrence.example.table), signature.kind).inc(occurrence.count)
        if comparison.known:
            self.known_differences.labels(label).inc(len(comparison.known))
        if comparison.expired:
            self.expired_rules.labels(label).inc(len(comparison.expired))
        for table, reason in comparison.left_out.items():
            self.left_out_tables.labels(label, self.table(table), reason.value).inc()
        if comparison.undescribed:
            self.undescribed_tables.labels(label).inc(len(comparison.undescribed))
