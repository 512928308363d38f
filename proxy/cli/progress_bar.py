"""The progress bar: how far, how fast, how many errors, how long yet. On the standard error, and only on a terminal."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

REFRESH_S = 0.25


@contextlib.asynccontextmanager
async def progress_bar(
    total: int | None, done: Callable[[], int], errors: Callable[[], int], *, shown: bool
) -> AsyncGenerator[None]:
    """Show the bar for the block; `total` None has no end."""
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
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    clock = asyncio.get_running_loop().time
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replay", total=total, rate=0.0, errors=0)
        begun_s, begun_at = clock(), done()

        def update() -> None:
            rate = (done() - begun_at) / max(clock() - begun_s, 1e-9)
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
