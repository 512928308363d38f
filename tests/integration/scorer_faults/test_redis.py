"""Redis goes away: requests pass, the failure is counted, and counting goes on when it is back."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.golden.serving import serving
from tests.integration.scorer_faults.world import World, address, environment, person, status
from tests.support.redis import RedisServer, running_redis

RECOVERY_S = 10.0


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Provide a Redis that a test may stop."""
    with running_redis() as server:
        yield server


@pytest.fixture
async def limited(quiet_world: World, redis_server: RedisServer) -> AsyncIterator[World]:
    """Run a scorer with limits in Redis; its key is limited to two requests an hour."""
    await quiet_world.settle([person(1)])
    await quiet_world.conn.execute("UPDATE account_accountapikey SET rate_limit = '2/h'")
    settings = environment(quiet_world.dsn, RATELIMIT_ENABLE="true", CELERY_BROKER_URL=redis_server.url)
    async with serving(settings, registry=quiet_world.registry) as port:
        quiet_world.port = port
        yield quiet_world


async def test_limit_holds_while_redis_is_there(limited: World):
    assert [status(await limited.score(address(1))) for _ in range(3)] == [200, 200, 429]


async def test_without_redis_requests_pass(limited: World, redis_server: RedisServer):
    redis_server.stop()
    assert [status(await limited.score(address(1))) for _ in range(4)] == [200] * 4


async def test_passing_without_redis_is_counted(limited: World, redis_server: RedisServer):
    redis_server.stop()
    await limited.score(address(1))
    assert limited.metric("scorer_rate_limits_total", group="registry", result="unavailable") == 1


async def test_redis_gone_in_the_middle_lets_requests_pass(limited: World, redis_server: RedisServer):
    statuses = [status(await limited.score(address(1))) for _ in range(3)]
    redis_server.stop()
    assert [*statuses, status(await limited.score(address(1)))] == [200, 200, 429, 200]


async def test_counting_goes_on_when_redis_is_back(limited: World, redis_server: RedisServer):
    redis_server.stop()
    await limited.score(address(1))
    redis_server.start()
    async with asyncio.timeout(RECOVERY_S):
        while status(await limited.score(address(1))) != 429:
            pass
    assert limited.metric("scorer_rate_limits_total", group="registry", result="limited") == 1


async def test_many_requests_at_once_do_not_pass_the_limit(limited: World):
    outcomes = await limited.score_all([address(1)] * 10)
    assert sorted(status(outcome) for outcome in outcomes) == [200] * 2 + [429] * 8


async def test_without_redis_readiness_still_answers(limited: World, redis_server: RedisServer):
    redis_server.stop()
    assert status(await limited.ask("GET", "/health/live")) == 200
