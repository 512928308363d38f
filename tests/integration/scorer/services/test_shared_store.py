"""Counters and caches in a real Redis, and without one."""

import asyncio

import pytest

from scorer.caches import CacheName, SharedCache
from scorer.errors import SharedStoreUnavailableError
from scorer.shared_store import SharedStore


@pytest.fixture
async def store(redis_server):
    opened = SharedStore(redis_server.url, timeout_s=10)
    yield opened
    await opened.close()


async def test_counter_counts_from_one(store):
    assert [await store.count("k", ttl_s=60) for _ in range(3)] == [1, 2, 3]


async def test_first_count_sets_the_life_of_a_counter(store, redis_client):
    await store.count("k", ttl_s=60)
    redis_client.expire("k", 7)
    await store.count("k", ttl_s=60)
    assert redis_client.ttl("k") <= 7


async def test_counter_of_the_legacy_is_counted_on(store, redis_client):
    redis_client.set("k", 41, ex=60)
    assert await store.count("k", ttl_s=60) == 42


async def test_counts_at_once_are_all_different(store):
    counts = await asyncio.gather(*(store.count("k", ttl_s=60) for _ in range(50)))
    assert sorted(counts) == list(range(1, 51))


async def test_unavailable_store_raises(store, redis_server):
    redis_server.stop()
    with pytest.raises(SharedStoreUnavailableError):
        await store.count("k", ttl_s=60)


async def test_failed_store_is_not_called_during_the_pause(redis_server):
    now = [0.0]
    store = SharedStore(redis_server.url, timeout_s=10, retry_after_s=1.0, monotonic=lambda: now[0])
    redis_server.stop()
    with pytest.raises(SharedStoreUnavailableError):
        await store.ping()
    redis_server.start()
    with pytest.raises(SharedStoreUnavailableError, match="failed a moment ago"):
        await store.ping()
    await store.close()


async def test_store_that_is_back_is_used_again(redis_server):
    now = [0.0]
    store = SharedStore(redis_server.url, timeout_s=10, retry_after_s=1.0, monotonic=lambda: now[0])
    redis_server.stop()
    with pytest.raises(SharedStoreUnavailableError):
        await store.ping()
    redis_server.start()
    now[0] = 1.5
    assert await store.count("k", ttl_s=60) == 1
    await store.close()


async def test_store_that_hangs_costs_one_timeout():
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = SharedStore(f"redis://127.0.0.1:{port}", timeout_s=0.05)
    async with asyncio.timeout(60):
        with pytest.raises(SharedStoreUnavailableError):
            await store.ping()
    await store.close()
    server.close()


async def test_valkey_url_names_the_same_server(redis_server):
    store = SharedStore(redis_server.url.replace("redis://", "valkey://"), timeout_s=10)
    await store.ping()
    await store.close()


async def test_closing_twice_is_fine(store):
    await store.ping()
    await store.close()
    await store.close()


async def test_cached_value_comes_back(store, metrics):
    cache = SharedCache(store, metrics)
    await cache.put(CacheName.WEIGHTS, "1", {"Google": 1.5})
    assert await cache.get(CacheName.WEIGHTS, "1") == {"Google": 1.5}


async def test_weights_are_kept_for_a_minute(store, metrics, redis_client):
    await SharedCache(store, metrics).put(CacheName.WEIGHTS, "1", {})
    assert 55 <= redis_client.ttl("scorer:cache:weights:1") <= 60


async def test_unreadable_entry_is_a_miss(store, metrics, redis_client):
    redis_client.set("scorer:cache:weights:1", b"\x80\x04not json")
    assert await SharedCache(store, metrics).get(CacheName.WEIGHTS, "1") is None


async def test_unavailable_store_is_a_counted_miss(store, metrics, redis_server):
    redis_server.stop()
    cache = SharedCache(store, metrics)
    await cache.put(CacheName.WEIGHTS, "1", {})
    assert await cache.get(CacheName.WEIGHTS, "1") is None
    assert (
        metrics.registry.get_sample_value("scorer_cache_reads_total", {"cache": "weights", "result": "unavailable"})
        == 1
    )
