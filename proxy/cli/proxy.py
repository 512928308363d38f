"""`shadow proxy`: serve clients from config.yaml."""

import argparse
import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from comparator.capture.settings import Driver
from proxy import logging_json as logs
from proxy.config.loader import SettingsFile, read_settings
from proxy.config.rollout import steps_of
from proxy.config.settings import Settings
from proxy.errors import ListenError
from proxy.rollout.switch import Switch
from proxy.serving import app
from proxy.serving.routing import compile_routes
from proxy.serving.supervisor import Supervisor, WorkerSlot
from proxy.serving.worker_handoff import InheritedFds, open_sockets

# The journal's thread must not hold the interpreter for the default 5 ms while clients wait.
SWITCH_INTERVAL_S = 0.0005


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument("--worker", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--restarts", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--lost", type=int, nargs=2, default=(0, 0), help=argparse.SUPPRESS)
    parser.add_argument("--handed", default="", help=argparse.SUPPRESS)
    parser.add_argument(
        "--check", action="store_true", help="read the configuration, say what is wrong with it, and end"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM; 0 after a clean drain."""
    path: Path = args.config

    source = SettingsFile(path)
    settings = read_settings(path)
    compile_routes(settings.routes)
    if args.check:
        _check_rules(settings)
        print("\n".join([f"{path} is fine", *said_of(settings)]))  # noqa: T201 (a command's answer)
        return 0
    logs.configure()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        _serve(settings, args, source)
    except ExceptionGroup as group:
        raise _plain(group) from group
    return 0


def _check_rules(settings: Settings) -> None:
    """Compile what only the runner needs.

    Raises:
        RuleError: a rule, table or known difference is wrong.
    """
    from comparator.verdict import Comparator  # noqa: PLC0415 (a proxy that serves has no use for it)

    Comparator(settings.compare)


def said_of(settings: Settings) -> list[str]:
    """What whoever checks a configuration should know before it serves: who serves, and what is not set. Pure."""
    serve, other = settings.serve, settings.serve.side.other
    rest = f", the {other} the rest" if serve.percent < 100 else ""
    named = {"live": settings.databases.live, "shadow": settings.databases.shadow}
    used = (named if settings.capture.driver is not Driver.OFF else {}) | {"store": settings.databases.store}
    empty = [f"databases.{name}" for name, dsn in used.items() if not dsn]
    who = f"the {serve.side} serves {serve.percent:g} % of the clients{rest}"
    if settings.rollout.enabled:
        first = steps_of(settings.rollout, "")[0]
        who = f"the rollout says who serves; at its first step the candidate serves {first.percent:g} %"
    return [who] + ([f"empty, and the runner has a use for it: {', '.join(empty)}"] if empty else [])


def _serve(settings: Settings, args: argparse.Namespace, source: SettingsFile) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if args.worker < 0 and settings.listen.workers > 1:
            runner.run(_supervise(args.config, settings))
        else:
            runner.run(app.serve(settings, environ=os.environ, source=source, worker=_worker(args)))


def _worker(args: argparse.Namespace) -> app.WorkerIdentity:
    if args.worker < 0:
        return app.ALONE
    return app.WorkerIdentity(args.worker, args.restarts, tuple(args.lost), InheritedFds.of(args.handed))


def _plain(group: ExceptionGroup[Exception]) -> Exception:
    """The first error of nested groups, named: what starting ran into."""
    first = group.exceptions[0]
    if isinstance(first, ExceptionGroup):
        return _plain(cast("ExceptionGroup[Exception]", first))
    return ListenError(f"cannot listen: {first}") if isinstance(first, OSError) else first


def worker_command(path: Path, slot: WorkerSlot, handed: InheritedFds) -> list[str]:
    """How a worker is started by its parent."""
    own = ["--worker", str(slot.number), "--restarts", str(slot.restarts), "--lost", *map(str, slot.lost)]
    return [sys.executable, "-m", "proxy", "proxy", "--config", str(path), *own, "--handed", handed.to_argument()]


async def _supervise(path: Path, settings: Settings) -> None:
    try:
        opened = open_sockets(settings.listen, settings.admin)
    except OSError as error:
        raise ListenError(f"cannot listen: {error}") from error
    slots = [WorkerSlot(number, sockets) for number, sockets in enumerate(opened)]

    def roll_back() -> None:
        switch = Switch(Path(settings.serve.state_file), Path(settings.serve.sentinel_file))
        switch.load()
        switch.rollback(actor="SIGUSR2", reason="")

    command = partial(worker_command, path)
    await Supervisor(command, slots, drain_s=settings.limits.drain_s, roll_back=roll_back).run()
