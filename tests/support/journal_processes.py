"""Processes that write or read a journal until they are killed.

`python -m tests.support.journal_processes` forks one for each line of its standard input: `write FIFO DIRECTORY DURABILITY` or
`read FIFO DIRECTORY SEED`. Each first says its process id into its FIFO. The writer then says how many exchanges are on disk, a line
for each batch; the reader `read FIRST LAST` before it commits and `done LAST` after it.
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
from proxy.journal.reader import SegmentReader
from proxy.journal.writer import SegmentWriter
from tests.support.exchanges import exchange

READER = "killed"
PAUSE_S = 0.0005
"""Between two rounds of a process: the other one has to get on, and a kill has to find both at work and at rest."""


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        role, fifo, directory, word = line.split()
        if os.fork():
            continue
        with Path(fifo).open("w", buffering=1) as out:
            out.write(f"{os.getpid()}\n")
            ROLES[role](out, directory, word)


def write(out: TextIO, directory: str, durability: str) -> None:
    settings = JournalSettings(
        directory=directory, flush_ms=0.5, fsync_ms=1.0, segment_max_bytes=20_000, batch_max=16, queue_max=1_000
    )
    writer = SegmentWriter(replace(settings, durability=Durability(durability)), environ={})
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
            out.write(f"read {entries[0].sequence} {entries[-1].sequence}\n")
            reader.commit(entries[-1].position)
            out.write(f"done {entries[-1].sequence}\n")


ROLES = {"write": write, "read": read}

if __name__ == "__main__":
    main()
