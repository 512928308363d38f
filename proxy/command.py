"""`shadow proxy`: serve callers from config.yaml."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import cast

import uvloop

from proxy import app, logs
from proxy.errors import ListenError
from proxy.routes import compile_routes
from proxy.settings import Settings
from proxy.settings_file import read_settings
from proxy.workers import Supervisor

# The journal's thread must not hold the interpreter for the default 5 ms while callers wait.
SWITCH_INTERVAL_S = 0.0005


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument("--worker", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--restarts", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--check", action="store_true", help="read the configuration, say what is wrong with it, and end"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM; 0 after a clean drain."""
    path: Path = args.config

    def read() -> Settings:
        return read_settings(path)

    settings = read()
    compile_routes(settings.routes)
    if args.check:
        print(f"{path} is fine")  # noqa: T201 (a command's answer)
        return 0
    logs.configure()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        _serve(path, settings, args, read)
    except ExceptionGroup as group:
        raise _plain(group) from group
    return 0


def _serve(path: Path, settings: Settings, args: argparse.Namespace, read: app.Reload) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if args.worker < 0 and settings.listen.workers > 1:
            runner.run(_supervise(path, settings))
        else:
            worker = app.Worker(args.worker, args.restarts) if args.worker >= 0 else app.ALONE
            runner.run(app.serve(settings, environ=os.environ, reload=read, worker=worker))


def _plain(group: ExceptionGroup[Exception]) -> Exception:
    """The first error of nested groups, named: what starting ran into."""
    first = group.exceptions[0]
    if isinstance(first, ExceptionGroup):
        return _plain(cast("ExceptionGroup[Exception]", first))
    return ListenError(f"cannot listen: {first}") if isinstance(first, OSError) else first


async def _supervise(path: Path, settings: Settings) -> None:
    def command_of(worker: int, restarts: int) -> list[str]:
        words = ["proxy", "--config", str(path), "--worker", str(worker), "--restarts", str(restarts)]
        return [sys.executable, "-m", "proxy", *words]

    await Supervisor(command_of, settings.listen.workers, drain_s=settings.limits.drain_s).run()
