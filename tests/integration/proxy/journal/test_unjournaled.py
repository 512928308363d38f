"""Readers know when requests ran that are in no journal, or not in it yet: of processes that were killed, and of writers that are behind."""

import time
from pathlib import Path

import msgspec
import pytest

from proxy.journal.driver import UnjournaledPeriod
from proxy.journal.keys import load_keys
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segments import LOCK
from proxy.journal.writer_progress import LATE_US, WriterProgress
from proxy.journal.writer_sessions import SESSIONS, begin_session, end_session, load_sessions
from tests.integration.proxy.journal.test_journal import wait_for, write, writing
from tests.support.exchanges import exchange


def now_us() -> int:
    return time.time_ns() // 1_000


def unjournaled(directory: Path) -> list[UnjournaledPeriod]:
    with SegmentReader(directory, "test", keys=load_keys(directory, {})) as reader:
        return reader.unjournaled(now_us())


def killed(directory: Path, writer: str = "w0") -> int:
    """Leave a writer's folder behind as a process that was killed does; return a time at which it still ran."""
    (directory / writer).mkdir(parents=True, exist_ok=True)
    (directory / writer / LOCK).touch()
    return begin_session(directory / writer)


def test_process_that_closes_its_journal_leaves_nothing_unknown(tmp_path: Path) -> None:
    write(tmp_path, 3)
    assert unjournaled(tmp_path) == []
    with writing(tmp_path):
        assert unjournaled(tmp_path) == []
    assert unjournaled(tmp_path) == []


def test_killed_process_is_seen_before_and_after_it_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, 1)
    alive_us = killed(tmp_path)
    with SegmentReader(tmp_path, "test", keys=load_keys(tmp_path, {})) as reader:
        (period,) = reader.unjournaled(now_us())
        assert period.from_us <= alive_us < period.until_us <= now_us()
        assert reader.unjournaled(now_us()) == [period]
        with writing(tmp_path):
            (replaced,) = reader.unjournaled(now_us())
            assert replaced.from_us == period.from_us
            assert period.until_us < replaced.until_us <= now_us()
        assert reader.unjournaled(now_us()) == [replaced]


def test_killed_process_is_known_to_whatever_ended_behind_it(tmp_path: Path) -> None:
    """Folders are not looked at for each reading."""
    write(tmp_path, 1)
    with SegmentReader(tmp_path, "test", keys=load_keys(tmp_path, {})) as reader:
        reader.take(10)
        before_us = now_us()
        assert reader.unjournaled(before_us) == []
        killed(tmp_path)
        assert reader.unjournaled(before_us) == []
        assert len(reader.unjournaled(now_us())) == 1


