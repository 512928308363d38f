"""Limits of the mirroring rate."""

from proxy.config.mirroring import MirroringSettings
from proxy.serving.mirror_rate_limits import MirrorRateLimits


def limits(
    routes: dict[str, float], *, workers: int = 1, per_s_max: float = 0.0, burst_s: float = 1.0
) -> MirrorRateLimits:
    return MirrorRateLimits(MirroringSettings(per_s_max=per_s_max, burst_s=burst_s), routes, workers=workers, now=0.0)


def passed(of: MirrorRateLimits, route: str, times: list[float]) -> int:
    return [of.exceeded(route, at) for at in times].count(False)


def test_no_limit_limits_nothing() -> None:
    assert not limits({"a": 0.0}).limiting


def test_limit_of_a_route_does_not_limit_others() -> None:
    limited = limits({"a": 2.0, "b": 0.0})
    assert (passed(limited, "a", [0.0] * 5), passed(limited, "b", [0.0] * 5)) == (2, 5)


def test_bucket_refills_up_to_its_size() -> None:
    limited = limits({"a": 2.0})
    assert [passed(limited, "a", [at] * 5) for at in (0.0, 0.5, 60.0)] == [2, 1, 2]


def test_all_routes_share_the_common_limit() -> None:
    limited = limits({}, per_s_max=3.0)
    assert passed(limited, "a", [0.0] * 2) + passed(limited, "b", [0.0] * 2) == 3


def test_refusal_by_the_common_limit_takes_no_token_of_the_route() -> None:
    limited = limits({"a": 1.0}, per_s_max=1.0)
    assert passed(limited, "b", [0.0]) == 1
    assert passed(limited, "a", [0.0, 1.0]) == 1


def test_workers_share_the_limits() -> None:
    assert passed(limits({"a": 8.0}, workers=4), "a", [0.0] * 9) == 2


def test_limit_below_one_per_second_still_lets_one_through() -> None:
    assert passed(limits({"a": 0.01}), "a", [0.0, 1.0, 100.1]) == 2


def test_clock_that_goes_back_adds_no_tokens() -> None:
    assert passed(limits({"a": 1.0}), "a", [5.0, 1.0, 2.0]) == 1
