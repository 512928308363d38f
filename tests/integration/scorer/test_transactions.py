"""Retries of transactions, and their limits."""

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from scorer.db import pool
from scorer.db.pool import ATTEMPTS_MAX, RacedError
from scorer.metrics import Metrics
from scorer.settings import RateLimitSettings
from tests.support.scoring import address, headers

A = address(0xA)
SKIP_INSERTS = """
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER contested BEFORE INSERT ON registry_hashscorerlink FOR EACH ROW EXECUTE FUNCTION skip();
"""


@pytest.fixture
async def database(migrated):
    async with pool.opened(migrated, RateLimitSettings(), Metrics(CollectorRegistry()), emit_request_id=True) as opened:
        yield opened


def repeated(database, cause: str) -> float:
    return database._metrics.registry.get_sample_value("scorer_attempts_repeated_total", {"cause": cause}) or 0.0


class Work:
    """Inserts a row, then fails a given number of times."""

    def __init__(self, *failures: Exception | str) -> None:
        self.failures = list(failures)
        self.runs = 0

    async def __call__(self, conn) -> str:
        self.runs += 1
        await conn.execute("INSERT INTO scorer_weighted_scorer (type, exclude_from_weight_updates) VALUES ('x', false)")
        match self.failures.pop(0) if self.failures else None:
            case Exception() as error:
                raise error
            case str() as statement:
                await conn.execute(statement)
            case _:
                pass
        return "done"


async def rows(database) -> int:
    return await database.read(lambda conn: conn.fetchval("SELECT count(*) FROM scorer_weighted_scorer"))


async def test_lost_race_is_run_again_from_the_start(database):
    work = Work(RacedError(), asyncpg.DeadlockDetectedError("x"), asyncpg.SerializationError("x"))
    assert await database.transact(work) == "done"
    assert (work.runs, await rows(database)) == (4, 1)


async def test_race_lost_in_every_attempt_is_an_error_score(database):
    work = Work(*[RacedError()] * 9)
    with pytest.raises(RacedError):
        await database.transact(work)
    assert (work.runs, await rows(database)) == (ATTEMPTS_MAX, 0)


async def test_connection_lost_before_commit_is_replaced_once(database):
    work = Work("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await database.transact(work) == "done"
    assert (work.runs, await rows(database), repeated(database, "connection")) == (2, 1, 1)


async def test_connection_lost_twice_is_an_error(database):
    work = Work(*["SELECT pg_terminate_backend(pg_backend_pid())"] * 2)
    with pytest.raises(asyncpg.PostgresError):
        await database.transact(work)
    assert (work.runs, await rows(database)) == (2, 0)


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x")])
async def test_any_other_error_is_not_tried_again(database, error):
    work = Work(error)
    with pytest.raises(type(error), match="x"):
        await database.transact(work)
    assert (work.runs, await rows(database)) == (1, 0)


async def test_connection_is_given_back_whatever_happens(migrated):
    limits = RateLimitSettings(pool_max=1, acquire_timeout_s=5)
    async with pool.opened(migrated, limits, Metrics(CollectorRegistry()), emit_request_id=True) as database:
        for failure in (ValueError("x"), RacedError(), "SELECT pg_terminate_backend(pg_backend_pid())"):
            work = Work(*[failure] * 9)
            with pytest.raises((ValueError, RacedError, asyncpg.PostgresError)):
                await database.transact(work)
        assert await rows(database) == 0


async def test_address_that_loses_every_race_is_stored_as_failed(world, client):
    await world.stamp(A, "Github", ["v0:1"])
    await world.conn.execute(SKIP_INSERTS)
    async with client.get(f"/v2/stamps/1/score/{A}", headers=headers()) as response:
        body = await response.json()
    await world.conn.execute("DROP TRIGGER contested ON registry_hashscorerlink; DROP FUNCTION skip()")
    row = await world.conn.fetchrow("SELECT status, error FROM registry_score")
    assert (response.status, body["error"]) == (200, "Failed to save HashScorerLinks")
    assert (tuple(row), await world.count("registry_event")) == (("ERROR", "Failed to save HashScorerLinks"), 0)
