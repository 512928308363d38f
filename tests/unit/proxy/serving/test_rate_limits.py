"""How much is mirrored at most."""

from proxy.config.mirroring import MirroringSettings
from proxy.serving.rate_limits import MirrorRateLimits


def rates(
    routes: dict[str, float], *, workers: int = 1, per_s_max: float = 0.0, burst_s: float = 1.0
) -> MirrorRateLimits:
    return MirrorRateLimits(MirroringSettings(per_s_max=per_s_max, burst_s=burst_s), routes, workers=workers, now=0.0)


def taken(of: MirrorRateLimits, route: str, times: list[float]) -> int:
    return [of.exceeded(route, at) for at in times].count(False)


def test_without_limits_nothing_limits() -> None:
    assert not rates({"a": 0.0}).limiting


def test_a_route_is_limited_and_others_are_not() -> None:
    limited = rates({"a": 2.0, "b": 0.0})
    assert (taken(limited, "a", [0.0] * 5), taken(limited, "b", [0.0] * 5)) == (2, 5)


def test_tokens_come_back_with_time_and_never_more_than_fit() -> None:
    limited = rates({"a": 2.0})
    assert [taken(limited, "a", [at] * 5) for at in (0.0, 0.5, 60.0)] == [2, 1, 2]


def test_all_routes_share_the_common_limit() -> None:
    limited = rates({}, per_s_max=3.0)
    assert taken(limited, "a", [0.0] * 2) + taken(limited, "b", [0.0] * 2) == 3


def test_what_the_common_limit_refuses_costs_the_route_nothing() -> None:
    limited = rates({"a": 1.0}, per_s_max=1.0)
    assert taken(limited, "b", [0.0]) == 1
    assert taken(limited, "a", [0.0, 1.0]) == 1


def test_workers_share_the_limits() -> None:
    assert taken(rates({"a": 8.0}, workers=4), "a", [0.0] * 9) == 2


def test_a_slow_limit_still_lets_one_through() -> None:
    assert taken(rates({"a": 0.01}), "a", [0.0, 1.0, 100.1]) == 2


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    assert taken(rates({"a": 1.0}), "a", [5.0, 1.0, 2.0]) == 1
