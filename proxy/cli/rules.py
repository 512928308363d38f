"""`shadow rules explain|test`: show which rule applied where, and try out changed rules before they are in force.

Rules are tried on exported cases, on the kept examples of all findings, or on a journal. A journal holds the responses of the served side
only, so its exchanges are looked up in the store: what the store knows of their comparisons is compared again.
"""

import argparse
import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comparator.errors import CaseError
from comparator.exchanges.comparison import places_by_rule
from comparator.findings.cases import OpenedCase, open_case
from comparator.findings.rule_trial import RuleTrial, compare_case, render_trial, try_rules
from comparator.postgres import Connection
from comparator.store import queries
from comparator.store.report import render_rule_hits
from comparator.store.stored_rule_trial import StoredRow, StoredTrial, render_stored_trial, try_on_stored
from comparator.verdict import Comparator
from proxy.cli.compare import read_case
from proxy.cli.exit_codes import Exit
from proxy.cli.options import add_common_options, print_result, read_configuration, read_trial_rules, with_store
from proxy.cli.output import print_remark
from proxy.config.settings import Settings
from proxy.journal.keys import available_keys
from proxy.journal.segments import segments, writers
from proxy.recordings import journal
from proxy.recordings.counts import ReadCounts
from proxy.recordings.model import RecordedExchange

STORED: Final = "stored"
IDS_AT_ONCE: Final = 1_000
FINDINGS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class JournalSource:
    """The exchanges of a journal.

    Attributes:
        ids: their ids.
        since: time at which the first of them was served.
        counts: what could be read, and what not.
    """

    ids: tuple[str, ...]
    since: dt.datetime
    counts: ReadCounts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    explain = actions.add_parser("explain", help="show which rule applied at which place of a comparison")
    explain.add_argument("comparison", help="id of an exchange in the store, or file of an exported case")
    explain.add_argument("--days", type=int, default=14, help="days to search in the store (default: %(default)s)")
    trial = actions.add_parser("test", help="show what changed rules would hide or reveal")
    trial.add_argument(
        "file",
        type=Path,
        help="file with a section `compare:`; its members replace those in force, each as a whole",
    )
    trial.add_argument(
        "--against",
        action="append",
        required=True,
        help=f"a case file, a folder of case files, a journal, or `{STORED}` for the examples of all findings (repeatable, except a "
        "journal)",
    )
    for action in (explain, trial):
        add_common_options(action, store=True)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; `test` ends with NEGATIVE when the changed rules reveal what those in force hide, or a part of the journal is unreadable."""
    return _explain(args) if args.action == "explain" else _test(args)


def _explain(args: argparse.Namespace) -> int:
    settings = read_configuration(args)
    path = Path(args.comparison)
    if path.exists():
        opened = read_case(path)
        now = dt.datetime.now(dt.UTC)
        places = places_by_rule(compare_case(Comparator(settings.compare), opened, now=now))
    else:
        places = with_store(settings, lambda conn: _stored_places(conn, args.comparison, args.days))
    print_result(args, places, render_rule_hits(places))
    return Exit.DONE


async def _stored_places(conn: Connection, exchange_id: str, days: int) -> Mapping[str, Sequence[str]]:
    """Return the places by rule of a stored comparison."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    rows = await queries.comparisons(conn, since=since, exchange_id=exchange_id, limit=1)
    if not rows:
        raise CaseError(f"no comparison of exchange {exchange_id!r} in the last {days} days, and no such file")
    places: dict[str, list[str]] = {}
    for hit in rows[0].detail.rule_hits:
        places.setdefault(hit.rule, []).append(hit.place + (" (expired)" if hit.expired else ""))
    return places


def _test(args: argparse.Namespace) -> int:
    settings = read_configuration(args)
    old, new = Comparator(settings.compare), Comparator(read_trial_rules(args.file, args))
    source = read_journal(Path(args.against[0])) if len(args.against) == 1 and args.against[0] != STORED else None
    if source is not None:
        return _test_on_journal(args, settings, source, old, new)
    cases = [case for text in args.against for case in _cases(text, settings)]
    if not cases:
        raise CaseError(f"--against {' '.join(args.against)}: there is no case to try the rules on")
    trial: RuleTrial = try_rules(old, new, cases, now=dt.datetime.now(dt.UTC))
    print_result(args, trial, render_trial(trial))
    return Exit.NEGATIVE if trial.revealed else Exit.DONE


def _test_on_journal(
    args: argparse.Namespace, settings: Settings, source: JournalSource, old: Comparator, new: Comparator
) -> int:
    async def look_up(conn: Connection) -> StoredTrial:
        parts = [source.ids[n : n + IDS_AT_ONCE] for n in range(0, len(source.ids), IDS_AT_ONCE)]
        rows = [row for part in parts for row in await queries.comparisons_of(conn, part, since=source.since)]
        stored = [StoredRow(row.exchange_id, row.route, row.detail) for row in rows]
        cases = [open_case(case) for part in parts for case in await queries.exemplars_of(conn, part)]
        return try_on_stored(old, new, source.ids, stored, cases, now=dt.datetime.now(dt.UTC))

    result = with_store(settings, look_up)
    print_result(args, result, render_stored_trial(result))
    unread = source.counts.malformed
    for line in source.counts.lines() if unread else ():
        print_remark(line)
    return Exit.NEGATIVE if result.trial.revealed or unread else Exit.DONE


def read_journal(path: Path) -> JournalSource | None:
    """Return the exchanges of the journal in a directory; None when it has none of a journal's files."""
    if not path.is_dir() or not (segments(path) or any(segments(path / name) for name in writers(path))):
        return None
    counts = ReadCounts()
    started: dict[str, int] = {}
    for item in journal.read(path, available_keys(path, os.environ)):
        counts.add(item)
        if isinstance(item, RecordedExchange):
            started[item.id] = item.started_ns
    first_ns = min(started.values(), default=0)
    return JournalSource(tuple(started), dt.datetime.fromtimestamp(first_ns // 1_000_000_000, dt.UTC), counts)


def _cases(source: str, settings: Settings) -> Sequence[OpenedCase]:
    if source == STORED:
        return with_store(settings, _all_examples)
    path = Path(source)
    return [read_case(file) for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]


async def _all_examples(conn: Connection) -> Sequence[OpenedCase]:
    findings = await queries.findings(conn, limit=FINDINGS_MAX)
    return [open_case(case) for finding in findings for case in await queries.exemplars(conn, finding.id)]
