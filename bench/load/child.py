"""Run a part of a benchmark in a process of its own, with a pipe to it."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


@contextmanager
def child_process(main: Callable[[Connection], None]) -> Iterator[tuple[int, Connection]]:
    """Run `main` with its end of the pipe, and kill it at the end of the context.

    Yields:
        The process id, and the other end of the pipe.
    """
    spawning = multiprocessing.get_context("spawn")
    near, far = spawning.Pipe()
    process = spawning.Process(target=main, args=(far,), daemon=True)
    process.start()
    far.close()
    try:
        assert process.pid
        yield process.pid, near
    finally:
        process.kill()
        process.join(10)
