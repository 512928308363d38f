"""`shadow resume`: end a rollback; callers are served by the configured stage again."""

import argparse
import getpass
import sys
from pathlib import Path

from proxy.admin.client import post
from proxy.command import read_settings
from proxy.errors import AdminRefusedError, AdminUnreachableError, SwitchError
from proxy.rollout.switch import Switch


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument("--reason", default="", help="kept with the state")
    parser.add_argument("--actor", default="", help="who does it; default: the login name")


def run(args: argparse.Namespace) -> int:
    """Resume through a running proxy, else in the state file; 1 when it was refused."""
    settings = read_settings(args.config)
    actor = args.actor or getpass.getuser()
    try:
        post(settings.admin, "/resume", actor=actor, reason=args.reason)
    except AdminRefusedError as error:
        print(error, file=sys.stderr)  # noqa: T201 (a command's answer)
        return 1
    except AdminUnreachableError:
        return _resume_file(
            Switch(Path(settings.serve.state_file), Path(settings.serve.sentinel_file)), actor, args.reason
        )
    print(f"the proxy at {settings.admin.host}:{settings.admin.port} serves by its stage again")  # noqa: T201 (a command's answer)
    return 0


def _resume_file(switch: Switch, actor: str, reason: str) -> int:
    switch.load()
    try:
        switch.resume(actor=actor, reason=reason)
    except SwitchError as error:
        print(error, file=sys.stderr)  # noqa: T201 (a command's answer)
        return 1
    print("no proxy answered; the state file says that the stage serves again")  # noqa: T201 (a command's answer)
    return 0
