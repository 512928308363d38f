"""`shadow findings list|show|ack|fix|export`: list findings, and record the decisions about them."""

import argparse
import datetime as dt
import getpass
import sys
from pathlib import Path
from typing import Final

from comparator.errors import UnknownFindingError
from comparator.findings import cases
from comparator.findings.clustering import FindingState
from comparator.postgres import Connection
from comparator.store import queries
from comparator.store.report import render_finding, render_findings
from proxy.cli.exit_codes import Exit
from proxy.cli.options import add_triage, print_result, read_configuration, with_store
from proxy.cli.output import print_remark
from proxy.private_file import write_private

_STATES: Final = {"ack": FindingState.ACKNOWLEDGED, "fix": FindingState.FIXED}
HELPS: Final = {
    "list": "list findings, new and regressed ones first",
    "--route": "list only those of this route",
    "show": "show a finding with its examples",
    "ack": "acknowledge a finding: it is still counted as a mismatch",
    "fix": "mark a finding as fixed; it reopens as regressed when it occurs again",
    "export": "write an example as a case that `shadow compare` runs again",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    add_triage(parser, "finding", HELPS)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    settings = read_configuration(args)
    match args.action:
        case "list":
            states = [FindingState(name) for name in args.state]
            found = with_store(
                settings, lambda conn: queries.findings(conn, route=args.route, states=states, limit=args.limit)
            )
            print_result(args, found, render_findings(found))
        case "show":
            finding, examples = with_store(settings, lambda conn: _whole(conn, args.id))
            print_result(args, {"finding": finding, "examples": examples}, render_finding(finding, examples))
        case "export":
            _, examples = with_store(settings, lambda conn: _whole(conn, args.id))
            _export(args, examples)
        case _:
            changed = with_store(settings, lambda conn: _decide(conn, args, _STATES[str(args.action)]))
            print_result(args, changed, render_finding(changed))
    return Exit.DONE


async def _whole(conn: Connection, identity: str) -> tuple[queries.Finding, tuple[cases.Case, ...]]:
    return await queries.finding(conn, identity), await queries.exemplars(conn, identity)


async def _decide(conn: Connection, args: argparse.Namespace, state: FindingState) -> queries.Finding:
    by, now = args.by or getpass.getuser(), dt.datetime.now(dt.UTC)
    release: str = args.release if state is FindingState.FIXED else ""
    await queries.set_state(conn, args.id, state, by=by, reason=args.reason, now=now, fixed_in=release)
    return await queries.finding(conn, args.id)


def _export(args: argparse.Namespace, examples: tuple[cases.Case, ...]) -> None:
    number: int = args.example
    if not 0 <= number < len(examples):
        raise UnknownFindingError(f"finding {args.id!r} has {len(examples)} examples; there is no number {number}")
    write_case(examples[number], args.to)


def write_case(case: cases.Case, to: Path | None) -> None:
    """Write a case to a file, or to the standard output."""
    text = cases.dump(case) + b"\n"
    if to is None:
        sys.stdout.write(text.decode())
    else:
        write_private(to, text)
        print_remark(f"written to {to}; compare it again: shadow compare {to}")
