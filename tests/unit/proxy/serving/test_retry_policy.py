"""Requests that are sent once more."""

from dataclasses import replace

import pytest

from proxy.serving.retry_policy import LostResponse, RetryDecision, retry_decision

STALE = LostResponse(replayable=True, safe=True, stale=True, in_time=True, retried=False, fell_back=False)
FAILED = replace(STALE, stale=False)


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (STALE, RetryDecision.SAME_SIDE),
        (replace(STALE, retried=True), RetryDecision.OTHER_SIDE),
        (FAILED, RetryDecision.OTHER_SIDE),
        (replace(FAILED, fell_back=True), None),
        (replace(FAILED, in_time=False), None),
        (replace(STALE, safe=False), None),
        (replace(STALE, replayable=False), None),
    ],
)
def test_decision_with_retries_and_fall_back(lost: LostResponse, expected: RetryDecision | None) -> None:
    assert retry_decision(lost, retries=True, fall_back=True) is expected


@pytest.mark.parametrize("lost", [replace(STALE, retried=True), FAILED])
def test_other_side_needs_fall_back(lost: LostResponse) -> None:
    assert retry_decision(lost, retries=True, fall_back=False) is None


def test_same_side_needs_retries() -> None:
    assert retry_decision(STALE, retries=False, fall_back=False) is None
