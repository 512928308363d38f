"""`shadow rollback`: let the legacy serve everything, at once.

Both ways at a time: the admin port of a running proxy (in effect at once) and the state file (in effect within POLL_S in every
proxy of this machine, and at the next start). One of them is enough; nothing else needs to be up.
"""

import argparse
import getpass
import sys
from pathlib import Path

from proxy.admin.client import post
from proxy.command import read_settings
from proxy.errors import AdminUnreachableError
from proxy.rollout.switch import Switch


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument("--reason", default="", help="kept with the state")
    parser.add_argument("--actor", default="", help="who does it; default: the login name")


def run(args: argparse.Namespace) -> int:
    """Roll back; 0 when a proxy or the state file took it."""
    settings = read_settings(args.config)
    actor = args.actor or getpass.getuser()
    switch = Switch(Path(settings.serve.state_file), Path(settings.serve.sentinel_file))
    reached = ""
    try:
        post(settings.admin, "/rollback", actor=actor, reason=args.reason)
        reached = f"the proxy at {settings.admin.host}:{settings.admin.port} serves from the legacy"
    except AdminUnreachableError as error:
        print(f"no proxy answered: {error}", file=sys.stderr)  # noqa: T201 (a command's answer)
    switch.load()
    switch.rollback(actor=actor, reason=args.reason)
    stored = f"stored in {Path(settings.serve.state_file).resolve()}" if switch.stored else ""
    print("; ".join(filter(None, (reached, stored))) or "nothing took the rollback")  # noqa: T201 (a command's answer)
    return 0 if reached or stored else 1
