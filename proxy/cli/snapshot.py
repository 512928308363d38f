"""`shadow snapshot`: create, restore, drop and list snapshots of the shadow database."""

import argparse
import asyncio
import datetime as dt
import math
import os
from pathlib import Path

from comparator.capture.replication import environment
from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, print_line
from proxy.config.loader import read_settings
from proxy.replay import snapshot
from proxy.replay.errors import OptionError, SnapshotError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    parser.add_argument(
        "--server",
        default=os.environ.get("SHADOW_SNAPSHOT_DSN", ""),
        metavar="DSN",
        help="the snapshots' server (default: SHADOW_SNAPSHOT_DSN, else the shadow database's own)",
    )
    parser.add_argument(
        "--programs", type=Path, metavar="DIR", help="folder of pg_dump and psql, which a server of its own needs"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("create", "copy the shadow database as it is now"),
        ("restore", "replace the shadow database by a snapshot"),
        ("drop", "delete a snapshot"),
    ):
        actions.add_parser(name, help=text).add_argument("name", help="name of the snapshot")
    create = actions.choices["create"]
    create.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait this long for connections to the shadow database to end",
    )
    create.add_argument(
        "--disconnect", action="store_true", help="close connections to the shadow database (those left after --wait)"
    )
    actions.add_parser("ls", help="list all snapshots with database, time and size")
    for action in actions.choices.values():
        # After the action too, where all other commands have them; an option before it is kept.
        action.add_argument("--config", type=Path, default=argparse.SUPPRESS, help="default: config.yaml")
        action.add_argument("--server", metavar="DSN", default=argparse.SUPPRESS, help="see above")
        action.add_argument("--programs", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="see above")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    databases = read_settings(args.config).databases
    dsn = databases.shadow
    if not dsn:
        raise SnapshotError("databases.shadow is empty; set it: only the shadow database is ever copied or replaced")
    if databases.live and _server_and_database(databases.live) == _server_and_database(dsn):
        raise SnapshotError("databases.live and databases.shadow are the same database: live would be replaced")
    match args.action:
        case "create":
            now = dt.datetime.now(dt.UTC)
            if not 0 <= args.wait < math.inf:
                raise OptionError(f"--wait {args.wait:g}: must be a number of seconds, not negative")
            connections = snapshot.OpenConnections(args.wait, args.disconnect)
            asyncio.run(
                snapshot.create(
                    dsn, args.name, now=now, server=args.server, programs=args.programs, connections=connections
                )
            )
            print_line(f"created {args.name}; restore it with: shadow snapshot restore {args.name}")
        case "restore":
            asyncio.run(snapshot.restore(dsn, args.name, server=args.server, programs=args.programs))
            print_line(f"restored {args.name} to the shadow database")
        case "drop":
            asyncio.run(snapshot.drop(args.server or dsn, args.name))
            print_line(f"dropped {args.name}")
        case _:
            print_line(render(asyncio.run(snapshot.list_all(args.server or dsn))))
    return Exit.DONE


def _server_and_database(dsn: str) -> tuple[str, str, str]:
    """Return host, port and database of a DSN."""
    parts = environment(dsn)
    return parts.get("PGHOST", "localhost"), parts.get("PGPORT", "5432"), parts.get("PGDATABASE", "")


def render(snapshots: list[snapshot.Snapshot]) -> str:
    """Return a table of the snapshots."""
    if not snapshots:
        return "no snapshots; create one with: shadow snapshot create NAME"
    lines = [f"{'name':<32} {'database':<24} {'created':<26} {'bytes':>14}"]
    lines += [f"{row.name:<32} {row.database:<24} {row.created_at:<26} {row.bytes:>14}" for row in snapshots]
    return "\n".join(lines)
