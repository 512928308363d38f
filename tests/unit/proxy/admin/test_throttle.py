"""Whoever floods the admin port waits; whoever asks now and then does not."""

from proxy.admin.throttle import WAIT_MAX_S, RateLimiter


def waits(turns: RateLimiter, times: list[float], cost: int = 1) -> list[float]:
    return [round(turns.wait_s(at, cost), 3) for at in times]


def test_a_burst_passes_and_the_rest_waits_its_turn() -> None:
    assert waits(RateLimiter(10, 2), [0.0] * 6) == [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]


def test_quiet_time_brings_a_burst_back_and_no_more() -> None:
    turns = RateLimiter(10, 2)
    waits(turns, [0.0] * 6)
    assert waits(turns, [60.0] * 4) == [0.0, 0.0, 0.0, 0.1]


def test_who_would_wait_too_long_takes_no_turn() -> None:
    turns = RateLimiter(1, 1)
    waits(turns, [0.0] * 4)
    assert waits(turns, [0.0] * 3) == [3.0, 3.0, 3.0]
    assert waits(turns, [3.0 - WAIT_MAX_S]) == [WAIT_MAX_S]


def test_what_costs_more_takes_more_turns() -> None:
    assert waits(RateLimiter(10, 5), [0.0] * 4, cost=5) == [0.0, 0.0, 0.5, 1.0]
