"""`shadow snapshot`: keep states of the shadow database, and go back to them."""

import argparse
import asyncio
import datetime as dt
import os
import sys
from pathlib import Path

from comparator.capture.replication import environment
from proxy.config.loader import read_settings
from proxy.replay import snapshot
from proxy.replay.errors import SnapshotError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument(
        "--server",
        default=os.environ.get("SHADOW_SNAPSHOT_DSN", ""),
        metavar="DSN",
        help="the server that keeps the snapshots (default: SHADOW_SNAPSHOT_DSN, else the shadow's own)",
    )
    parser.add_argument(
        "--programs", type=Path, metavar="DIR", help="pg_dump and psql, for a server other than the shadow's"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("create", "keep the shadow database as it is now"),
        ("restore", "put a snapshot in the shadow database's place"),
        ("drop", "delete a snapshot"),
    ):
        actions.add_parser(name, help=text).add_argument("name", help="of the snapshot")
    actions.add_parser("ls", help="all snapshots: of which database, when, how large")
    for action in actions.choices.values():
        # Also behind the action, where all other commands have them; what stands before it is kept.
        action.add_argument("--config", type=Path, default=argparse.SUPPRESS, help="default: config.yaml")
        action.add_argument("--server", metavar="DSN", default=argparse.SUPPRESS, help="as before the action")
        action.add_argument("--programs", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="likewise")


def run(args: argparse.Namespace) -> int:
    """Do the action."""
    databases = read_settings(args.config).databases
    dsn = databases.shadow
    if not dsn:
        raise SnapshotError("databases.shadow is empty; only the shadow database is ever kept or replaced")
    if databases.live and _place(databases.live) == _place(dsn):
        raise SnapshotError("databases.live and databases.shadow are the same database: live would be replaced")
    match args.action:
        case "create":
            now = dt.datetime.now(dt.UTC)
            asyncio.run(snapshot.create(dsn, args.name, now=now, kept_at=args.server, programs=args.programs))
            _say(f"kept as {args.name}; to go back to it: shadow snapshot restore {args.name}")
        case "restore":
            asyncio.run(snapshot.restore(dsn, args.name, kept_at=args.server, programs=args.programs))
            _say(f"the shadow database is as it was kept in {args.name}")
        case "drop":
            asyncio.run(snapshot.drop(args.server or dsn, args.name))
            _say(f"{args.name} is deleted")
        case _:
            _say(render(asyncio.run(snapshot.list_all(args.server or dsn))))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _place(dsn: str) -> tuple[str, str, str]:
    """Server and database, as far as the DSN says them."""
    words = environment(dsn)
    return words.get("PGHOST", "localhost"), words.get("PGPORT", "5432"), words.get("PGDATABASE", "")


def render(found: list[snapshot.Snapshot]) -> str:
    """A table of the snapshots."""
    if not found:
        return "nothing yet: shadow snapshot create NAME keeps the shadow database as it is"
    lines = [f"{'name':<32} {'of':<24} {'made':<26} {'bytes':>14}"]
    lines += [f"{one.name:<32} {one.of:<24} {one.made:<26} {one.bytes:>14}" for one in found]
    return "\n".join(lines)
