"""proxy.runner.result_buffer: an outcome that cannot be saved does not stop the others."""

from collections.abc import Callable, Sequence

from comparator.exchanges.model import Exchange, Request, Response, Side
from proxy.journal.driver import JournalEntry, JournalPosition
from proxy.journal.segment_reader import SegmentPosition
from proxy.runner.checkpoint import CommitOnSave
from proxy.runner.result_buffer import Outcome, ResultBuffer
from proxy.runner.skip_causes import RunnerSkip


def at(number: int) -> SegmentPosition:
    return SegmentPosition((("w0", number),))


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


async def test_outcome_that_cannot_be_saved_costs_itself_only() -> None:
    saved: list[str] = []
    committed: list[JournalPosition] = []
    errors: list[str] = []

    async def store(batch: Sequence[Outcome]) -> None:
        names = [outcome.entry.exchange.id for outcome in batch]
        if "e2" in names:
            raise ValueError("poison")
        saved.extend(names)

    buffer = ResultBuffer(store, progress=committing(committed.append), on_error=errors.append)
    await save(buffer, ended=[1, 2, 3, 4])
    assert saved == ["e1", "e3", "e4"]
    assert errors == ["store"]
    assert committed[-1] == at(4)
    assert buffer.unsaved == 0


async def test_position_that_cannot_be_committed_is_counted() -> None:
    errors: list[str] = []

    def full(_: JournalPosition) -> None:
        raise OSError(28, "No space left on device")

    await save(ResultBuffer(None, progress=committing(full), on_error=errors.append), ended=[1, 2])
    assert errors == ["commit"]


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
