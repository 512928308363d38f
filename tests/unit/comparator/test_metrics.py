"""What comparisons found, as counts with closed labels."""

import pytest
from prometheus_client import CollectorRegistry

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import Side
from comparator.findings.clustering import Clusterer
from comparator.metrics import OTHER_TABLE, ComparatorMetrics


@pytest.mark.parametrize(
    ("table", "label"), [("registry_humanpoints", "registry_humanpoints"), ("made_up", OTHER_TABLE)]
)
def test_row_differences_are_counted_by_described_table(table: str, label: str) -> None:
    registry = CollectorRegistry()
    metrics = ComparatorMetrics(registry, ["v2_score"], ["registry_humanpoints"])
    difference = Difference(Kind.MISSING_ROW, (), {"action": "SCB"}, None, table=table)
    comparison = Comparison(Verdict.MISMATCH, VerdictCause.EFFECTS, Side.LEGACY, (difference,))

    metrics.observe("v2_score", comparison, occurrences=Clusterer().occurrences("v2_score", comparison))

    assert registry.get_sample_value("shadow_row_differences_total", {"table": label, "kind": "missing_row"}) == 1


def test_response_difference_is_not_a_row_difference() -> None:
    registry = CollectorRegistry()
    metrics = ComparatorMetrics(registry, ["v2_score"])
    comparison = Comparison(
        Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, (Difference(Kind.CHANGED, ("score",), 1, 2),)
    )

    metrics.observe("v2_score", comparison, occurrences=Clusterer().occurrences("v2_score", comparison))

    assert "shadow_row_differences_total" not in {s.name for f in registry.collect() for s in f.samples}
