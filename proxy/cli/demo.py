"""`shadow demo`: run the whole system on this machine with injected faults, send requests for a minute, and print the findings."""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console

from proxy.cli.exit_codes import Exit
from proxy.cli.terminal import raw_stream
from proxy.demo import screen, summary
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.installation import DemoOptions, Installation, installed
from proxy.demo.traffic import TrafficGenerator
from proxy.errors import DemoError, EmbeddedPostgresError
from proxy.exception_groups import first_error

_DIVERGENCES = "lost_stamp:0.1,missing_event:0.1"
_CONCURRENCY = 16
_WIDTH = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--seconds", type=float, default=45.0, help="duration of the traffic (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second (default: %(default)s)")
    parser.add_argument(
        "--addresses", type=int, default=300, help="size of the synthetic population (default: %(default)s)"
    )
    parser.add_argument(
        "--divergences",
        default=_DIVERGENCES,
        help="faults of the mirrored legacy, NAME or NAME:SHARE, comma-separated; empty for none (default: %(default)s)",
    )
    parser.add_argument(
        "--nodes",
        type=int,
        default=1,
        help="number of proxies; several share their journal by a broker, and two runners share the mirroring (default: %(default)s)",
    )
    parser.add_argument("--stay", action="store_true", help="keep everything running afterwards, until Ctrl-C")
    parser.add_argument(
        "--folder", type=Path, default=Path("var/demo"), help="folder for its files (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo; exit with DONE at its end, with INTERRUPTED after Ctrl-C.

    Raises:
        DemoError: a part did not start, or ended early.
    """
    console = Console(file=raw_stream(sys.stdout))
    if not console.is_terminal:
        console = Console(file=raw_stream(sys.stdout), width=_WIDTH)
    folder: Path = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    options = DemoOptions(
        folder, address_count=args.addresses, divergences=args.divergences, with_ui=True, nodes=args.nodes
    )
    with _locked(folder):
        try:
            asyncio.run(_interruptible(_demo(console, options, args)))
        except asyncio.CancelledError:
            console.print("interrupted; all processes have ended")
            return Exit.INTERRUPTED
    return Exit.DONE


async def _demo(console: Console, options: DemoOptions, args: argparse.Namespace) -> None:
    def on_step(text: str) -> None:
        console.print(f"[dim]starting[/] {text}")

    on_step("PostgreSQL")
    async with _postgres(options.folder / "pg") as dsn, installed(dsn, options, on_step) as installation:
        console.print(f"ready: {len(installation.targets)} targets, {args.rate:g} requests/s for {args.seconds:g} s")
        console.print(f"faults of the mirrored legacy: {options.divergences or 'none'}")
        await watched(installation.watch(), _work(installation, console, args))


async def watched(watch: Coroutine[None, None, None], work: Coroutine[None, None, None]) -> None:
    """Do the demo's work; end at once when `watch` raises because a child has died.

    Raises:
        DemoError: of the work or the watch.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch, name="watch-children")
            await work
            watching.cancel()
    except* DemoError as group:
        raise first_error(group) from None


async def _work(installation: Installation, console: Console, args: argparse.Namespace) -> None:
    traffic = TrafficGenerator(
        installation.url, installation.targets, concurrency=_CONCURRENCY, more_urls=installation.urls[1:]
    )
    async with asyncio.TaskGroup() as tasks:
        showing = tasks.create_task(screen.show(console, installation, traffic.result), name="screen")
        await traffic.at_rate(args.rate, seconds=args.seconds)
        console.print("all requests are sent; waiting for mirrored requests")
        await summary.wait_for_outcomes(installation)
        showing.cancel()
    await summary.print_summary(console, installation, traffic.result)
    if args.stay:
        console.print(summary.running_addresses(installation), soft_wrap=True, highlight=False)
        await _until_interrupted()


async def _until_interrupted() -> None:
    """Return on Ctrl-C, which is the regular end here."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    task.uncancel()


async def _interruptible(work: Coroutine[None, None, None]) -> None:
    """Cancel the work on the first SIGINT or SIGTERM; later signals do not interrupt the shutdown."""
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
def _locked(folder: Path) -> Generator[None]:
    """Lock the folder for the block.

    Raises:
        DemoError: another demo has locked it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"another demo is running in {folder}; stop it, or choose another --folder") from error
        yield


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncGenerator[str]:
    """Run a cluster until the block ends, or this process is killed; yield its DSN."""
    server = EmbeddedPostgres(folder)
    with contextlib.suppress(EmbeddedPostgresError):
        # A demo that was killed together with its watchdog has left it running.
        await asyncio.to_thread(server.stop, mode="immediate")
    await asyncio.to_thread(server.start)
    watchdog = _start_watchdog(server)
    try:
        yield server.dsn()
    finally:
        await asyncio.shield(asyncio.to_thread(server.stop))
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        await asyncio.to_thread(watchdog.wait)


def _start_watchdog(server: EmbeddedPostgres) -> subprocess.Popen[bytes]:
    """Start a process that stops the cluster when this one ends, which it notices by the end of a pipe from it."""
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
    """Return the owner of the cluster, who alone may stop it; None if that is this user."""
    owner = folder.stat().st_uid
    return owner if owner != os.geteuid() else None
