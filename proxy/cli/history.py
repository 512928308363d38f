"""`shadow history`: who changed the rollout, when, why and on what evidence; and whether the log is whole.

`--json` prints one link of the chain a line: an export that `--verify --file` checks anywhere, without a database.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from proxy.cli.exit_codes import Exit
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import StateFileError
from proxy.rollout import statefile
from proxy.rollout.admin_client import first_answer
from proxy.rollout.audit import GENESIS, AuditEntry, ChainLink, verify
from proxy.rollout.offline import connected_control


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument("--verify", action="store_true", help="check the whole chain; 1 when it is broken")
    parser.add_argument(
        "--head", default="", help="with --verify: a hash exported earlier, which must still be in the chain"
    )
    parser.add_argument("--file", type=Path, help="an export instead of the running rollout's log")
    parser.add_argument("--limit", type=int, default=0, help="the last entries only; default: all")
    parser.add_argument("--json", action="store_true", help="one link of the chain a line")


def run(args: argparse.Namespace) -> int:
    """Print the log, or check it; NO when it is broken."""
    limit = 0 if args.verify else args.limit
    links, pending = _read_file(args.file) if args.file else _read(read_settings(args.config), limit)
    if args.verify:
        return _verify(links, args.head)
    for link in links:
        print(msgspec.json.encode(link).decode() if args.json else render(link.entry))  # noqa: T201 (a command's answer)
    if not links and not pending:
        print("nothing yet: the rollout has not changed", file=sys.stderr)  # noqa: T201 (a command's answer)
    for entry in pending:
        print(f"not stored yet: {render(entry)}", file=sys.stderr)  # noqa: T201 (a command's answer)
    return Exit.DONE


def _verify(links: Sequence[ChainLink], head: str) -> int:
    checked = verify(links)
    fault = checked.fault
    if not fault and head and head not in {GENESIS, *(link.hash for link in links)}:
        fault = f"no entry has the hash {head}: the end of the log was cut off, or it is another log"
    if fault:
        print(f"BROKEN: {fault}", file=sys.stderr)  # noqa: T201 (a command's answer)
        return Exit.NEGATIVE
    print(f"whole: {checked.entries} entries, head {checked.head}")  # noqa: T201 (a command's answer)
    return Exit.DONE


def _read(settings: Settings, limit: int) -> tuple[Sequence[ChainLink], Sequence[AuditEntry]]:
    answer = first_answer(settings, "GET", f"/rollout/history?limit={limit}")
    if not answer.ok:
        return asyncio.run(_offline(settings, limit))
    found = answer.document
    return (
        msgspec.convert(found.get("links", ()), tuple[ChainLink, ...]),
        msgspec.convert(found.get("pending", ()), tuple[AuditEntry, ...]),
    )


async def _offline(settings: Settings, limit: int) -> tuple[Sequence[ChainLink], Sequence[AuditEntry]]:
    async with connected_control(settings) as control:
        links = await control.replica.history(limit=limit or None)
        return links, tuple(control.replica.pending.values())


def _read_file(path: Path) -> tuple[Sequence[ChainLink], Sequence[AuditEntry]]:
    if not path.exists():
        raise StateFileError(f"{path} does not exist")
    return statefile.read_links(path), ()


def render(entry: AuditEntry) -> str:
    """One line an entry."""
    moved = ""
    if entry.before and entry.after:
        moved = f" {entry.before.phase} {entry.before.step} → {entry.after.phase} {entry.after.step}"
    words = [f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.group or "all", f"{entry.event}{moved}", f"by {entry.actor}"]
    words += ["FORCED"] if entry.forced else []
    words += [f"finding {entry.finding}"] if entry.finding else []
    words += [entry.reason] if entry.reason else []
    return "  ".join(words)
