"""A process that appends exchanges to a journal until it is killed.

`python -m tests.support.journal_writer DIRECTORY DURABILITY`: prints the number of exchanges that are on disk, a line for each batch.
"""

import sys
import time

from msgspec.structs import replace

from proxy.journal.settings import Durability, JournalSettings
from proxy.journal.writing import Writer
from tests.support.exchanges import exchange


def main() -> None:
    directory, durability = sys.argv[1:3]
    settings = JournalSettings(directory=directory, flush_ms=0.5, segment_max_bytes=20_000, batch_max=16)
    writer = Writer(replace(settings, durability=Durability(durability)), environ={})
    writer.start()
    number = 0
    while True:
        for _ in range(8):
            number += 1
            writer.append(exchange(f"{time.time_ns()}-{number}", body=b"%d" % number * 50))
        time.sleep(0.0005)
        sys.stdout.write(f"{writer.counts.written}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
