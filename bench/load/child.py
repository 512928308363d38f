"""A part of a benchmark in a process of its own, with a pipe to it."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


@contextmanager
def child(main: Callable[[Connection], None]) -> Iterator[tuple[int, Connection]]:
    """Run `main` with its end of the pipe; yields the process id and our end. It is killed at the end of the block."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=main, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        assert process.pid
        yield process.pid, ours
    finally:
        process.kill()
        process.join(10)
