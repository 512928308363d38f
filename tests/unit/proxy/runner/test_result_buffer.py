"""proxy.runner.result_buffer: what cannot be kept does not stop what can."""

from collections.abc import Sequence

from comparator.exchanges.model import Exchange, Request, Response, Side
from proxy.journal.reader import JournalEntry, Position
from proxy.runner.result_buffer import Outcome, ResultBuffer


def entry(number: int) -> JournalEntry:
    request, response = Request("GET", "/", (), b""), Response(200, (), b"")
    exchange = Exchange(f"e{number}", "r", "", Side.CANDIDATE, "", number, number, request, response)
    return JournalEntry(Position((("w0", number),)), number, exchange)


async def record(recorder: ResultBuffer, count: int) -> None:
    for number in range(1, count + 1):
        recorder.begin(entry(number))
        await recorder.keep(entry(number), None, "test")
    recorder.close()
    await recorder.run()


async def test_outcome_that_cannot_be_written_costs_itself_only() -> None:
    kept: list[str] = []
    committed: list[Position] = []
    survived: list[str] = []

    async def store(batch: Sequence[Outcome]) -> None:
        names = [one.entry.exchange.id for one in batch]
        if "e2" in names:
            raise ValueError("poison")
        kept.extend(names)

    recorder = ResultBuffer(store, commit=committed.append, survived=survived.append)
    await record(recorder, 4)
    assert kept == ["e1", "e3", "e4"]
    assert survived == ["store"]
    assert committed[-1] == Position((("w0", 4),))
    assert recorder.unfinished == 0


async def test_position_that_cannot_be_committed_is_counted() -> None:
    survived: list[str] = []

    def full(_: Position) -> None:
        raise OSError(28, "No space left on device")

    await record(ResultBuffer(None, commit=full, survived=survived.append), 2)
    assert survived == ["commit"]
