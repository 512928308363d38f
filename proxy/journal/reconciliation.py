"""Hold three independent figures of the same exchanges against each other, and name what is missing. Pure.

the writers   how many exchanges each was offered, and how many it wrote: from its shared memory and its segments
the runner    which exchanges it has read, and which of them have no outcome yet: from its memory, or from its committed offset
the store     which exchanges ended: committed together with the verdicts

writer w0-3f2a   1 to 4720 offered, 1 to 4715 written
runner           read up to 4710, without an outcome 4709 and 4710
store            1 to 4699 and 4701 to 4708 ended

queued 5, unread 5, in flight 2, ended 4707, missing 1: number 4700, which was read and has neither an outcome nor a place in memory
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.exchanges.number_ranges import NO_NUMBERS, EndedNumbers, NumberRanges


@dataclass(frozen=True, slots=True)
class WriterState:
    """One writer of a journal, as its folder shows it.

    Attributes:
        writer: its name, unique over all journals.
        offered: number of the last exchange that it was offered; None where it is not known.
        written: number of the last exchange in its segments.
        running: whether a process holds the folder.
        earlier: number of the last exchange that an earlier process of it was offered; 0 for none.
    """

    writer: str
    offered: int | None
    written: int
    running: bool
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class RunnerState:
    """The exchanges that a runner has read.

    Attributes:
        read: number of the last exchange that it read, by writer.
        open: those of them that have no outcome yet, by writer.
    """

    read: Mapping[str, int]
    open: Mapping[str, NumberRanges]


@dataclass(frozen=True, slots=True)
class WriterAccount:
    """The exchanges of one writer, each counted once.

    Attributes:
        writer: its name.
        queued: offered and not written yet.
        unwritten: offered to a process that has ended, and never written: lost with its memory.
        unread: written and not read yet.
        in_flight: read, without an outcome.
        ended: with an outcome in the store.
        lost: those of them that could not be read: dropped by the writer, lost with its memory before it was started again, deleted
            unread, damaged, or not decodable.
        missing: read, but neither in flight nor ended: lost without a trace.
    """

    writer: str
    queued: int
    unwritten: NumberRanges
    unread: int
    in_flight: int
    ended: int
    missing: NumberRanges
    lost: NumberRanges = NO_NUMBERS


def combined(runners: Sequence[RunnerState]) -> RunnerState:
    """Return the state of the runners of all slices together: what each has read, and what some of them have not ended.

    Args:
        runners: at least one.
    """
    writers = {writer for runner in runners for writer in (*runner.read, *runner.open)}
    still_open: dict[str, NumberRanges] = {}
    for runner in runners:
        for writer, numbers in runner.open.items():
            still_open[writer] = still_open.get(writer, NO_NUMBERS) | numbers
    return RunnerState(
        {writer: min(runner.read.get(writer, 0) for runner in runners) for writer in writers}, still_open
    )


def reconcile(
    writers: Iterable[WriterState], runner: RunnerState, ended: Mapping[str, EndedNumbers]
) -> tuple[WriterAccount, ...]:
    """Account for the exchanges of every writer.

    The three figures must be taken in this order: of the writers last, of the runner first, so that nothing that moves on in between is
    taken for missing: what the runner has in flight may have ended when the store is asked, and is then counted as ended.
    """
    accounts: list[WriterAccount] = []
    for state in writers:
        of_writer = ended.get(state.writer, EndedNumbers())
        done = of_writer.all
        read = NumberRanges.of(1, runner.read.get(state.writer, 0))
        in_flight = runner.open.get(state.writer, NumberRanges()) - done
        lost_up_to = state.earlier if state.running else state.offered or 0
        accounts.append(
            WriterAccount(
                writer=state.writer,
                queued=len(NumberRanges.of(max(state.written, lost_up_to) + 1, state.offered or 0)),
                unwritten=NumberRanges.of(state.written + 1, lost_up_to),
                unread=len(NumberRanges.of(1, state.written) - read - done),
                in_flight=len(in_flight),
                ended=len(done),
                missing=read - done - in_flight,
                lost=of_writer.unread,
            )
        )
    return tuple(accounts)
