import pytest

from proxy.accounting import Accounting, accounting_of, by_label, parse, quantile_s, reading_of, total

PROXY = """
shadow_served_total 20
shadow_journal_written_total 16
shadow_journal_queued 1
shadow_journal_dropped_total{cause="queue_full"} 2
shadow_skipped_total{cause="policy"} 1
shadow_request_duration_seconds_bucket{route="a",side="candidate",le="0.01"} 10
shadow_request_duration_seconds_bucket{route="a",side="candidate",le="0.1"} 20
shadow_request_duration_seconds_bucket{route="a",side="candidate",le="+Inf"} 20
"""
RUNNER = """
shadow_compared_total{route="a",verdict="match"} 7
shadow_compared_total{route="b",verdict="match"} 2
shadow_compared_total{route="a",verdict="mismatch"} 1
shadow_skipped_total{route="a",cause="overlapped"} 2
shadow_failed_total{route="a",cause="timeout"} 1
shadow_dropped_total{cause="journal"} 0
shadow_lag_seconds 1.5
"""


def test_exchanges_that_are_nowhere_yet_are_in_flight() -> None:
    accounting = accounting_of(parse(PROXY), parse(RUNNER))
    assert accounting.served == 20
    assert accounting.compared == {"match": 9, "mismatch": 1}
    assert accounting.skipped == {"overlapped": 2, "policy": 1}
    assert accounting.dropped == {"queue_full": 2}
    assert accounting.failed == {"timeout": 1}
    assert accounting.in_flight == 17 - 13
    assert accounting.balance == 0


def test_an_exchange_without_any_count_shows_in_the_balance() -> None:
    assert Accounting(served=3, compared={"match": 1}, in_flight=1).balance == 1


def test_sums_are_over_all_other_labels() -> None:
    samples = parse(RUNNER)
    assert total(samples, "shadow_compared_total") == 10
    assert by_label(samples, "shadow_compared_total", "route") == {"a": 8, "b": 2}


def test_a_metric_that_is_absent_counts_nothing() -> None:
    assert total({}, "shadow_served_total") == 0
    assert by_label({}, "shadow_served_total", "route") == {}


def test_reading_has_latencies_and_lag() -> None:
    reading = reading_of(parse(PROXY), parse(RUNNER))
    assert reading.served_ms == pytest.approx((10.0, 98.2))
    assert reading.lag_s == 1.5


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.25, 0.05), (0.5, 0.1), (0.75, 0.55), (1.0, 1.0)],
)
def test_quantile_is_interpolated_between_the_bounds(share: float, expected: float) -> None:
    assert quantile_s([(0.1, 10), (1.0, 20), (float("inf"), 20)], share) == pytest.approx(expected)


def test_quantile_beyond_the_last_bound_is_the_last_bound() -> None:
    assert quantile_s([(0.1, 1), (float("inf"), 2)], 0.99) == pytest.approx(0.1)


def test_quantile_of_nothing_is_zero() -> None:
    assert quantile_s([], 0.5) == 0.0
    assert quantile_s([(0.1, 0), (float("inf"), 0)], 0.5) == 0.0
