"""A progress bar with rate, errors and remaining time. On the standard error, and only on a terminal."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from proxy.cli.terminal import raw_stream

REFRESH_S = 0.25


@contextlib.asynccontextmanager
async def progress_bar(
    total: int | None, done: Callable[[], int], errors: Callable[[], int], *, shown: bool
) -> AsyncGenerator[None]:
    """Show the bar during the block.

    Args:
        total: number of requests; None for an unknown number.
        done: returns the number of requests done.
        errors: returns the number of errors.
        shown: False shows nothing.
    """
    if not shown or not sys.stderr.isatty():
        yield
        return
    columns = (
        TextColumn("replay"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TextColumn("{task.fields[errors]} errors"),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
    )
    clock = asyncio.get_running_loop().time
    with Progress(*columns, console=Console(file=raw_stream(sys.stderr)), transient=True) as progress:
        task = progress.add_task("replay", total=total, rate=0.0, errors=0)
        started_s, done_before = clock(), done()

        def update() -> None:
            rate = (done() - done_before) / max(clock() - started_s, 1e-9)
            progress.update(task, completed=done(), rate=rate, errors=errors())

        async def refresh() -> None:
            while True:
                update()
                await asyncio.sleep(REFRESH_S)

        async with asyncio.TaskGroup() as tasks:
            refreshing = tasks.create_task(refresh(), name="progress")
            try:
                yield
            finally:
                refreshing.cancel()
                update()
