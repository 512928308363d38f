"""comparator.store.ended: numbers end once, however often they are stored."""

import random
from collections.abc import AsyncIterator

import pytest

from comparator.exchanges.number_ranges import EndedNumbers, NumberRanges
from comparator.settings import StoreSettings
from comparator.store.ended import EndedAs, EndedBatch, EndedExchanges, add_ended, ended_numbers, ended_totals
from comparator.store.store import Store


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as opened:
        yield opened


def compared(writer: str, number: int, verdict: str = "match") -> EndedExchanges:
    return EndedExchanges(writer, number, number, EndedAs.COMPARED, verdict)


async def test_numbers_are_stored_by_runner_and_writer_and_counted_once(store: Store) -> None:
    first = [compared("w0", 6), compared("w0", 7, "mismatch"), compared("w1", 1)]
    lost = EndedExchanges("w0", 9, 12, EndedAs.UNREAD, "journal")
    await store.add([], ended=EndedBatch("mirror", first, {"w0": 5}))
    # A restarted runner repeats 7 and goes on.
    await store.add([], ended=EndedBatch("mirror", [compared("w0", 7), compared("w0", 8), lost], {"w0": 6}))
    await store.add([], ended=EndedBatch("other", [compared("w0", 1)], {}))
    async with store.connection() as conn:
        numbers = await ended_numbers(conn, "mirror")
        totals = {(t.writer, t.outcome.value, t.cause): t.count for t in await ended_totals(conn, "mirror")}
    assert numbers == {
        "w0": EndedNumbers(NumberRanges.of(1, 12), unread=NumberRanges.of(9, 12)),
        "w1": EndedNumbers(NumberRanges.of(1, 1)),
    }
    assert totals == {
        ("w0", "compared", "match"): 2,
        ("w0", "compared", "mismatch"): 1,
        ("w0", "unread", "journal"): 4,
        ("w1", "compared", "match"): 1,
    }


async def test_numbers_are_gone_with_the_transaction_of_their_verdicts(store: Store) -> None:
    async with store.connection() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await add_ended(conn, EndedBatch("mirror", [compared("w0", 1)], {}))
        await transaction.rollback()
        assert await ended_numbers(conn, "mirror") == {}
