"""`shadow rules explain|test`, with journals: the comparator's command, told how a journal is read."""

import argparse
import datetime as dt
from pathlib import Path

from proxy.cli import rules_common as rules_command
from proxy.cli.rules_common import JournalSource
from proxy.journal.segments import segments, writers
from proxy.recordings import journal as own
from proxy.recordings.model import MalformedRecord

configure = rules_command.configure


def run(args: argparse.Namespace) -> int:
    """Run one of the subcommands; `test` ends with NO when the new rules reveal what the old ones hide."""
    return rules_command.run(args, read_journal)


def read_journal(path: Path) -> JournalSource | None:
    """The exchanges of the journal in a directory; None when it holds none of a journal's files."""
    if not path.is_dir() or not (segments(path) or any(segments(path / name) for name in writers(path))):
        return None
    found = {one.id: one.started_ns for one in own.read(path, None) if not isinstance(one, MalformedRecord)}
    first_ns = min(found.values(), default=0)
    return JournalSource(tuple(found), dt.datetime.fromtimestamp(first_ns // 1_000_000_000, dt.UTC))
