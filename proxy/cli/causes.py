"""`shadow causes list|show|ack|fix|export|diff`: list causes, record the decisions about them, compare two days or runs."""

import argparse
import datetime as dt
import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from comparator.errors import UnknownCauseError
from comparator.findings import cases
from comparator.findings.causes import CauseChange, compare_causes
from comparator.findings.clustering import FindingState
from comparator.postgres import Connection
from comparator.store import causes, queries
from comparator.store.report import render_cause, render_cause_changes, render_causes
from comparator.store.rows import CauseList, CauseRow, Finding
from proxy.cli.exit_codes import Exit
from proxy.cli.findings import write_case
from proxy.cli.options import add_triage, print_result, read_configuration, with_store
from proxy.config.settings import Settings
from proxy.errors import InputFileError
from proxy.input_file import read_input
from proxy.replay.errors import OptionError
from proxy.replay.report import CauseReport, parse_report

_STATES: Final = {"ack": FindingState.ACKNOWLEDGED, "fix": FindingState.FIXED}
FINDINGS_MAX: Final = 1_000
HELPS: Final = {
    "list": "list causes, new and regressed ones first, provisional ones last",
    "--route": "list only those that show on this route",
    "show": "show a cause with its findings and examples",
    "ack": "acknowledge a cause and its findings: they are still counted as mismatches",
    "fix": "mark a cause and its findings as fixed; they reopen as regressed when seen",
    "export": "write the clearest example as a case that `shadow compare` runs again",
    "diff": "compare the causes of two days or of two replays",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    parsers = add_triage(parser, "cause", HELPS)
    listing, diff, ack = parsers["list"], parsers["diff"], parsers["ack"]
    ack.add_argument("--owner", default="", help="person or team in charge")
    ack.add_argument("--until-more", type=_number_of_exchanges, help="open it again after so many more exchanges")
    ack.add_argument(
        "--until", type=dt.date.fromisoformat, help="open it again when it occurs after this day, YYYY-MM-DD"
    )
    listing.add_argument("--days", type=int, default=0, help="count the last days only (default: all that are kept)")
    listing.add_argument("--all", action="store_true", help="list also causes without an exchange on these days")
    diff.add_argument("before", help="a day, YYYY-MM-DD, or the report of a replay (a file)")
    diff.add_argument("after", help="a day, or the report of a replay")


def _number_of_exchanges(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; `diff` ends with NEGATIVE when there is a new cause."""
    settings = read_configuration(args)
    match args.action:
        case "list":
            listed = with_store(settings, lambda conn: _list(conn, args))
            print_result(args, listed, render_causes(listed))
        case "show":
            cause, findings, examples = with_store(settings, lambda conn: _whole(conn, args.id))
            shown = {"cause": cause, "findings": findings, "examples": examples}
            print_result(args, shown, render_cause(cause, findings, examples))
        case "export":
            _, _, examples = with_store(settings, lambda conn: _whole(conn, args.id))
            _export(args, examples)
        case "diff":
            changes = _diff(settings, args.before, args.after)
            print_result(args, changes, render_cause_changes(changes, (args.before, args.after)))
            return Exit.NEGATIVE if any(change.outcome == "new" for change in changes) else Exit.DONE
        case _:
            changed = with_store(settings, lambda conn: _decide(conn, args, _STATES[str(args.action)]))
            print_result(args, changed, render_cause(changed))
    return Exit.DONE


def _export(args: argparse.Namespace, examples: Sequence[cases.Case]) -> None:
    number: int = args.example
    if not 0 <= number < len(examples):
        raise UnknownCauseError(f"cause {args.id!r} has {len(examples)} examples; there is no number {number}")
    write_case(examples[number], args.to)


async def _list(conn: Connection, args: argparse.Namespace) -> CauseList:
    today = dt.datetime.now(dt.UTC).date()
    return await causes.causes(
        conn,
        route=args.route,
        states=[FindingState(name) for name in args.state],
        since=today - dt.timedelta(days=args.days - 1) if args.days else None,
        all_causes=args.all,
        limit=args.limit,
    )


async def _whole(conn: Connection, identity: str) -> tuple[CauseRow, tuple[Finding, ...], tuple[cases.Case, ...]]:
    cause = await causes.cause(conn, identity)
    findings = await queries.findings(conn, ids=cause.findings, limit=FINDINGS_MAX)
    return cause, findings, await causes.cases_of(conn, cause)


async def _decide(conn: Connection, args: argparse.Namespace, state: FindingState) -> CauseRow:
    by, now = args.by or getpass.getuser(), dt.datetime.now(dt.UTC)
    release: str = args.release if state is FindingState.FIXED else ""
    until = causes.NO_END
    if state is FindingState.ACKNOWLEDGED:
        until = causes.Until(args.owner, args.until_more, args.until)
    await causes.set_cause_state(
        conn, args.id, state, by=by, reason=args.reason, now=now, fixed_in=release, until=until
    )
    return await causes.cause(conn, args.id)


def _diff(settings: Settings, before: str, after: str) -> tuple[CauseChange, ...]:
    sides = [_side(settings, text) for text in (before, after)]
    titles = {**sides[0][1], **sides[1][1]}
    return compare_causes(sides[0][0], sides[1][0], titles)


def _side(settings: Settings, text: str) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """Return the exchanges and the titles of the causes of a day, or of a replay."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        found = _replayed(Path(text))
        return {cause.id: cause.exchanges for cause in found}, {cause.id: cause.title for cause in found}
    return with_store(settings, lambda conn: _day(conn, day))


def _replayed(path: Path) -> tuple[CauseReport, ...]:
    try:
        return parse_report(read_input(path)).causes
    except InputFileError as error:
        raise OptionError(f"neither a day (YYYY-MM-DD) nor the report of a replay: {error}") from error
    except OptionError as error:
        raise OptionError(f"{path}: neither a day (YYYY-MM-DD) nor the report of a replay: {error}") from error


async def _day(conn: Connection, day: dt.date) -> tuple[Mapping[str, int], Mapping[str, str]]:
    counts = await causes.exchanges_by_cause(conn, since=day, until=day)
    titles = await causes.titles(conn, counts)
    return counts, {identity: f"{title.where}: {title.what}" for identity, title in titles.items()}
