"""The `shadow` command: one table of sub-commands, each in the module of its own area and imported only when it is called.

A sub-command's module offers `configure(parser)` and `run(args) -> exit code` (`proxy.cli.exit_codes`). What goes wrong it raises;
here an error that has a name becomes a line and a code. The scorer is another program (it is never imported here): its sub-commands
are handed to `python -m scorer` as they are.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, Protocol, cast

from comparator.capture.errors import (
    CaptureError,
    CaptureLostError,
    CloneError,
    FenceTimeoutError,
    LockTimeoutError,
    SlotTimeoutError,
)
from comparator.errors import ComparatorError, StoreUnavailableError
from proxy.cli.exit_codes import Exit
from proxy.cli.version import PACKAGE, version
from proxy.errors import DemoError, EmbeddedPostgresError, NotStoredError, ProxyError, ShadowUnreachableError
from proxy.recordings.errors import ServerAwayError
from proxy.serving.signal_mask import held

NAMED: Final = (ProxyError, ComparatorError, CaptureError)
AWAY: Final = (
    CaptureLostError,
    CloneError,
    DemoError,
    EmbeddedPostgresError,
    FenceTimeoutError,
    LockTimeoutError,
    NotStoredError,
    ServerAwayError,
    ShadowUnreachableError,
    SlotTimeoutError,
    StoreUnavailableError,
)
"""Errors of what a command needs; every other error with a name is of how it was used."""


class Command(Protocol):
    """What the module of a sub-command offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit code."""
        ...


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One sub-command: its name, one line of help, and the module that does it."""

    name: str
    help: str
    module: str


COMMANDS: Final = (
    CommandEntry("demo", "run everything on this machine for a minute and print what was found", "proxy.cli.demo"),
    CommandEntry("proxy", "serve clients, journal every exchange", "proxy.cli.proxy"),
    CommandEntry("runner", "mirror what the journal holds against the shadow database and compare", "proxy.cli.runner"),
    CommandEntry("status", "stage, counts, match rate, accounting, top differences", "proxy.cli.status"),
    CommandEntry("promote", "the next step of the rollout, if the gates are open", "proxy.cli.promote"),
    CommandEntry("pause", "stay at this step, whatever the gates say", "proxy.cli.pause"),
    CommandEntry("rollback", "let the legacy serve everything, at once", "proxy.cli.rollback"),
    CommandEntry("resume", "end a pause or a rollback", "proxy.cli.resume"),
    CommandEntry("history", "who changed the rollout, when, why, on what evidence", "proxy.cli.history"),
    CommandEntry(
        "journal", "look into the journal: ls, cat, tail, stats, verify, prune, export, import", "proxy.cli.journal"
    ),
    CommandEntry("replay", "play a recording to one side or both, and say what was found", "proxy.cli.replay"),
    CommandEntry(
        "replay generate", "make traffic without a recording, and the people it is about", "proxy.cli.replay_generate"
    ),
    CommandEntry("snapshot", "keep states of the shadow database: create, restore, drop, ls", "proxy.cli.snapshot"),
    CommandEntry(
        "capture",
        "what a database needs for its changes to be captured: check, install, remove",
        "proxy.cli.capture",
    ),
    CommandEntry("align", "the shadow database as a whole: clone it from live, verify it", "proxy.cli.align"),
    CommandEntry("calibrate", "propose rules from one side compared with itself", "proxy.cli.calibrate"),
    CommandEntry("findings", "clusters of like mismatches: list, show, ack, fix, export", "proxy.cli.findings"),
    CommandEntry("rules", "what the comparison's rules did, or would do: explain, test", "proxy.cli.rules"),
    CommandEntry("compare", "judge an exported case again, offline", "proxy.cli.compare"),
)
SCORER_COMMANDS: Final = {
    "scorer": ("the new scorer: serve, populate, sync-platforms (python -m scorer)", ()),
    "migrate": ("create or update the legacy tables in a database (python -m scorer migrate)", ("migrate",)),
}


class VersionAction(argparse.Action):
    """Prints name and version and ends; they are read only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """As argparse calls it."""
        print(f"{PACKAGE} {version()}")  # noqa: T201 (a command's answer)
        parser.exit()


def build_parser(names: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser; only the sub-commands in `names` are configured, so that the others need not be imported."""
    parser = argparse.ArgumentParser(
        prog="shadow", description="A shadow-traffic comparison proxy: serve, mirror, compare, roll out, roll back."
    )
    parser.add_argument("--version", action=VersionAction, nargs=0, help="print name and version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for entry in COMMANDS:
        wanted = entry.name in names
        child = commands.add_parser(entry.name, help=entry.help, description=entry.help, add_help=wanted)
        if wanted:
            load(entry).configure(child)
    for name, (text, _) in SCORER_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def load(entry: CommandEntry) -> Command:
    """The module of a sub-command."""
    return cast("Command", importlib.import_module(entry.module))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; an error that has a name ends in one line and its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if words and words[0] in SCORER_COMMANDS:
        own = list(SCORER_COMMANDS[words[0]][1]) + words[1:]
        os.execv(sys.executable, [sys.executable, "-m", "scorer", *own])
    if " ".join(words[:2]) in {entry.name for entry in COMMANDS}:
        words[:2] = [" ".join(words[:2])]
    try:
        with held() if words[:1] == ["proxy"] else nullcontext():
            args = build_parser(words[:1]).parse_args(words)
            entry = next(one for one in COMMANDS if one.name == args.command)
            return load(entry).run(args)
    except (*NAMED, ExceptionGroup) as error:
        named = named_of(error)
        if named is None:
            raise
        print(f"shadow {words[0]}: {named}", file=sys.stderr)  # noqa: T201 (a command's own voice)
        return exit_of(named)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def named_of(error: Exception) -> Exception | None:
    """What went wrong: of a group of tasks the first error, None when one has no name, for that is a defect."""
    if not isinstance(error, ExceptionGroup):
        return error
    group = cast("ExceptionGroup[Exception]", error)
    if group.split(NAMED)[1] is not None:
        return None
    return named_of(group.exceptions[0])


def exit_of(error: Exception) -> Exit:
    """The exit code of an error that has a name."""
    return Exit.UNAVAILABLE if isinstance(error, AWAY) else Exit.USAGE
