"""`shadow rules explain|test`: which rule touched what, and what other rules would have hidden or revealed.

A journal holds one side's responses only: rules are tried on what the store holds of its exchanges. Reading a journal is not the
comparator's business, so whoever offers the command says how.
"""

import argparse
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comparator.errors import CaseError
from comparator.findings.cases import OpenedCase, open_case
from comparator.findings.rule_trial import RuleTrial, render_trial, try_rules
from comparator.postgres import Connection
from comparator.settings import StoreSettings
from comparator.store import queries
from comparator.store.report import render_rule_hits
from comparator.store.stored_rule_trial import StoredRow, StoredTrial, render_stored_trial, try_on_stored
from comparator.verdict import Comparator, places_by_rule
from proxy.cli.compare import read_case
from proxy.cli.exit_codes import Exit
from proxy.cli.options import add_common_options, print_result, read_configuration, read_trial_rules, with_store
from proxy.config.settings import Settings

STORED = "stored"
IDS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class JournalSource:
    """The exchanges of a journal by id, and when the first was served."""

    ids: tuple[str, ...]
    since: dt.datetime


ReadJournal = Callable[[Path], JournalSource | None]
"""Reads a journal's directory; None when the path is none."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True)
    explain = actions.add_parser("explain", help="which rule touched which path of a comparison")
    explain.add_argument("comparison", help="an exchange's id in the store, or the file of an exported case")
    explain.add_argument("--days", type=int, default=14, help="how far back the store is searched")
    trial = actions.add_parser("test", help="what a rules file would hide or reveal, against the rules in force")
    trial.add_argument(
        "file",
        type=Path,
        help="file with a section `compare:`: what it has replaces what is in force there, the rest stays",
    )
    trial.add_argument(
        "--against",
        action="append",
        required=True,
        help=f"a case file, a folder of them, a journal (what the store holds of its exchanges), or `{STORED}`: the examples of all "
        "findings (repeatable; a journal stands alone)",
    )
    for chosen in (explain, trial):
        add_common_options(chosen, store=True)


def _no_journal(_: Path) -> None:
    return None


def run(args: argparse.Namespace, read_journal: ReadJournal = _no_journal) -> int:
    """Run one of the subcommands; `test` ends with NO when the new rules reveal what the old ones hide."""
    return _explain(args) if args.action == "explain" else _test(args, read_journal)


def _explain(args: argparse.Namespace) -> int:
    settings = read_configuration(args)
    path = Path(args.comparison)
    if path.exists():
        opened = read_case(path)
        now = dt.datetime.now(dt.UTC)
        found = Comparator(settings.compare).compare(opened.route, opened.served, opened.mirrored, now=now)
        touches = places_by_rule(found)
    else:
        touches = with_store(settings.store, lambda conn: _stored_touches(conn, args.comparison, args.days))
    print_result(args, touches, render_rule_hits(touches))
    return Exit.DONE


async def _stored_touches(conn: Connection, exchange: str, days: int) -> Mapping[str, Sequence[str]]:
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    rows = await queries.comparisons(conn, since=since, exchange_id=exchange, limit=1)
    if not rows:
        raise CaseError(f"no comparison of exchange {exchange!r} in the last {days} days, and no such file")
    touches: dict[str, list[str]] = {}
    for touch in rows[0].detail.rule_hits:
        touches.setdefault(touch.rule, []).append(touch.place + (" (expired)" if touch.expired else ""))
    return touches


def _test(args: argparse.Namespace, read_journal: ReadJournal) -> int:
    settings = read_configuration(args)
    journal = read_journal(Path(args.against[0])) if len(args.against) == 1 and args.against[0] != STORED else None
    if journal is not None:
        return _test_on_journal(args, settings, journal)
    opened = [one for source in args.against for one in _cases(source, settings.store)]
    if not opened:
        raise CaseError("nothing to test against")
    trial: RuleTrial = try_rules(
        Comparator(settings.compare), Comparator(read_trial_rules(args.file, args)), opened, now=dt.datetime.now(dt.UTC)
    )
    print_result(args, trial, render_trial(trial))
    return Exit.NEGATIVE if trial.revealed else Exit.DONE


def _test_on_journal(args: argparse.Namespace, settings: Settings, journal: JournalSource) -> int:
    old, new = Comparator(settings.compare), Comparator(read_trial_rules(args.file, args))

    async def look_up(conn: Connection) -> StoredTrial:
        parts = [journal.ids[n : n + IDS_AT_ONCE] for n in range(0, len(journal.ids), IDS_AT_ONCE)]
        rows = [row for part in parts for row in await queries.comparisons_of(conn, part, since=journal.since)]
        kept = [StoredRow(row.exchange_id, row.route, row.detail) for row in rows]
        cases = [open_case(case) for part in parts for case in await queries.exemplars_of(conn, part)]
        return try_on_stored(old, new, journal.ids, kept, cases, now=dt.datetime.now(dt.UTC))

    found = with_store(settings.store, look_up)
    print_result(args, found, render_stored_trial(found))
    return Exit.NEGATIVE if found.trial.revealed else Exit.DONE


def _cases(source: str, store: StoreSettings) -> Sequence[OpenedCase]:
    if source == STORED:
        return with_store(store, _all_examples)
    path = Path(source)
    return [read_case(file) for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]


async def _all_examples(conn: Connection) -> Sequence[OpenedCase]:
    found = await queries.findings(conn, limit=10_000)
    return [open_case(case) for finding in found for case in await queries.exemplars(conn, finding.id)]
