import pytest
from prometheus_client import CollectorRegistry

from scorer.caches import CacheName, MemoryCache
from scorer.metrics import Metrics


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def cache(now: list[float]) -> MemoryCache:
    return MemoryCache(Metrics(CollectorRegistry()), entries_max=2, monotonic=lambda: now[0])


async def test_value_comes_back_until_its_time_is_over(cache: MemoryCache, now: list[float]):
    await cache.put(CacheName.WEIGHTS, "1", {})
    now[0] = 59.9
    before = await cache.get(CacheName.WEIGHTS, "1")
    now[0] = 60.0
    assert (before, await cache.get(CacheName.WEIGHTS, "1")) == ({}, None)


async def test_kinds_do_not_share_values(cache: MemoryCache):
    await cache.put(CacheName.WEIGHTS, "1", {})
    assert await cache.get(CacheName.METADATA, "1") is None


async def test_value_unused_for_longest_makes_room(cache: MemoryCache):
    await cache.put(CacheName.WEIGHTS, "1", "one")
    await cache.put(CacheName.WEIGHTS, "2", "two")
    await cache.get(CacheName.WEIGHTS, "1")
    await cache.put(CacheName.WEIGHTS, "3", "three")
    assert [await cache.get(CacheName.WEIGHTS, key) for key in "123"] == ["one", None, "three"]


async def test_clearing_forgets(cache: MemoryCache):
    await cache.put(CacheName.WEIGHTS, "1", "one")
    cache.clear()
    assert await cache.get(CacheName.WEIGHTS, "1") is None
