"""Rate limits over HTTP: shared with the legacy, alone, and while the store is away."""

from datetime import UTC, datetime

import pytest

from scorer.domain.rate_limit import Rate, RateGroup, window_of
from scorer.settings import RateLimitSettings
from tests.support import scoring

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LISTING = f"/v2/stamps/{scoring.address(1)}"


@pytest.fixture
async def limited(world):
    await world.conn.execute("UPDATE account_accountapikey SET rate_limit = '2/15m'")


async def statuses(client, count: int) -> list[int]:
    found = []
    for _ in range(count):
        async with client.get(LISTING, headers=scoring.headers()) as response:
            found.append(response.status)
    return found


@pytest.fixture
def settings(migrated, redis_server):
    patient = RateLimitSettings(store_timeout_s=10)
    return scoring.settings(migrated, rate_limits=True, redis_url=redis_server.url, limits=patient)


async def test_request_beyond_the_limit_is_refused(limited, serve, settings):
    assert await statuses(await serve(settings, clock=lambda: NOW), 3) == [200, 200, 429]


async def test_two_processes_share_one_allowance(limited, serve, settings):
    one, other = await serve(settings, clock=lambda: NOW), await serve(settings, clock=lambda: NOW)
    assert await statuses(one, 2) + await statuses(other, 1) == [200, 200, 429]


async def test_requests_counted_by_the_legacy_count(limited, serve, settings, redis_client):
    window = window_of(Rate(2, 900), RateGroup.REGISTRY, client="testKey1", now=int(NOW.timestamp()))
    redis_client.set(window.key, 2, ex=window.ttl_s)
    assert await statuses(await serve(settings, clock=lambda: NOW), 1) == [429]


async def test_next_window_starts_at_zero(limited, serve, settings):
    now = [NOW]
    client = await serve(settings, clock=lambda: now[0])
    before = await statuses(client, 3)
    now[0] = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    assert (before, await statuses(client, 1)) == ([200, 200, 429], [200])


async def test_without_the_store_requests_pass(limited, serve, settings, redis_server):
    client = await serve(settings, clock=lambda: NOW)
    redis_server.stop()
    assert await statuses(client, 3) == [200, 200, 200]


async def test_without_a_store_url_this_process_counts(limited, serve, migrated):
    client = await serve(scoring.settings(migrated, rate_limits=True), clock=lambda: NOW)
    assert await statuses(client, 3) == [200, 200, 429]


async def test_process_that_counts_alone_says_so(limited, serve, migrated, caplog):
    await serve(scoring.settings(migrated, rate_limits=True), clock=lambda: NOW)
    assert "rate_limits_counted_in_process" in [record.message for record in caplog.records]


async def test_limits_that_are_off_refuse_nothing(limited, serve, migrated):
    assert await statuses(await serve(scoring.settings(migrated)), 3) == [200, 200, 200]


async def test_rate_that_cannot_be_read_is_the_plain_error_page(world, serve, settings):
    await world.conn.execute("UPDATE account_accountapikey SET rate_limit = 'many'")
    assert await statuses(await serve(settings), 1) == [500]
