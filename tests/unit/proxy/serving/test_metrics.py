"""The counts of a proxy process."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from comparator.exchanges.model import Side
from proxy.serving.metrics import DURATION, ProxyMetrics


def test_requests_are_counted_by_side_since_the_traffic_split_changed() -> None:
    metrics = ProxyMetrics()
    for route, side, status in (("a", Side.LEGACY, 200), ("b", Side.LEGACY, 500), ("a", Side.CANDIDATE, 200)):
        metrics.observe(route, side, status, 0.001)
    assert metrics.served_under_split() == {Side.CANDIDATE: 1, Side.LEGACY: 2}
    metrics.start_split()
    assert metrics.served_under_split() == {Side.CANDIDATE: 0, Side.LEGACY: 0}
    metrics.observe("a", Side.CANDIDATE, 200, 0.001)
    assert metrics.served_under_split() == {Side.CANDIDATE: 1, Side.LEGACY: 0}


@pytest.mark.parametrize(("seconds", "bound"), [(0.0004, "0.001"), (0.001, "0.001"), (0.3, "0.5"), (60.0, "+Inf")])
def test_exemplar_stands_at_the_bucket_of_its_duration(seconds: float, bound: str) -> None:
    metrics = ProxyMetrics()
    registry = CollectorRegistry()
    registry.register(metrics)
    for trace_id, ended_at in (("a" * 32, 1.5), ("b" * 32, 2.5)):
        metrics.observe("a", Side.LEGACY, 200, seconds)
        metrics.add_exemplar("a", Side.LEGACY, seconds, trace_id, ended_at)
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in text_string_to_metric_families(encode(registry).decode())}
    exemplars = {s.labels["le"]: s.exemplar for s in families[DURATION].samples if s.exemplar is not None}
    assert {
        le: (exemplar.labels, exemplar.value, float(exemplar.timestamp or 0)) for le, exemplar in exemplars.items()
    } == {bound: ({"trace_id": "b" * 32}, seconds, 2.5)}


def test_plain_text_has_no_exemplars() -> None:
    metrics = ProxyMetrics()
    registry = CollectorRegistry()
    registry.register(metrics)
    metrics.observe("a", Side.LEGACY, 200, 0.01)
    metrics.add_exemplar("a", Side.LEGACY, 0.01, "a" * 32, 1.5)
    encode, content_type = choose_encoder("text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert content_type.startswith("text/plain")
    assert b"trace_id" not in encode(registry)
