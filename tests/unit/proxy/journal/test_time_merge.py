"""proxy.journal.time_merge: the next exchange of all writers, and when it has to wait for a writer."""

import pytest

from proxy.journal.time_merge import TimeMerge

MS = 1_000_000
SILENT_MS = 5_000


class Merge:
    """A merge of writers by short steps; times are milliseconds."""

    def __init__(self, *writers: str) -> None:
        self.merge: TimeMerge[int] = TimeMerge(silent_max_ns=SILENT_MS * MS)
        self.now = 0
        self.reported = 0
        for writer in writers:
            self.merge.begin(writer, fetched=0, now_ns=0)

    def add(self, writer: str, *ended: int, fetched: int = 0) -> None:
        self.merge.add(writer, [(time * MS, time) for time in ended], fetched=fetched, now_ns=self.now * MS)

    def report(self, writer: str, complete: int, *, shipped: int = 0, closed: bool = False) -> None:
        self.reported += 1
        self.merge.report(
            writer,
            report_ns=self.reported,
            shipped=shipped,
            complete_ns=complete * MS,
            closed=closed,
            now_ns=self.now * MS,
        )

    def take(self) -> list[int]:
        taken: list[int] = []
        while (item := self.merge.take(now_ns=self.now * MS)) is not None:
            taken.append(item[1])
        return taken

    def complete(self, limit: int) -> float:
        return self.merge.complete_ns(now_ns=self.now * MS, limit_ns=limit * MS) / MS


def test_one_writer_is_never_held_back() -> None:
    merge = Merge("w0")
    merge.add("w0", 100, 180, fetched=2)
    assert merge.take() == [100, 180]


def test_two_writers_are_merged_by_time_up_to_what_both_report() -> None:
    merge = Merge("w0", "w1")
    merge.add("w0", 100, 180, 290, fetched=3)
    merge.add("w1", 150, fetched=1)
    merge.report("w1", 200, shipped=1)
    assert merge.take() == [100, 150, 180]
    merge.report("w1", 290, shipped=1)
    assert merge.take() == [290]


def test_report_counts_when_everything_that_it_speaks_of_is_here() -> None:
    merge = Merge("w0", "w1")
    merge.add("w0", 100, fetched=1)
    merge.report("w1", 200, shipped=2)
    assert merge.take() == []
    merge.add("w1", 90, fetched=2)
    assert merge.take() == [90, 100]


def test_exchange_that_comes_late_is_returned_at_once() -> None:
    merge = Merge("w0", "w1")
    merge.add("w0", 100, fetched=1)
    merge.report("w1", 150)
    assert merge.take() == [100]
    merge.add("w1", 50, fetched=1)
    assert merge.take() == [50]


def test_silent_writer_is_not_awaited_until_it_reports_again() -> None:
    merge = Merge("w0", "w1")
    merge.report("w1", 10)
    merge.now = SILENT_MS - 1
    merge.add("w0", 100, fetched=1)
    assert merge.take() == []
    merge.now = SILENT_MS
    assert merge.merge.silent(now_ns=merge.now * MS) == {"w0", "w1"}
    assert merge.take() == [100]
    merge.report("w1", 150)
    merge.add("w0", 200, fetched=2)
    assert merge.merge.silent(now_ns=merge.now * MS) == {"w0"}
    assert merge.take() == []


def test_silence_of_the_reader_is_not_the_writers() -> None:
    merge = Merge("w0", "w1")
    merge.report("w1", 10)
    merge.now = 10 * SILENT_MS
    merge.merge.excuse(now_ns=merge.now * MS)
    merge.add("w0", 100, fetched=1)
    assert merge.merge.silent(now_ns=merge.now * MS) == frozenset()
    assert merge.take() == []


def test_repeated_report_is_no_sign_of_life() -> None:
    merge = Merge("w1")
    for now in (0, SILENT_MS):
        merge.merge.report("w1", report_ns=7, shipped=0, complete_ns=0, closed=False, now_ns=now * MS)
    assert merge.merge.silent(now_ns=SILENT_MS * MS) == {"w1"}


def test_ended_writer_is_not_awaited() -> None:
    merge = Merge("w0", "w1")
    merge.report("w1", 10, closed=True)
    merge.add("w0", 100, fetched=1)
    assert merge.take() == [100]
    assert merge.merge.silent(now_ns=10 * SILENT_MS * MS) == {"w0"}


@pytest.mark.parametrize(
    ("ended", "taken"), [(1_000 + SILENT_MS, []), (1_001 + SILENT_MS, [1_001 + SILENT_MS])], ids=["awaited", "too far"]
)
def test_writer_whose_clock_is_far_behind_holds_nothing_up(ended: int, taken: list[int]) -> None:
    merge = Merge("w0", "w1")
    merge.report("w1", 1_000)
    merge.add("w0", ended, fetched=1)
    assert merge.take() == taken


def test_writer_with_exchanges_in_the_broker_is_awaited_however_old_they_are() -> None:
    merge = Merge("w0", "w1")
    merge.report("w1", 100_000, shipped=9)
    merge.add("w0", 60_000, fetched=1)
    assert merge.take() == []
    merge.add("w1", 50_000, fetched=9)
    assert merge.take() == [50_000, 60_000]


def test_no_exchange_is_held_back_longer_than_the_bound() -> None:
    merge = Merge("w0", "w1")
    merge.add("w0", 100, fetched=1)
    for now in range(0, SILENT_MS, 500):
        merge.now = now
        merge.report("w1", 10)
        assert merge.take() == []
    merge.now = SILENT_MS
    merge.report("w1", 10)
    assert merge.take() == [100]


@pytest.mark.parametrize(
    ("here", "reported", "complete"),
    [((), 700, 700), ((), 2_000, 1_000), ((300,), 700, 300), ((), 0, 0)],
    ids=["as reported", "at most the limit", "before what is here", "nothing is known"],
)
def test_complete_is_the_time_before_which_nothing_is_to_come(
    here: tuple[int, ...], reported: int, complete: int
) -> None:
    merge = Merge("w0", "w1")
    merge.report("w1", reported)
    merge.report("w0", 5_000)
    if here:
        merge.add("w0", *here, fetched=len(here))
    assert merge.complete(1_000) == complete


def test_nothing_is_awaited_of_no_writer() -> None:
    assert Merge().complete(1_000) == 1_000


def test_forgotten_writer_holds_nothing_up() -> None:
    merge = Merge("w0", "w1")
    merge.add("w0", 100, fetched=1)
    merge.merge.forget("w1")
    assert merge.take() == [100]


def test_writer_whose_clock_is_set_back_is_awaited_again() -> None:
    merge = Merge("w0", "w1")
    # (the clock of w0 is an hour ahead)
    merge.reported = 3_600_000 * MS
    merge.add("w0", 3_600_100, fetched=1)
    merge.report("w0", 3_600_200, shipped=1)
    merge.add("w1", 150, fetched=1)
    assert merge.take() == [150, 3_600_100]
    merge.reported = 200 * MS
    merge.report("w0", 200, shipped=1)
    merge.add("w1", 250, fetched=2)
    assert merge.take() == []
    merge.add("w0", 240, fetched=2)
    merge.report("w0", 260, shipped=2)
    assert merge.take() == [240, 250]
