"""One runner of several holds the lease: the others wait, and nothing of a runner that lost it is stored."""

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from comparator.settings import StoreSettings
from comparator.store import journal_offsets
from comparator.store.ended import EndedAs, EndedBatch, EndedExchanges, ended_totals
from comparator.store.store import Store
from proxy.errors import LeaseLostError
from proxy.exception_groups import first_error
from proxy.journal.delivery import MergedPosition
from proxy.journal.driver import JournalEntry, JournalPosition, UnreadRange
from proxy.runner import lease as lease_module
from proxy.runner.checkpoint import CommitOnSave
from proxy.runner.lease import RunnerLease, holding
from proxy.runner.result_buffer import Outcome, ResultBuffer
from proxy.runner.skip_causes import RunnerSkip
from tests.support.exchanges import exchange
from tests.support.waiting import WAIT_S

RUNNER = "mirror"
EXPIRE = "UPDATE shadow.journal_reader SET held_until = clock_timestamp() - interval '1 second'"


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with Store(database, StoreSettings(timeout_s=20), random.Random(7)) as opened:
        yield opened


@pytest.fixture
async def other_store(database: str, store: Store) -> AsyncIterator[Store]:
    async with Store(database, StoreSettings(timeout_s=20), random.Random(8)) as opened:
        yield opened


async def taken(store: Store, name: str = RUNNER) -> RunnerLease:
    lease = RunnerLease(store, name)
    assert await lease.take() is None
    return lease


async def expire(store: Store) -> None:
    """Let the leases run out, as time does for a runner whose machine is gone."""
    async with store.connection() as conn:
        await conn.execute(EXPIRE)


def ended(*numbers: int) -> EndedBatch:
    return EndedBatch(RUNNER, [EndedExchanges("w0-1", n, n, EndedAs.SKIPPED, "slow") for n in numbers], {})


async def count(store: Store) -> int:
    async with store.connection() as conn:
        return sum(total.count for total in await ended_totals(conn, RUNNER))


async def test_second_runner_is_told_who_holds_the_lease(store: Store, other_store: Store) -> None:
    await taken(store)
    holder = await RunnerLease(other_store, RUNNER).take()
    assert holder
    assert (await taken(other_store, "another reader")).epoch == 1


async def test_released_lease_is_taken_at_once(store: Store, other_store: Store) -> None:
    first = await taken(store)
    waiting = RunnerLease(other_store, RUNNER)
    heard = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(waiting.wait(asyncio.Event(), lambda _: heard.set()), name="second")
        async with asyncio.timeout(WAIT_S):
            await heard.wait()
        await first.release()
        assert await second
    assert (waiting.epoch, waiting.taken_over) == (2, False)


async def test_expired_lease_is_taken_over(store: Store, other_store: Store) -> None:
    first = await taken(store)
    await first.store({"w0-1": 5}, lost=2, live_us=77)
    await expire(store)
    second = await taken(other_store)
    assert (second.epoch, second.taken_over) == (2, True)
    assert (dict(second.numbers), second.lost, second.live_us) == ({"w0-1": 5}, 2, 77)


async def test_runner_that_lost_its_lease_stores_nothing(store: Store, other_store: Store) -> None:
    first = await taken(store)
    store.fence = first.fence
    await store.add([], ended=ended(1))
    await expire(store)
    second = await taken(other_store)
    with pytest.raises(LeaseLostError):
        await store.add([], ended=ended(2))
    with pytest.raises(LeaseLostError):
        await first.store({"w0-1": 9}, lost=0, live_us=0)
    other_store.fence = second.fence
    await other_store.add([], ended=ended(2))
    assert await count(store) == 2
    async with store.connection() as conn:
        assert dict((await journal_offsets.load_offset(conn, RUNNER)).numbers) == {}


async def test_take_over_waits_for_the_transaction_that_is_being_stored(store: Store, other_store: Store) -> None:
    first = await taken(store)
    await expire(store)
    async with store.connection() as conn, asyncio.TaskGroup() as tasks:
        async with conn.transaction():
            await first.fence(conn)
            taking = tasks.create_task(RunnerLease(other_store, RUNNER).take(), name="take-over")
            async with other_store.connection() as observer, asyncio.timeout(WAIT_S):
                while not await observer.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
            assert not taking.done()
            await journal_offsets.store_offset(conn, RUNNER, journal_offsets.JournalOffset({"w0-1": 3}))
        assert await taking is None


