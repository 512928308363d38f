"""kill -9 of writers and readers at random points: written exchanges stay, committed ones are not read again, and what a killed writer
had in memory is reported as lost.

`--crash-rounds 100` kills that often for each kind of durability.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

from proxy.journal.keys import load_keys
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segments import load_committed, offset_path
from tests.support.journal_processes import READER

WAIT_S = 30


@dataclass
class Forker:
    """Starts processes of `tests.support.journal_processes`."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    count: int = 0

    def start(self, role: str, directory: Path, word: str) -> "Running":
        assert self.process.stdin is not None
        self.count += 1
        fifo = self.folder / f"{role}-{self.count}"
        os.mkfifo(fifo)
        self.process.stdin.write(f"{role} {fifo} {directory} {word}\n".encode())
        self.process.stdin.flush()
        lines = fifo.open()
        return Running(int(lines.readline()), lines)


@dataclass
class Running:
    pid: int
    lines: TextIO

    def say(self, count: int) -> list[str]:
        """Return the next lines."""
        return [self.lines.readline().strip() for _ in range(count)]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def rest(self) -> list[str]:
        """Return the lines until the end of the process, without one that the kill truncated. Its locks are released then."""
        with self.lines:
            rest = self.lines.read()
        deadline = time.monotonic() + WAIT_S
        while alive(self.pid):
            # It is another process's child, so it can only be polled.
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return rest.split("\n")[:-1]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[Forker]:
    command = [sys.executable, "-m", "tests.support.journal_processes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield Forker(process, tmp_path)
        process.kill()


@dataclass
class Journal:
    """The expected state of the journal between rounds."""

    directory: Path
    read: int = 0
    lost: int = 0

    def check(self, acknowledged: int) -> None:
        """Read new exchanges: everything acknowledged, each exchange once, nothing missing."""
        with SegmentReader(self.directory, "check", keys=load_keys(self.directory, {})) as reader:
            entries = reader.take(1_000_000)
            sequences = [entry.sequence for entry in entries]
            assert sequences == sorted(set(sequences))
            assert len({entry.exchange.id for entry in entries}) == len(entries) >= acknowledged
            # Each process numbers its exchanges in their ids, so what is lost are the last ones of the processes before.
            numbers = [int(entry.exchange.id.rpartition("-")[2]) for entry in entries]
            assert numbers == list(range(1, len(numbers) + 1))
            assert reader.lost == (sequences[0] - 1 - self.read if entries else 0)
            assert len(entries) == (sequences[-1] - self.read - reader.lost if entries else 0)
            if entries:
                reader.commit(entries[-1].position)
                self.read = sequences[-1]
            self.lost += reader.lost

    @property
    def committed(self) -> int:
        """Return the last commit that the killed reader reported."""
        return sum(load_committed(offset_path(self.directory, READER)).sequences.values())


def check_reader(output: list[str], committed_before: int, committed_after: int) -> None:
    """Check that reads follow the commits without repetition or a gap that is not reported, and that no commit is undone."""
    read = [tuple(map(int, line.split()[1:])) for line in output if line.startswith("read ")]
    done = [int(line.split()[1]) for line in output if line.startswith("done ")]
    before, lost_before = committed_before, 0
    for first, last, count, lost in read:
        assert before < first <= last
        assert last - before == count + lost - lost_before
        before, lost_before = last, lost
    assert committed_after in (
        *done[-1:],
        *(last for _, last, *_ in read[-1:]),
        *([committed_before] if not done else []),
    )
    assert committed_after >= max(done, default=committed_before)


@pytest.mark.parametrize("durability", ["none", "interval", "batch"])
def test_killed_writers_and_readers_lose_and_repeat_nothing(
    tmp_path: Path, forker: Forker, crash_rounds: int, durability: str
) -> None:
    chance = random.Random(durability)
    journal = Journal(tmp_path / "journal")
    load_keys(journal.directory, {}, create=True)
    for number in range(crash_rounds):
        before = journal.committed
        writer = forker.start("write", journal.directory, durability)
        reader = forker.start("read", journal.directory, str(number))
        written = writer.say(chance.randrange(1, 60))
        output = reader.say(chance.randrange(1, 20))
        for process in chance.sample([writer, reader], 2):
            process.kill()
        written += writer.rest()
        check_reader(output + reader.rest(), before, journal.committed)
        journal.check(int(written[-1]))
    assert journal.read > 8 * crash_rounds
