"""The drivers against a real server: what is committed comes out, whole, once and in order."""

import asyncio

import asyncpg
import pytest

from comparator.capture.settings import Driver
from comparator.changes import Op
from tests.support import captured

DRIVERS = [Driver.STREAM, Driver.SQL, Driver.TRIGGERS]


@pytest.fixture
async def published(database: str) -> str:
    await captured.prepare(database)
    await captured.install_log(database)
    return database


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_fence_covers_what_was_committed_before_it(published: str, driver: Driver) -> None:
    conn = await asyncpg.connect(published)
    async with captured.capturing(published, captured.settings(driver)) as (capture, collector):
        await conn.execute("INSERT INTO account (id, address, score) VALUES (7, '0xa', 1.5)")
        lsn = await capture.fence()
        (change,) = collector.changes
        (transaction,) = collector.transactions
        assert change.op is Op.INSERT
        assert change.after == {"id": "7", "address": "0xa", "score": "1.500000000"}
        assert transaction.end_lsn <= lsn
    await conn.close()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_fences_complete_under_many_committers(published: str, driver: Driver) -> None:
    pool = await asyncpg.create_pool(published, min_size=8, max_size=32)

    async def commit_and_fence(number: int) -> None:
        for turn in range(5):
            await pool.execute("INSERT INTO account (address) VALUES ($1)", f"{number}.{turn}")
            await capture.fence()
            assert f"{number}.{turn}" in {row["address"] for row in collector.rows("account")}

    async with captured.capturing(published, captured.settings(driver)) as (capture, collector):
        async with asyncio.TaskGroup() as group:
            for number in range(32):
                group.create_task(commit_and_fence(number), name=f"committer-{number}")
        assert len(collector.transactions) == 160
        ends = [transaction.end_lsn for transaction in collector.transactions]
        assert ends == sorted(set(ends))
    await pool.close()
