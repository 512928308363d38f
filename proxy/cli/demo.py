"""`shadow demo`: put everything up, send traffic for a minute with faults switched on, say what was found, take everything down."""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

from rich.console import Console

from proxy.demo import screen, summary
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.installation import Installation, Options, installed
from proxy.demo.traffic import TrafficGenerator
from proxy.errors import DemoError, EmbeddedPostgresError

_DIVERGENCES = "lost_stamp:0.1,missing_event:0.1"
_CONCURRENCY = 16
_WIDTH = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--seconds", type=float, default=45.0, help="how long traffic runs (default %(default)s)")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second (default %(default)s)")
    parser.add_argument("--addresses", type=int, default=300, help="people in the population (default %(default)s)")
    parser.add_argument(
        "--divergences",
        default=_DIVERGENCES,
        help="faults of the mirrored legacy, name or name:share, comma-separated; empty for none (default %(default)s)",
    )
    parser.add_argument("--stay", action="store_true", help="keep everything up afterwards, until Ctrl-C")
    parser.add_argument("--folder", type=Path, default=Path("var/demo"), help="for its files (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 when it came to its end, 130 after Ctrl-C.

    Raises:
        DemoError: a part did not come up or died.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    folder: Path = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(folder, addresses=args.addresses, divergences=args.divergences)
    with _alone(folder):
        try:
            asyncio.run(_interruptible(_demo(console, options, args)))
        except asyncio.CancelledError:
            console.print("stopped; everything is down")
            return 130
    return 0


async def _demo(console: Console, options: Options, args: argparse.Namespace) -> None:
    def say(text: str) -> None:
        console.print(f"[dim]starting[/] {text}")

    say("PostgreSQL")
    async with _postgres(options.folder / "pg") as dsn, installed(dsn, options, say) as installation:
        console.print(f"ready: {len(installation.targets)} targets, {args.rate:g} requests/s for {args.seconds:g} s")
        console.print(f"switched on in the mirrored legacy: {options.divergences or 'no divergence'}")
        await watched(installation.watch(), _work(installation, console, args))


async def watched(watch: Coroutine[None, None, None], work: Coroutine[None, None, None]) -> None:
    """Do the demo's work; end at once when `watch` says that a child died.

    Raises:
        DemoError: of the work or the watch, without the groups of the tasks it came through.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch, name="watch-children")
            await work
            watching.cancel()
    except* DemoError as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
        raise first from None


async def _work(installation: Installation, console: Console, args: argparse.Namespace) -> None:
    traffic = TrafficGenerator(installation.url, installation.targets, concurrency=_CONCURRENCY)
    async with asyncio.TaskGroup() as tasks:
        showing = tasks.create_task(screen.show(console, installation, traffic.seen), name="screen")
        await traffic.at_rate(args.rate, seconds=args.seconds)
        console.print("all is sent; what is mirrored still is waited for")
        await summary.settled(installation)
        showing.cancel()
    await summary.print_summary(console, installation, traffic.seen)
    if args.stay:
        console.print(summary.addresses(installation), soft_wrap=True, highlight=False)
        await _until_interrupted()


async def _until_interrupted() -> None:
    """Wait for Ctrl-C, which here is the wanted end."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    task.uncancel()


async def _interruptible(work: Coroutine[None, None, None]) -> None:
    """Cancel the work on the first SIGINT or SIGTERM; later ones do not disturb the taking down."""
    task = asyncio.current_task()
    assert task is not None
    interrupted = asyncio.Event()

    def interrupt() -> None:
        if not interrupted.is_set():
            interrupted.set()
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    await work


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the folder's lock.

    Raises:
        DemoError: another demo holds it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"another demo runs in {folder}; stop it, or give --folder") from error
        yield


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncGenerator[str]:
    """A running cluster's DSN. It is stopped with the block, and also when this process is killed."""
    server = EmbeddedPostgres(folder)
    with contextlib.suppress(EmbeddedPostgresError):
        # Left running by a demo that was killed together with its guard.
        await asyncio.to_thread(server.stop, mode="immediate")
    await asyncio.to_thread(server.start)
    guard = _guard(server)
    try:
        yield server.dsn()
    finally:
        await asyncio.shield(asyncio.to_thread(server.stop))
        assert guard.stdin is not None
        guard.stdin.close()
        await asyncio.to_thread(guard.wait)


def _guard(server: EmbeddedPostgres) -> subprocess.Popen[bytes]:
    """A process that stops the cluster once this process is gone: it waits for the end of a pipe that only we hold open."""
    stop = f'exec "{server.bin_dir}/pg_ctl" -D "{server.data_dir}" -m immediate stop'
    return subprocess.Popen(
        ["sh", "-c", f"cat >/dev/null; {stop}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        user=_owner(server.data_dir),
    )


def _owner(folder: Path) -> int | None:
    """Whom the cluster belongs to, when that is somebody else: only the owner may stop it."""
    owner = folder.stat().st_uid
    return owner if owner != os.geteuid() else None
