"""`shadow findings list|show|ack|fix|export|verify`: list findings, record the decisions about them, try a build that is to fix one."""

import argparse
import asyncio
import datetime as dt
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from comparator.errors import UnknownFindingError
from comparator.findings import cases
from comparator.findings.clustering import FindingState
from comparator.findings.verification import CaseVerification, FindingPlace, VerificationOutcome, overall
from comparator.postgres import Connection
from comparator.store import queries
from comparator.store.report import render_finding, render_findings
from proxy.cli.exit_codes import Exit
from proxy.cli.options import add_triage, print_result, read_configuration, with_store
from proxy.cli.output import print_remark
from proxy.config.settings import Settings
from proxy.exception_groups import first_error
from proxy.journal.registry import journal_keys
from proxy.private_file import write_private

_STATES: Final = {"ack": FindingState.ACKNOWLEDGED, "fix": FindingState.FIXED}
HELPS: Final = {
    "list": "list findings, new and regressed ones first",
    "--route": "list only those of this route",
    "show": "show a finding with its examples",
    "ack": "acknowledge a finding: it is still counted as a mismatch",
    "fix": "mark a finding as fixed; it reopens as regressed when it occurs again",
    "export": "write an example as a case that `shadow compare` runs again",
    "verify": "repeat the examples on both shadow instances: does the build that runs there fix it, and break nothing else?",
}
_WORDS: Final = {
    VerificationOutcome.FIXED: "fixed",
    VerificationOutcome.NOT_FIXED: "not fixed",
    VerificationOutcome.SOMETHING_ELSE_BROKE: "something else broke",
    VerificationOutcome.UNDECIDED: "undecided",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    verify = add_triage(parser, "finding", HELPS)["verify"]
    verify.add_argument("id", help="id of the finding")
    verify.add_argument("--example", type=int, help="number of the only example to repeat, from 0 (default: all)")


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
        case "verify":
            return _verify(args, settings)
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
    write_case(_example(args, examples), args.to)


def _example(args: argparse.Namespace, examples: tuple[cases.Case, ...]) -> cases.Case:
    number: int = args.example
    if not 0 <= number < len(examples):
        raise UnknownFindingError(f"finding {args.id!r} has {len(examples)} examples; there is no number {number}")
    return examples[number]


def _verify(args: argparse.Namespace, settings: Settings) -> int:
    """Repeat the examples of a finding; DONE when the build fixes it, UNAVAILABLE when no example decides it."""
    finding, examples = with_store(settings, lambda conn: _whole(conn, args.id))
    if not examples:
        raise UnknownFindingError(f"finding {args.id!r} has no example that is kept")
    chosen = examples if args.example is None else (_example(args, examples),)
    place = FindingPlace(finding.route, finding.place, finding.discriminator)
    results = asyncio.run(_repeat(settings, place, chosen))
    outcome = overall(results)
    lines = [f"{args.id}: {_WORDS[outcome]}", *(line for result in results for line in _result_lines(result))]
    print_result(args, {"finding": args.id, "outcome": outcome, "cases": results}, "\n".join(lines))
    match outcome:
        case VerificationOutcome.FIXED:
            return Exit.DONE
        case VerificationOutcome.UNDECIDED:
            return Exit.UNAVAILABLE
        case _:
            return Exit.NEGATIVE


async def _repeat(settings: Settings, place: FindingPlace, examples: Sequence[cases.Case]) -> list[CaseVerification]:
    salt = journal_keys(settings.journal, os.environ).digest
    try:
        # (importing it takes half a second, and lists of findings do not need it)
        from proxy.replay.case_replay import open_case_replay  # noqa: PLC0415

        async with open_case_replay(settings, os.environ, salt) as replay:
            return [await replay.verify(place, case) for case in examples]
    except BaseExceptionGroup as group:
        raise first_error(group) from group


def _result_lines(result: CaseVerification) -> list[str]:
    reason = f": {result.reason}" if result.reason else ""
    lines = [f"  {result.exchange}  {result.request}  {_WORDS[result.outcome]}{reason}"]
    return lines + [f"    still there, another finding: {text}" for text in result.remaining]


def write_case(case: cases.Case, to: Path | None) -> None:
    """Write a case to a file, or to the standard output."""
    text = cases.dump(case) + b"\n"
    if to is None:
        sys.stdout.write(text.decode())
    else:
        write_private(to, text)
        print_remark(f"written to {to}; compare it again: shadow compare {to}")
