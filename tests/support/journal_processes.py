"""Processes that write or read a journal until they are killed.

`python -m tests.support.journal_processes` forks one for each line of its standard input: `write FIFO DIRECTORY DURABILITY` or
`read FIFO DIRECTORY SEED`. Each writes its process id to its FIFO first; then the writer the number of exchanges on disk, a line for
each batch, and the reader `read FIRST LAST COUNT LOST` before a commit and `done LAST` after it.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

from msgspec.structs import replace

from proxy.config.journal import Durability, JournalSettings
from proxy.journal.keys import load_keys
from proxy.journal.registry import open_writer
from proxy.journal.segment_reader import SegmentReader
from tests.support.exchanges import exchange

READER = "killed"
PAUSE_S = 0.0005
"""Pause between two rounds of a process, so that a kill hits it both working and idle."""


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        role, fifo, directory, argument = line.split()
        if os.fork():
            continue
        with Path(fifo).open("w", buffering=1) as out:
            out.write(f"{os.getpid()}\n")
            ROLES[role](out, directory, argument)


def write(out: TextIO, directory: str, durability: str) -> None:
    settings = JournalSettings(
        directory=directory, flush_ms=0.5, fsync_ms=1.0, segment_max_bytes=20_000, batch_max=16, queue_max=1_000
    )
    writer = open_writer(replace(settings, durability=Durability(durability)), {})
    writer.start()
    number = 0
    while True:
        for _ in range(8):
            number += 1
            writer.append(exchange(f"{time.time_ns()}-{number}", body=b"%d" % number * 50))
        time.sleep(PAUSE_S)
        out.write(f"{writer.counts.written}\n")


def read(out: TextIO, directory: str, seed: str) -> None:
    chance = random.Random(seed)
    with SegmentReader(directory, READER, keys=load_keys(Path(directory), {})) as reader:
        while True:
            entries = reader.take(chance.randrange(1, 40))
            if not entries:
                time.sleep(PAUSE_S)
                continue
            out.write(f"read {entries[0].sequence} {entries[-1].sequence} {len(entries)} {reader.lost}\n")
            reader.commit(entries[-1].position)
            out.write(f"done {entries[-1].sequence}\n")


ROLES = {"write": write, "read": read}

if __name__ == "__main__":
    main()
