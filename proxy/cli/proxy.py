"""`shadow proxy`: serve clients as config.yaml says.

With several workers this process is their parent: it opens the sockets, starts each worker as `shadow proxy --worker N` with the
sockets inherited, and replaces workers that end.
"""

import argparse
import asyncio
import os
import sys
from functools import partial
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from comparator.capture.settings import Driver
from comparator.exchanges.model import Role, Side
from proxy import logging_json as logs
from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, print_line
from proxy.config.backends import BackendsSettings
from proxy.config.checks import check_admin_access
from proxy.config.loader import SettingsFile, read_settings
from proxy.config.rollout import steps_of
from proxy.config.settings import Settings
from proxy.errors import ListenError
from proxy.exception_groups import first_error
from proxy.rollout.disk import Disks
from proxy.rollout.service import DISK_CLOSE_S
from proxy.rollout.switch import Switch
from proxy.serving import app
from proxy.serving.descriptors import budget_of, raise_limit
from proxy.serving.routing import compile_routes
from proxy.serving.shipper_process import ship_command, shipping
from proxy.serving.supervisor import Supervisor, WorkerSlot
from proxy.serving.worker_handoff import InheritedFds, open_sockets

# The journal's thread must not hold the interpreter for the default 5 ms while clients wait.
SWITCH_INTERVAL_S = 0.0005


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    # (how the parent starts a worker)
    parser.add_argument("--worker", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--restarts", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--lost", type=int, nargs=2, default=(0, 0), help=argparse.SUPPRESS)
    parser.add_argument("--inherited", default="", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM; DONE after a clean drain.

    Raises:
        SettingsError: the configuration is wrong.
        ListenError: a port cannot be listened on.
    """
    path: Path = args.config
    source = SettingsFile(path)
    settings = read_settings(path)
    compile_routes(settings.routes)
    check_admin_access(settings)
    limit = raise_limit()
    if args.check:
        _check_rules(settings)
        fits = budget_of(settings, limit).describe()
        serving, *unset = summary_of(settings)
        print_line("\n".join([f"{path} is valid", serving, fits, *unset]))
        return Exit.DONE
    logs.configure(background=True)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        _serve(settings, args, source)
    except ExceptionGroup as group:
        error = first_error(group)
        if isinstance(error, OSError):
            raise ListenError(f"cannot listen: {error}") from group
        raise error from group
    return Exit.DONE


def _check_rules(settings: Settings) -> None:
    """Compile the rules, which only the runner needs.

    Raises:
        RuleError: a rule, table or known difference is wrong.
    """
    from comparator.verdict import Comparator  # noqa: PLC0415 (a proxy that serves does not need it)

    Comparator(settings.compare)


def summary_of(settings: Settings) -> list[str]:
    """Return which side would serve, which databases are not set, and instances that get different Host headers, as lines. Pure."""
    serve, other = settings.serve, settings.serve.side.other
    if settings.rollout.enabled:
        first = steps_of(settings.rollout, "all")[0]
        serving = f"the rollout decides who serves; at its first step the candidate serves {first.percent:g} %"
    else:
        rest = f", the {other} the rest" if serve.percent < 100 else ""
        serving = f"the {serve.side} serves {serve.percent:g} % of the clients{rest}"
    slices = settings.runner.slices
    pair = {"live": settings.databases.live, "shadow": slices[0].shadow if slices else settings.databases.shadow}
    needed = (pair if settings.capture.driver is not Driver.OFF else {}) | {"store": settings.databases.store}
    unset = [f"databases.{name}" for name, dsn in needed.items() if not dsn]
    missing = [f"not set, but needed by the runner: {', '.join(unset)}"] if unset else []
    replies_only = (
        [
            "capture.driver is off: only responses are compared; writes are skipped (uncaptured_write) but on routes with `safe: true`",
            "capture.driver is off: differing responses do not roll back unless rollout.auto_rollback.without_rows is true",
        ]
        if settings.capture.driver is Driver.OFF
        else []
    )
    return [serving, *missing, *replies_only, *host_warnings(settings.backends)]


def host_warnings(backends: BackendsSettings) -> list[str]:
    """Return a warning if instances get different Host headers, so that links they build from it would differ. Pure."""
    sent: dict[str, list[str]] = {}
    for side, role in product(Side, Role):
        if (instance := backends.of(side, role)).url:
            host = {"preserve": "the client's", "backend": urlsplit(instance.url).netloc}.get(
                instance.host, instance.host
            )
            sent.setdefault(host, []).append(f"{side}.{'live' if role is Role.SERVED else 'shadow'}")
    if len(sent) < 2:
        return []
    listed = "; ".join(f"{host} to {', '.join(names)}" for host, names in sent.items())
    warning = "warning: backends.*.host sends different Host headers, so links that a response builds from it are reported as differences"
    return [f"{warning}: {listed}. Set `host: preserve`, or the same name, on all of them"]


def _serve(settings: Settings, args: argparse.Namespace, source: SettingsFile) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if args.worker < 0 and settings.listen.workers > 1:
            runner.run(_supervise(args.config, settings))
        else:
            runner.run(_serve_process(settings, args, source))


async def _serve_process(settings: Settings, args: argparse.Namespace, source: SettingsFile) -> None:
    """Serve as the only process, with the shipper of its own, or as one worker of several."""
    worker = _worker(args)
    if args.worker >= 0:
        await app.serve(settings, environ=os.environ, source=source, worker=worker)
        return
    async with shipping(settings.journal, ship_command(args.config)):
        await app.serve(settings, environ=os.environ, source=source, worker=worker)


def _worker(args: argparse.Namespace) -> app.WorkerIdentity:
    if args.worker < 0:
        return app.ALONE
    return app.WorkerIdentity(args.worker, args.restarts, tuple(args.lost), InheritedFds.of(args.inherited))


def worker_command(path: Path, slot: WorkerSlot, inherited: InheritedFds) -> list[str]:
    """Return the command line that starts a worker."""
    own = ["--worker", str(slot.number), "--restarts", str(slot.restarts), "--lost", *map(str, slot.lost)]
    return [sys.executable, "-m", "proxy", "proxy", "--config", str(path), *own, "--inherited", inherited.to_argument()]


async def _supervise(path: Path, settings: Settings) -> None:
    try:
        opened = open_sockets(settings.listen, settings.admin)
    except OSError as error:
        raise ListenError(f"cannot listen: {error}") from error
    slots = [WorkerSlot(number, sockets) for number, sockets in enumerate(opened)]

    disks = Disks.threads()
    switch = Switch(Path(settings.serve.state_file), Path(settings.serve.sentinel_file), disks=disks)
    roll_back = partial(app.roll_back_on_signal, switch, os.getpid())
    command = partial(worker_command, path)
    try:
        async with shipping(settings.journal, ship_command(path)):
            await Supervisor(command, slots, drain_s=settings.limits.drain_s, roll_back=roll_back).run()
    finally:
        await disks.close(DISK_CLOSE_S)