def test_killed_process_is_known_when_it_is_not_awaited_any_more(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with SegmentReader(tmp_path, "test", keys=load_keys(tmp_path, {})) as reader:
        with writing(tmp_path) as writer:
            writer.note_in_flight(1, settled_ns=time.time_ns())
            wait_for(lambda: (reader.take(10), 0 < reader.settled_us() <= now_us())[1])
            before_us = now_us()
            assert reader.unjournaled(before_us) == []
        # Without the mark of a writer that runs it is not known what has settled.
        wait_for(lambda: (reader.take(10), reader.settled_us() == 0)[1])
        assert len(reader.unjournaled(before_us)) == 1


def test_process_that_ends_with_requests_in_flight_has_not_journaled_them(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.note_in_flight(1, settled_ns=time.time_ns())
    assert len(unjournaled(tmp_path)) == 1


def test_sessions_of_a_damaged_file_are_not_known_and_stop_nothing(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / "w0" / "sessions").write_bytes(b"\x00")
    assert unjournaled(tmp_path) == []
    write(tmp_path, 1, first=1)
    assert unjournaled(tmp_path) == []


def test_folder_that_is_taken_again_by_its_own_process_has_no_crash(tmp_path: Path) -> None:
    write(tmp_path, 1)
    folder = tmp_path / "w0"
    began_us = begin_session(folder)
    begin_session(folder, own_us=began_us)
    end_session(folder)
    assert unjournaled(tmp_path) == []


def test_reader_is_settled_when_it_has_returned_what_was_offered(tmp_path: Path) -> None:
    with writing(tmp_path) as writer, SegmentReader(tmp_path, "test", keys=load_keys(tmp_path, {})) as reader:
        began_ns = time.time_ns()
        writer.note_in_flight(1, settled_ns=began_ns)
        assert writer.append(exchange("x"))
        before_us = now_us()
        wait_for(lambda: (reader.take(10), reader.complete_us(now_us()) > before_us)[1])
        # One request is still in flight.
        assert reader.settled_us() == began_ns // 1_000
        writer.note_in_flight(0, settled_ns=time.time_ns())
        wait_for(lambda: (reader.take(10), reader.settled_us() > before_us)[1])
        assert not reader.has_several_writers()


@pytest.mark.parametrize("more", [False, True])
def test_writer_that_does_not_reach_its_disk_is_awaited_and_then_reported(tmp_path: Path, more: bool) -> None:
    write(tmp_path, 1)
    with writing(tmp_path) as writer:
        times = [1_000_000]
        progress = WriterProgress(tmp_path, clock=lambda: times[-1])
        # (an exchange that was offered and is not returned: the reader has none)
        assert writer.append(exchange("x"))
        progress.sample(["w0"])
        progress.advance({"w0": 1}, {"w0": 5}, ())
        assert (progress.late(), progress.complete_us()) == ([], 5)
        times.append(times[0] + LATE_US + 1)
        progress.advance({"w0": 1}, {"w0": 5}, {"w0"} if more else ())
        # What is here and was not returned yet makes the reader late, not the writer.
        assert [period.from_us for period in progress.late()] == ([] if more else [5])
        assert (progress.complete_us() == 5) is more
        progress.advance({"w0": 2}, {"w0": 6}, ())
        assert progress.late() == []
        assert progress.complete_us() == times[0]


def test_exchange_whose_clock_was_ahead_does_not_make_a_reader_complete_up_to_its_end(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        assert writer.append(exchange("x"))
        progress = WriterProgress(tmp_path, clock=lambda: 1_000)
        progress.sample(["w0"])
        progress.advance({"w0": 0}, {"w0": 5_400_000}, ())
        assert progress.complete_us() == 0
        progress.advance({"w0": 0}, {"w0": 900}, ())
        assert progress.complete_us() == 900


@pytest.mark.parametrize("ahead_us", [0, 3_600_000_000])
def test_clock_that_was_ahead_does_not_hide_that_a_process_was_killed(tmp_path: Path, ahead_us: int) -> None:
    write(tmp_path, 1)
    killed(tmp_path)
    sessions = load_sessions(tmp_path / "w0")
    assert sessions is not None
    later = msgspec.structs.replace(sessions, began_us=sessions.began_us + ahead_us)
    (tmp_path / "w0" / SESSIONS).write_bytes(msgspec.json.encode(later))
    (period,) = unjournaled(tmp_path)
    assert period.from_us == (0 if ahead_us else sessions.began_us)
    assert period.from_us <= period.until_us <= now_us()


@pytest.mark.parametrize(("settled_us", "expected_us"), [(900, 900), (5_400_000, 0)])
def test_clock_that_is_ahead_settles_nothing(tmp_path: Path, settled_us: int, expected_us: int) -> None:
    with writing(tmp_path) as writer:
        assert writer.append(exchange("x"))
        writer.note_in_flight(0, settled_ns=settled_us * 1_000)
        progress = WriterProgress(tmp_path, clock=lambda: 1_000)
        progress.sample(["w0"])
        progress.advance({"w0": 1}, {"w0": 800}, ())
        assert progress.settled_us() == expected_us
