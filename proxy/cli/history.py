"""`shadow history`: print the audit log of the rollout (actor, time, reason, evidence), or verify its chain.

`--json` prints one link of the chain a line: an export that `--verify --file` checks on any machine, without a database.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, print_line, print_remark
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import StateFileError
from proxy.rollout import statefile
from proxy.rollout.admin_client import AdminClient
from proxy.rollout.audit import GENESIS, AuditEntry, ChainLink, verify
from proxy.rollout.control import open_control


class History(msgspec.Struct, frozen=True):
    """The log, the entries that are not stored yet, and what clients are served by now, whatever the last entry says."""

    links: tuple[ChainLink, ...] = ()
    pending: tuple[AuditEntry, ...] = ()
    in_force: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    parser.add_argument("--verify", action="store_true", help="check the whole chain; exit code 1 when it is broken")
    parser.add_argument(
        "--head", default="", help="with --verify: a hash exported earlier, which must still be in the chain"
    )
    parser.add_argument("--file", type=Path, help="read an export instead of the rollout's log")
    parser.add_argument("--limit", type=int, default=0, help="print only the last entries; default: all")
    parser.add_argument("--json", action="store_true", help="print one link of the chain a line")


def run(args: argparse.Namespace) -> int:
    """Print the log, or verify it; NEGATIVE when it is broken."""
    limit = 0 if args.verify else args.limit
    history = _read_file(args.file) if args.file else _read(read_settings(args.config), limit)
    if args.verify:
        return _verify(history.links, args.head)
    for link in history.links:
        print_line(msgspec.json.encode(link).decode() if args.json else render(link.entry))
    if not history.links and not history.pending:
        print_remark("the log is empty: the rollout has not changed yet")
    for entry in history.pending:
        print_remark(f"not stored yet: {render(entry)}")
    if history.in_force and not args.json and (history.links or history.pending):
        print_remark(f"in force: {history.in_force}")
    return Exit.DONE


def _verify(links: Sequence[ChainLink], head: str) -> int:
    verification = verify(links)
    fault = verification.fault
    if not fault and head and head not in {GENESIS, *(link.hash for link in links)}:
        fault = f"no entry has the hash {head}: the end of the log was cut off, or it is another log"
    if fault:
        print_remark(f"BROKEN: {fault}")
        return Exit.NEGATIVE
    print_line(f"intact: {verification.entries} entries, head {verification.head}")
    return Exit.DONE


def _read(settings: Settings, limit: int) -> History:
    response = AdminClient.of(settings, os.environ).first_answer("GET", f"/rollout/history?limit={limit}")
    return msgspec.convert(response.document, History) if response.ok else asyncio.run(_read_here(settings, limit))


async def _read_here(settings: Settings, limit: int) -> History:
    """Read the log from the database or this machine's files, since no proxy is running."""
    control = open_control(settings.serve, settings.rollout, settings.databases.store)
    control.start()
    async with control.replica.session():
        links = await control.replica.history(limit=limit or None)
        return History(links, tuple(control.replica.pending.values()), control.in_force)


def _read_file(path: Path) -> History:
    if not path.exists():
        raise StateFileError(f"{path}: the file does not exist")
    return History(statefile.read_links(path))


def render(entry: AuditEntry) -> str:
    """Return an entry as one line."""
    move = ""
    if entry.before and entry.after:
        move = f" {entry.before.phase} {entry.before.step} → {entry.after.phase} {entry.after.step}"
    parts = [f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.group or "all", f"{entry.event}{move}", f"by {entry.actor}"]
    parts += ["FORCED"] if entry.forced else []
    parts += [f"finding {entry.finding}"] if entry.finding else []
    parts += [entry.reason] if entry.reason else []
    return "  ".join(parts)
