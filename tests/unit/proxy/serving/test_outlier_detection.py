"""When a backend is spared, for how long, and what brings it back."""

import pytest

from proxy.config.backends import HealthCheckSettings, OutlierDetection
from proxy.serving.outlier_detection import OutlierDetector

AT_ONCE = OutlierDetection(consecutive_failures=3, ejection_base_s=1, ejection_max_s=5)
BY_SHARE = OutlierDetection(consecutive_failures=0, failure_share=0.5, requests_min=10, window_s=10)


def failed_three_times(ejection: OutlierDetection = AT_ONCE) -> OutlierDetector:
    """Ejected at 0.0."""
    health = OutlierDetector(HealthCheckSettings(), ejection)
    health.evaluate(0.0, answered=0, failed=3)
    return health


def test_failures_in_a_row_eject() -> None:
    health = OutlierDetector(HealthCheckSettings(), AT_ONCE)
    health.evaluate(0.0, answered=0, failed=2)
    assert health.available
    health.evaluate(0.1, answered=0, failed=3)
    assert (health.available, health.ejected, health.ejections) == (False, True, 1)


def test_a_response_between_failures_breaks_the_row() -> None:
    health = OutlierDetector(HealthCheckSettings(), AT_ONCE)
    for at, (answered, failed) in enumerate([(0, 2), (1, 4), (2, 6), (3, 8)]):
        health.evaluate(at / 10, answered=answered, failed=failed)
    assert health.available


def test_a_share_of_failures_ejects_once_there_are_enough_requests() -> None:
    health = OutlierDetector(HealthCheckSettings(), BY_SHARE)
    health.evaluate(0.0, answered=4, failed=4)
    assert health.available
    health.evaluate(0.1, answered=5, failed=5)
    assert health.ejected


def test_failures_before_the_window_do_not_count() -> None:
    health = OutlierDetector(HealthCheckSettings(), BY_SHARE)
    health.evaluate(0.0, answered=9, failed=0)
    health.evaluate(1.0, answered=9, failed=8)
    health.evaluate(12.0, answered=9, failed=9)
    assert health.available


def test_counts_from_before_the_first_look_are_no_failures() -> None:
    health = OutlierDetector(HealthCheckSettings(), AT_ONCE)
    health.start_from(10, 100)
    health.evaluate(0.0, answered=10, failed=100)
    assert health.available


def test_no_request_probes_before_the_time_and_one_does_after_it() -> None:
    health = failed_three_times()
    assert [health.may_probe(at) for at in (0.5, 1.0, 1.1, 1.9, 2.1)] == [False, True, False, False, True]


def test_an_answered_probe_restores() -> None:
    health = failed_three_times()
    assert health.may_probe(1.0)
    health.evaluate(1.1, answered=1, failed=3)
    assert health.available


def test_a_backend_that_nobody_asks_any_more_is_not_ejected_for_ever() -> None:
    health = failed_three_times()
    health.evaluate(5.9, answered=0, failed=3)
    before = health.ejected
    health.evaluate(6.0, answered=0, failed=3)
    assert (before, health.ejected) == (True, False)


def test_a_probe_without_an_answer_yet_keeps_it_ejected() -> None:
    health = failed_three_times()
    assert health.may_probe(5.5)
    health.evaluate(11.0, answered=0, failed=3)
    assert health.ejected


def test_a_response_during_the_ejection_does_not_end_it() -> None:
    health = failed_three_times()
    health.evaluate(0.5, answered=1, failed=3)
    health.evaluate(1.1, answered=1, failed=3)
    assert health.ejected


def test_a_failed_probe_doubles_the_time_up_to_its_limit() -> None:
    health = failed_three_times()
    at, waited = 1.0, []
    for failed in range(4, 9):
        health.evaluate(at, answered=0, failed=failed)
        waited.append(health.retry_after_s(at))
        at += 5
    assert waited == [2, 4, 5, 5, 5]


def test_the_time_begins_anew_after_a_long_good_while() -> None:
    health = failed_three_times()
    health.evaluate(1.0, answered=0, failed=4)
    health.evaluate(3.0, answered=1, failed=4)
    health.evaluate(20.0, answered=1, failed=7)
    assert (health.ejections, health.retry_after_s(20.0)) == (3, 1)


def test_the_time_goes_on_growing_when_it_is_ejected_again_soon() -> None:
    health = failed_three_times()
    health.evaluate(1.0, answered=1, failed=3)
    health.evaluate(2.0, answered=1, failed=6)
    assert not health.may_probe(3.9)
    assert health.may_probe(4.0)


@pytest.mark.parametrize(
    ("checks", "unhealthy"),
    [
        ([False] * 2, False),
        ([False] * 3, True),
        ([False, False, True, False, False], False),
        ([False] * 3 + [True], True),
    ],
)
def test_checks_change_the_verdict_only_when_enough_agree(checks: list[bool], unhealthy: bool) -> None:
    health = OutlierDetector(HealthCheckSettings(path="/health", unhealthy_after=3, healthy_after=2), OutlierDetection())
    for well in checks:
        health.record_check(passed=well)
    assert (health.unhealthy, health.available, health.ejected) == (unhealthy, not unhealthy, False)


def test_enough_good_checks_make_it_healthy_again() -> None:
    health = OutlierDetector(HealthCheckSettings(path="/health", unhealthy_after=1, healthy_after=2), OutlierDetection())
    for well in (False, True, True):
        health.record_check(passed=well)
    assert health.available
