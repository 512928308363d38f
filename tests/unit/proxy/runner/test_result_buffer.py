"""proxy.runner.result_buffer: an outcome that cannot be saved does not stop the others."""

import asyncio
import time
from collections.abc import Callable, Sequence

import asyncpg
import pytest

from comparator.errors import StoreUnavailableError
from comparator.exchanges.model import Exchange, Request, Response, Side
from proxy.journal.delivery import MergedPosition
from proxy.journal.driver import JournalEntry, JournalPosition, UnreadRange
from proxy.runner.checkpoint import CommitOnSave
from proxy.runner.result_buffer import Outcome, ResultBuffer
from proxy.runner.skip_causes import RunnerSkip


def at(number: int) -> MergedPosition:
    return MergedPosition((("w0", number),))


def entry(number: int) -> JournalEntry:
    request, response = Request("GET", "/", (), b""), Response(200, (), b"")
    exchange = Exchange(f"e{number}", "r", "", Side.CANDIDATE, "", number, number, request, response)
    return JournalEntry(at(number), number, exchange)


def committing(commit: Callable[[JournalPosition], None]) -> CommitOnSave[JournalPosition]:
    return CommitOnSave(commit, lambda: None, lambda _: None)


async def save(buffer: ResultBuffer, *, ended: Sequence[int]) -> None:
    """Read as many exchanges, and let them end in this order."""
    for number in range(1, len(ended) + 1):
        buffer.begin(entry(number))
    for number in ended:
        await buffer.add(entry(number), None, RunnerSkip.SLOW)
    buffer.close()
    await buffer.run()


async def test_outcome_that_the_store_refuses_is_saved_without_its_details() -> None:
    saved: list[str] = []
    bare: list[str] = []
    committed: list[JournalPosition] = []
    errors: list[str] = []

    async def store(batch: Sequence[Outcome], unread: Sequence[UnreadRange]) -> None:
        names = [outcome.entry.exchange.id for outcome in batch]
        if "e2" in names:
            raise ValueError("poison")
        saved.extend(names)

    async def store_bare(outcome: Outcome, unread: Sequence[UnreadRange]) -> None:
        bare.append(outcome.entry.exchange.id)

    buffer = ResultBuffer(store, save_bare=store_bare, progress=committing(committed.append), on_error=errors.append)
    await save(buffer, ended=[1, 2, 3, 4])
    assert (saved, bare) == (["e1", "e3", "e4"], ["e2"])
    assert errors == ["store"]
    assert committed[-1] == at(4)
    assert buffer.unsaved == 0


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError("away"),
        asyncpg.InsufficientPrivilegeError("permission denied for table comparison"),
        asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
        asyncpg.UndefinedTableError("relation does not exist"),
        asyncpg.DiskFullError("could not extend file"),
        RuntimeError("whatever this is"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_nothing_is_lost_while_the_store_takes_no_outcome_at_all(error: Exception) -> None:
    saved: list[str] = []
    committed: list[JournalPosition] = []
    failures = iter([error] * 5)

    async def store(batch: Sequence[Outcome], unread: Sequence[UnreadRange]) -> None:
        for failure in failures:
            raise failure
        saved.extend(outcome.entry.exchange.id for outcome in batch)

    async def store_bare(outcome: Outcome, unread: Sequence[UnreadRange]) -> None:
        await store([outcome], unread)

    retries: list[None] = []
    buffer = ResultBuffer(
        store, save_bare=store_bare, progress=committing(committed.append), on_retry=lambda: retries.append(None)
    )
    for number in (1, 2, 3):
        buffer.begin(entry(number))
        await buffer.add(entry(number), None, RunnerSkip.SLOW)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(buffer.run(), name="saving")
        while len(saved) < 3:
            await asyncio.sleep(0.01)
        buffer.close()
    assert saved == ["e1", "e2", "e3"]
    assert committed[-1] == at(3)
    assert retries


async def test_position_is_not_committed_before_every_earlier_outcome_is_saved() -> None:
    committed: list[JournalPosition] = []
    buffer = ResultBuffer(None, progress=committing(committed.append))
    for number in (1, 2, 3):
        buffer.begin(entry(number))
    await buffer.add(entry(2), None, RunnerSkip.SLOW)
    await buffer.add(entry(3), None, RunnerSkip.SLOW)
    buffer.close()
    await buffer.run()
    assert (committed, buffer.unsaved) == ([], 1)
    await buffer.add(entry(1), None, RunnerSkip.SLOW)
    await buffer.run()
    assert committed == [at(3)]


async def test_exchange_whose_clock_is_ahead_holds_up_no_position() -> None:
    began: list[int] = []

    class Progress(CommitOnSave[JournalPosition]):
        def begin(self, sequence: int, position: JournalPosition, *, started_us: int, ended_us: int) -> None:
            began.extend((started_us, ended_us))

    async def store(batch: Sequence[Outcome], unread: Sequence[UnreadRange]) -> None:
        raise AssertionError

    async def store_bare(outcome: Outcome, unread: Sequence[UnreadRange]) -> None:
        raise AssertionError

    progress = Progress(lambda _: None, lambda: None, lambda _: None)
    buffer = ResultBuffer(store, save_bare=store_bare, progress=progress, on_error=lambda _: None)
    ahead_ns = time.time_ns() + 5_400 * 10**9
    request, response = Request("GET", "/", (), b""), Response(200, (), b"")
    for started_ns, ended_ns in [(1_000_000, ahead_ns), (ahead_ns, ahead_ns), (1_000_000, 2_000_000)]:
        own = Exchange("e", "r", "", Side.CANDIDATE, "", started_ns, ended_ns, request, response)
        buffer.begin(JournalEntry(at(1), 1, own))
    assert max(began) <= time.time_ns() // 1_000
    assert (began[0], began[4:]) == (1_000, [1_000, 2_000])
