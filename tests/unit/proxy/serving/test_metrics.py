"""The counts of a proxy process."""

from comparator.exchanges.model import Side
from proxy.serving.metrics import ProxyMetrics


def test_requests_are_counted_by_side_since_the_traffic_split_changed() -> None:
    metrics = ProxyMetrics()
    for route, side, status in (("a", Side.LEGACY, 200), ("b", Side.LEGACY, 500), ("a", Side.CANDIDATE, 200)):
        metrics.observe(route, side, status, 0.001)
    assert metrics.served_under_split() == {Side.CANDIDATE: 1, Side.LEGACY: 2}
    metrics.start_split()
    assert metrics.served_under_split() == {Side.CANDIDATE: 0, Side.LEGACY: 0}
    metrics.observe("a", Side.CANDIDATE, 200, 0.001)
    assert metrics.served_under_split() == {Side.CANDIDATE: 1, Side.LEGACY: 0}
