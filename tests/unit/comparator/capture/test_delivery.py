"""Each transaction once, and fences in rounds."""

import asyncio

import pytest

from comparator.capture.delivery import FENCE_PREFIX, Delivery, Fences
from comparator.capture.errors import CaptureLostError, FenceTimeoutError
from comparator.exchanges.row_changes import LogicalMessage, Op, RowChange, Transaction

CHANGE = RowChange("account", Op.INSERT, None, {"id": "1"})


def transaction(end_lsn: int, *messages: LogicalMessage, changes: tuple[RowChange, ...] = (CHANGE,)) -> Transaction:
    return Transaction(
        xid=1, commit_lsn=end_lsn - 1, end_lsn=end_lsn, committed_us=0, changes=changes, messages=messages
    )


def test_transaction_delivered_before_is_dropped() -> None:
    told: list[Transaction] = []
    delivery = Delivery(told.append, Fences())
    for end_lsn in (10, 20, 10, 20, 30):
        delivery.take(transaction(end_lsn))
    assert [one.end_lsn for one in told] == [10, 20, 30]
    assert delivery.duplicates == 2


def test_processed_transactions_are_dropped() -> None:
    told: list[Transaction] = []
    delivery = Delivery(told.append, Fences(), after=20)
    for end_lsn in (10, 20, 30):
        delivery.take(transaction(end_lsn))
    assert [one.end_lsn for one in told] == [30]


def test_foreign_fence_is_not_delivered() -> None:
    told: list[Transaction] = []
    delivery = Delivery(told.append, Fences())
    delivery.take(transaction(10, LogicalMessage(FENCE_PREFIX, "another's"), changes=()))
    assert told == []
    assert delivery.position == 10


def test_transaction_that_only_names_its_request_is_delivered() -> None:
    told: list[Transaction] = []
    Delivery(told.append, Fences()).take(transaction(10, LogicalMessage("shadow.request", "r-1"), changes=()))
    assert [one.request_id for one in told] == ["r-1"]


async def test_waiters_of_one_round_share_its_token() -> None:
    fences = Fences()
    delivery = Delivery(lambda _: None, fences)
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(fences.wait(5), name=f"waiter-{n}") for n in range(3)]
        await fences.requested.wait()
        delivery.take(transaction(10, LogicalMessage(FENCE_PREFIX, fences.begin_round()), changes=()))
    assert [wait.result() for wait in waits] == [10, 10, 10]


async def test_waiter_after_the_start_of_a_round_waits_for_the_next() -> None:
    fences = Fences()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(fences.wait(5), name="first")
        await fences.requested.wait()
        early = fences.begin_round()
        second = group.create_task(fences.wait(5), name="second")
        await fences.requested.wait()
        fences.complete_round(early, 10)
        await first
        assert not second.done()
        fences.complete_round(fences.begin_round(), 20)
    assert (first.result(), second.result()) == (10, 20)


async def test_round_of_a_lost_connection_is_requeued() -> None:
    fences = Fences()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(fences.wait(5), name="waiter")
        await fences.requested.wait()
        fences.begin_round()
        fences.requeue()
        assert fences.requested.is_set()
        fences.complete_round(fences.begin_round(), 30)
    assert waiting.result() == 30


async def test_fence_that_is_never_read_back_times_out() -> None:
    with pytest.raises(FenceTimeoutError):
        await Fences().wait(0.01)


async def test_fence_is_waited_for_while_the_log_is_read() -> None:
    fences = Fences()

    async def read() -> None:
        await fences.requested.wait()
        token = fences.begin_round()
        for _ in range(4):
            fences.progress += 1
            # (half the time of a fence without progress: the four together are longer than it)
            await asyncio.sleep(0.05)
        fences.complete_round(token, 10)

    async with asyncio.TaskGroup() as group:
        group.create_task(read(), name="reader")
        assert await fences.wait(0.1) == 10


async def test_round_without_waiters_has_no_token() -> None:
    fences = Fences()
    with pytest.raises(FenceTimeoutError):
        await fences.wait(0.01)
    assert fences.begin_round() == ""


async def test_failure_reaches_every_waiter() -> None:
    fences = Fences()

    async def wait() -> str:
        with pytest.raises(CaptureLostError) as error:
            await fences.wait(5)
        return str(error.value)

    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(wait(), name=f"waiter-{n}") for n in range(2)]
        await fences.requested.wait()
        fences.begin_round()
        fences.fail(CaptureLostError("gone"))
    assert [one.result() for one in waits] == ["gone", "gone"]
