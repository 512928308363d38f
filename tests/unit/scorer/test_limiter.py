from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from scorer.db.api_keys import ApiKey
from scorer.domain.rate_limit import Window
from scorer.errors import RateLimitedError, SharedStoreUnavailableError
from scorer.limiter import KeyRateLimiter, LocalCounters, NoLimits
from scorer.metrics import Metrics


def key(rate: str | None) -> ApiKey:
    return ApiKey("id", "prefix", 1, False, "", "", rate, "1/h", None, False)


def limiter(counters: LocalCounters) -> KeyRateLimiter:
    return KeyRateLimiter(counters, Metrics(CollectorRegistry()), clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


async def test_analysis_has_a_limit_of_its_own():
    limits = limiter(LocalCounters())
    await limits.count(key("5/h"), group="analysis")
    with pytest.raises(RateLimitedError):
        await limits.count(key("5/h"), group="analysis")
    await limits.count(key("5/h"), group="registry")


@pytest.mark.parametrize("rate", ["", None])
async def test_absent_rate_means_unlimited(rate: str | None):
    limits = limiter(LocalCounters(counters_max=0))
    await limits.count(key(rate), group="registry")
    assert limits._counters._counters == {}  # pyright: ignore[reportAttributeAccessIssue]


async def test_limit_of_none_refuses_all():
    with pytest.raises(RateLimitedError):
        await limiter(LocalCounters()).count(key("0/h"), group="registry")


async def test_without_room_a_request_passes():
    limits = limiter(LocalCounters(counters_max=0))
    await limits.count(key("0/h"), group="registry")


async def test_without_room_nothing_is_counted():
    with pytest.raises(SharedStoreUnavailableError):
        await LocalCounters(counters_max=0).add(Window("k", 60))


async def test_room_comes_from_windows_that_ended():
    now = [0.0]
    counters = LocalCounters(counters_max=1, monotonic=lambda: now[0])
    await counters.add(Window("old", 60))
    now[0] = 61.0
    assert await counters.add(Window("new", 60)) == 1


async def test_limits_that_are_off_count_nothing():
    assert await NoLimits().count(key("0/h"), group="registry") is None
