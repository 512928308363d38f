"""Ejection, probes and health checks of one backend."""

import pytest

from proxy.config.backends import HealthCheckSettings, OutlierDetection
from proxy.serving.outlier_detection import OutlierDetector

AT_ONCE = OutlierDetection(consecutive_failures=3, ejection_base_s=1, ejection_max_s=5)
BY_SHARE = OutlierDetection(consecutive_failures=0, failure_share=0.5, requests_min=10, window_s=10)


def failed_three_times(ejection: OutlierDetection = AT_ONCE) -> OutlierDetector:
    """Return the detector of a backend that was ejected at 0.0."""
    detector = OutlierDetector(HealthCheckSettings(), ejection)
    detector.evaluate(0.0, answered=0, failed=3)
    return detector


def test_consecutive_failures_eject() -> None:
    detector = OutlierDetector(HealthCheckSettings(), AT_ONCE)
    detector.evaluate(0.0, answered=0, failed=2)
    assert detector.available
    detector.evaluate(0.1, answered=0, failed=3)
    assert (detector.available, detector.ejected, detector.ejections) == (False, True, 1)


def test_response_between_failures_resets_the_count() -> None:
    detector = OutlierDetector(HealthCheckSettings(), AT_ONCE)
    for at, (answered, failed) in enumerate([(0, 2), (1, 4), (2, 6), (3, 8)]):
        detector.evaluate(at / 10, answered=answered, failed=failed)
    assert detector.available


def test_failure_share_ejects_after_enough_requests() -> None:
    detector = OutlierDetector(HealthCheckSettings(), BY_SHARE)
    detector.evaluate(0.0, answered=4, failed=4)
    assert detector.available
    detector.evaluate(0.1, answered=5, failed=5)
    assert detector.ejected


def test_failures_before_the_window_do_not_count() -> None:
    detector = OutlierDetector(HealthCheckSettings(), BY_SHARE)
    detector.evaluate(0.0, answered=9, failed=0)
    detector.evaluate(1.0, answered=9, failed=8)
    detector.evaluate(12.0, answered=9, failed=9)
    assert detector.available


def test_counts_before_the_start_are_ignored() -> None:
    detector = OutlierDetector(HealthCheckSettings(), AT_ONCE)
    detector.start_from(10, 100)
    detector.evaluate(0.0, answered=10, failed=100)
    assert detector.available


def test_one_request_probes_after_the_ejection() -> None:
    detector = failed_three_times()
    assert [detector.may_probe(at) for at in (0.5, 1.0, 1.1, 1.9, 2.1)] == [False, True, False, False, True]


def test_answered_probe_restores() -> None:
    detector = failed_three_times()
    assert detector.may_probe(1.0)
    detector.evaluate(1.1, answered=1, failed=3)
    assert detector.available


def test_backend_without_requests_is_restored() -> None:
    detector = failed_three_times()
    detector.evaluate(5.9, answered=0, failed=3)
    before = detector.ejected
    detector.evaluate(6.0, answered=0, failed=3)
    assert (before, detector.ejected) == (True, False)


def test_pending_probe_keeps_the_ejection() -> None:
    detector = failed_three_times()
    assert detector.may_probe(5.5)
    detector.evaluate(11.0, answered=0, failed=3)
    assert detector.ejected


def test_response_during_the_ejection_does_not_end_it() -> None:
    detector = failed_three_times()
    detector.evaluate(0.5, answered=1, failed=3)
    detector.evaluate(1.1, answered=1, failed=3)
    assert detector.ejected


def test_failed_probe_doubles_the_ejection_up_to_its_limit() -> None:
    detector = failed_three_times()
    at, waited = 1.0, []
    for failed in range(4, 9):
        detector.evaluate(at, answered=0, failed=failed)
        waited.append(detector.retry_after_s(at))
        at += 5
    assert waited == [2, 4, 5, 5, 5]


def test_ejection_is_short_again_after_a_long_healthy_time() -> None:
    detector = failed_three_times()
    detector.evaluate(1.0, answered=0, failed=4)
    detector.evaluate(3.0, answered=1, failed=4)
    detector.evaluate(20.0, answered=1, failed=7)
    assert (detector.ejections, detector.retry_after_s(20.0)) == (3, 1)


def test_ejection_keeps_growing_when_it_follows_soon() -> None:
    detector = failed_three_times()
    detector.evaluate(1.0, answered=1, failed=3)
    detector.evaluate(2.0, answered=1, failed=6)
    assert not detector.may_probe(3.9)
    assert detector.may_probe(4.0)


@pytest.mark.parametrize(
    ("checks", "unhealthy"),
    [
        ([False] * 2, False),
        ([False] * 3, True),
        ([False, False, True, False, False], False),
        ([False] * 3 + [True], True),
    ],
)
def test_verdict_changes_after_enough_checks_in_a_row(checks: list[bool], unhealthy: bool) -> None:
    detector = OutlierDetector(
        HealthCheckSettings(path="/health", unhealthy_after=3, healthy_after=2), OutlierDetection()
    )
    for passed in checks:
        detector.record_check(passed=passed)
    assert (detector.unhealthy, detector.available, detector.ejected) == (unhealthy, not unhealthy, False)


def test_passed_checks_make_it_healthy_again() -> None:
    detector = OutlierDetector(
        HealthCheckSettings(path="/health", unhealthy_after=1, healthy_after=2), OutlierDetection()
    )
    for passed in (False, True, True):
        detector.record_check(passed=passed)
    assert detector.available
