"""The rate limit of the control port."""

from proxy.admin.throttle import WAIT_MAX_S, RateLimiter


def waits(limiter: RateLimiter, times: list[float], cost: int = 1) -> list[float]:
    return [round(limiter.wait_s(at, cost), 3) for at in times]


def test_requests_beyond_the_burst_wait() -> None:
    assert waits(RateLimiter(10, 2), [0.0] * 6) == [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]


def test_idle_time_restores_one_burst() -> None:
    limiter = RateLimiter(10, 2)
    waits(limiter, [0.0] * 6)
    assert waits(limiter, [60.0] * 4) == [0.0, 0.0, 0.0, 0.1]


def test_request_that_would_wait_too_long_takes_no_token() -> None:
    limiter = RateLimiter(1, 1)
    waits(limiter, [0.0] * 4)
    assert waits(limiter, [0.0] * 3) == [3.0, 3.0, 3.0]
    assert waits(limiter, [3.0 - WAIT_MAX_S]) == [WAIT_MAX_S]


def test_expensive_request_takes_more_tokens() -> None:
    assert waits(RateLimiter(10, 5), [0.0] * 4, cost=5) == [0.0, 0.0, 0.5, 1.0]