async def test_position_is_stored_with_the_outcomes_or_not_at_all(store: Store, other_store: Store) -> None:
    lease = await taken(store)

    async def fail_once(conn) -> None:
        await lease.fence(conn)
        if not failed.is_set():
            failed.set()
            raise TimeoutError

    failed = asyncio.Event()
    store.fence = fail_once
    positions: list[int] = []

    async def save(batch, unread) -> None:
        del unread
        try:
            await store.add([], ended=ended(*(outcome.entry.number for outcome in batch)))
        finally:
            async with other_store.connection() as conn:
                positions.append((await journal_offsets.load_offset(conn, RUNNER)).numbers.get("w0-1", 0))

    def stage(position: JournalPosition) -> None:
        assert isinstance(position, MergedPosition)
        lease.stage(dict(position.sequences), lost=0)

    buffer = ResultBuffer(save, progress=CommitOnSave(lambda _: None, lambda: None, lambda _: None, stage))
    entries = [JournalEntry(MergedPosition((("w0-1", n),)), n, exchange(f"id-{n}"), None, "w0-1", n) for n in (1, 2, 3)]
    for entry in entries:
        buffer.begin(entry)
    await buffer.add(entries[0], None, RunnerSkip.SLOW)
    await buffer.add(entries[2], None, RunnerSkip.SLOW)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(WAIT_S):
        running = tasks.create_task(buffer.run(), name="buffer")
        while len(positions) < 2:
            await asyncio.sleep(0.01)
        await buffer.add(entries[1], None, RunnerSkip.SLOW)
        buffer.close()
        await running
    # (a failed transaction; then 1 and 3, up to 1; then 2, up to 3)
    assert positions == [0, 1, 3]
    assert await count(store) == 3


async def test_lost_lease_ends_the_saving(store: Store, other_store: Store) -> None:
    first = await taken(store)
    store.fence = first.fence
    await expire(store)
    await taken(other_store)

    async def save(batch: Sequence[Outcome], unread: Sequence[UnreadRange]) -> None:
        del unread
        await store.add([], ended=ended(*(outcome.entry.number for outcome in batch)))

    buffer = ResultBuffer(save, progress=CommitOnSave(lambda _: None, lambda: None, lambda _: None))
    entry = JournalEntry(MergedPosition((("w0-1", 1),)), 1, exchange(), None, "w0-1", 1)
    buffer.begin(entry)
    await buffer.add(entry, None, RunnerSkip.SLOW)
    with pytest.raises(LeaseLostError):
        await buffer.run()
    assert await count(store) == 0


async def test_block_ends_when_the_lease_is_lost(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.05)
    first = await taken(store)
    with pytest.raises(ExceptionGroup) as caught:
        async with holding(first):
            await expire(store)
            await taken(other_store)
            await asyncio.sleep(WAIT_S)
    assert isinstance(first_error(caught.value), LeaseLostError)


async def test_lease_that_cannot_be_renewed_is_given_up_before_another_runner_takes_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lease_module.GIVE_UP_S + lease_module.RENEW_S < lease_module.TTL_S
    assert lease_module.TTL_S + lease_module.POLL_S < 30
    monkeypatch.setattr(lease_module, "RENEW_S", 0.05)
    monkeypatch.setattr(lease_module, "GIVE_UP_S", 0.2)
    first = await taken(store)
    with pytest.raises(ExceptionGroup) as caught:
        async with holding(first):
            await store.aclose()
            await asyncio.sleep(WAIT_S)
    assert isinstance(first_error(caught.value), LeaseLostError)


async def test_lease_of_a_runner_that_failed_is_free_at_once_and_taken_over(store: Store, other_store: Store) -> None:
    with pytest.raises(ExceptionGroup):
        async with holding(await taken(store)):
            raise ValueError
    second = await taken(other_store)
    assert second.taken_over
    async with holding(second):
        pass
    assert not (await taken(store)).taken_over


async def test_renewed_lease_is_held(store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.05)
    first = await taken(store)
    async with holding(first), other_store.connection() as conn:
        until = await conn.fetchval("SELECT held_until FROM shadow.journal_reader")
        async with asyncio.timeout(WAIT_S):
            while await conn.fetchval("SELECT held_until FROM shadow.journal_reader") == until:
                await asyncio.sleep(0.01)
        assert await RunnerLease(other_store, RUNNER).take()
    assert (await journal_offsets_state(other_store)).released


async def journal_offsets_state(store: Store) -> journal_offsets.LeaseState:
    async with store.connection() as conn:
        return await journal_offsets.lease_state(conn, RUNNER)


async def test_slowest_reader_decides_what_may_be_deleted(store: Store) -> None:
    fast, slow = await taken(store, "fast"), await taken(store, "slow")
    await fast.store({"w0-1": 9, "w1-2": 4}, lost=0, live_us=0)
    assert await fast.slowest() == {}
    await slow.store({"w0-1": 5}, lost=0, live_us=0)
    assert await fast.slowest() == {"w0-1": 5}
    async with store.connection() as conn:
        assert not await journal_offsets.forget_reader(conn, "slow")
        await slow.release()
        assert await journal_offsets.forget_reader(conn, "slow")
        assert not await journal_offsets.forget_reader(conn, "nobody")
    assert await fast.slowest() == {"w0-1": 9, "w1-2": 4}


async def test_lease_ends_by_the_clock_of_the_store(store: Store) -> None:
    async with store.connection() as conn:
        assert await journal_offsets.take_lease(conn, RUNNER, holder="a", ttl=dt.timedelta(milliseconds=1)) == 1
        async with asyncio.timeout(WAIT_S):
            while (
                epoch := await journal_offsets.take_lease(conn, RUNNER, holder="b", ttl=dt.timedelta(hours=1))
            ) is None:
                await asyncio.sleep(0.01)
        assert epoch == 2
        assert (await journal_offsets.lease_state(conn, RUNNER)).holder == "b"
