"""The `shadow` command: a table of subcommands, each in its own module, which is imported only when it is called.

A subcommand's module has `configure(parser)` and `run(args) -> exit code` (`proxy.cli.exit_codes`). It raises what goes wrong; here
an error of a known class becomes one line on the standard error and an exit code. The scorer is another program and is never
imported: its subcommands are passed to `python -m scorer`.
"""

import argparse
import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
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
from proxy.cli.output import print_error, print_line
from proxy.cli.terminal import visible_controls
from proxy.errors import DatabaseUnreachableError, DemoError, EmbeddedPostgresError, NotStoredError, ProxyError
from proxy.exception_groups import first_error
from proxy.replay.errors import SnapshotServerUnavailableError, TargetUnavailableError
from proxy.serving.signal_mask import signals_blocked

PACKAGE: Final = "shadow-scorer"
TEXT_OPTIONS: Final = frozenset({"--reason", "--actor", "--by"})
OPTION: Final = re.compile(r"--[a-z][a-z-]*(=.*)?|-h", re.DOTALL)
PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"

KNOWN_ERRORS: Final = (ProxyError, ComparatorError, CaptureError)
UNAVAILABLE_ERRORS: Final = (
    CaptureLostError,
    CloneError,
    DatabaseUnreachableError,
    DemoError,
    EmbeddedPostgresError,
    FenceTimeoutError,
    LockTimeoutError,
    NotStoredError,
    SnapshotServerUnavailableError,
    SlotTimeoutError,
    StoreUnavailableError,
    TargetUnavailableError,
)
"""Errors of what a command needs (exit code UNAVAILABLE); every other known error is one of its use (USAGE)."""


class Command(Protocol):
    """The functions that the module of a subcommand has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Run the command; return its exit code."""
        ...


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A subcommand.

    Attributes:
        name: one word, or two for the variant of a command.
        help: one line of help.
        module: module that implements it, or `module:ATTRIBUTE` where a module has several; "" for a command of the scorer.
        arguments: for a command of the scorer, the arguments of `python -m scorer` that come first.
    """

    name: str
    help: str
    module: str = ""
    arguments: tuple[str, ...] = ()


GROUPS: Final = {
    "try it": (
        CommandEntry(
            "demo", "run the whole system on this machine for a minute and name what differs", "proxy.cli.demo"
        ),
        CommandEntry(
            "init", "propose a config.yaml for an API from its tables, documents and traffic", "proxy.cli.init"
        ),
    ),
    "serve and compare": (
        CommandEntry("proxy", "serve clients and record every exchange", "proxy.cli.proxy"),
        CommandEntry("runner", "mirror recorded exchanges to the other side and compare", "proxy.cli.runner"),
        CommandEntry("ui", "serve the web UI: the same as status, causes and rollout, in a browser", "proxy.cli.ui"),
        CommandEntry("mcp", "offer the same to an assistant, by the Model Context Protocol", "proxy.cli.mcp"),
        CommandEntry("doctor", "name what is wrong or unusual, in the order to mend it", "proxy.cli.doctor"),
        CommandEntry("status", "show the rollout, counts, match rate and causes of mismatches", "proxy.cli.status"),
    ),
    "roll out and back": (
        CommandEntry(
            "promote", "go to the next step of the rollout, if the gates are open", "proxy.cli.rollout:PROMOTE"
        ),
        CommandEntry("pause", "stay at the present step; automatic rollback stays active", "proxy.cli.rollout:PAUSE"),
        CommandEntry("rollback", "serve everything from the legacy, at once", "proxy.cli.rollout:ROLLBACK"),
        CommandEntry("resume", "end a pause or a rollback", "proxy.cli.rollout:RESUME"),
        CommandEntry("history", "print the audit log of the rollout, or verify it", "proxy.cli.history"),
        CommandEntry(
            "rollout", "plan: the expected hours of each step, and the gate that decides", "proxy.cli.rollout_plan"
        ),
    ),
    "understand differences": (
        CommandEntry(
            "causes",
            "list, show, acknowledge, close, export and compare causes of mismatches",
            "proxy.cli.causes",
        ),
        CommandEntry(
            "findings",
            "list, show, acknowledge, close and export findings, the details of causes",
            "proxy.cli.findings",
        ),
        CommandEntry("rules", "explain which rule applied where; try out changed rules", "proxy.cli.rules"),
        CommandEntry("compare", "compare an exported case again, offline", "proxy.cli.compare"),
        CommandEntry("calibrate", "propose rules from comparing one side with itself", "proxy.cli.calibrate"),
    ),
    "record and replay": (
        CommandEntry("journal", "inspect, verify, prune, export and import the journal", "proxy.cli.journal"),
        CommandEntry("replay", "replay a recording to one side or both, and report", "proxy.cli.replay"),
        CommandEntry(
            "replay generate",
            "generate traffic without a recording, and the rows it needs",
            "proxy.cli.replay_generate",
        ),
        CommandEntry("replay diff", "compare the reports of two replays of one recording", "proxy.cli.replay_diff"),
        CommandEntry(
            "snapshot", "create, restore, delete and list snapshots of the shadow database", "proxy.cli.snapshot"
        ),
    ),
    "prepare databases": (
        CommandEntry("capture", "check or prepare a database for capturing its row changes", "proxy.cli.capture"),
        CommandEntry("align", "create the shadow database from live, or verify that both are equal", "proxy.cli.align"),
    ),
    "set up the shell": (
        CommandEntry(
            "completion", "print a script that completes commands and options in bash or zsh", "proxy.cli.completion"
        ),
    ),
    "run the Passport scorer": (
        CommandEntry("scorer", "serve, populate, sync-platforms (python -m scorer)"),
        CommandEntry(
            "migrate", "create or update the scorer's tables (python -m scorer migrate)", arguments=("migrate",)
        ),
    ),
}
"""All subcommands, by what one wants to do."""

COMMANDS: Final = tuple(entry for entries in GROUPS.values() for entry in entries)


def version() -> str:
    """Return the version: that of pyproject.toml in a checkout, else that of the installed package."""
    # (imported for this alone: they take a tenth of the time of a rollback)
    import tomllib  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

    if PYPROJECT.exists():
        return str(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"])
    return metadata.version(PACKAGE)


class VersionAction(argparse.Action):
    """Prints name and version and exits; the version is read only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit, as argparse calls it."""
        print_line(f"{PACKAGE} {version()}")
        parser.exit()


def build_parser(names: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser; only the subcommands in `names` are configured, so that the others need not be imported."""
    parser = argparse.ArgumentParser(
        prog="shadow",
        description="A shadow-traffic comparison proxy: serve, mirror, compare, roll out, roll back.",
        epilog=overview() + "\n\n`shadow COMMAND --help` describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="shadow [-h] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action=VersionAction, nargs=0, help="print name and version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for entry in COMMANDS:
        configured = entry.name in names and bool(entry.module)
        child = commands.add_parser(entry.name, description=sentence(entry.help), add_help=configured)
        if configured:
            load(entry).configure(child)
    return parser


def overview() -> str:
    """Return the list of subcommands, grouped."""
    width = max(len(entry.name) for entry in COMMANDS)
    parts = [
        "\n".join([f"{title}:", *(f"  {entry.name.ljust(width)}  {entry.help}" for entry in entries)])
        for title, entries in GROUPS.items()
    ]
    return "\n\n".join(parts)


def sentence(text: str) -> str:
    """Return a line of help as a sentence."""
    return text[0].upper() + text[1:] + "."


def load(entry: CommandEntry) -> Command:
    """Import the module of a subcommand."""
    name, _, attribute = entry.module.partition(":")
    module = importlib.import_module(name)
    return cast("Command", getattr(module, attribute) if attribute else module)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; an error of a known class ends in one line and its exit code."""
    with visible_controls():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    entries = {entry.name: entry for entry in COMMANDS}
    if " ".join(words[:2]) in entries:
        words[:2] = [" ".join(words[:2])]
    entry = entries.get(words[0])
    if entry is not None and not entry.module:
        os.execv(sys.executable, [sys.executable, "-m", "scorer", *entry.arguments, *words[1:]])
    try:
        # (a signal that comes while the proxy still imports is delivered once it has a handler for it)
        with signals_blocked() if words[0] == "proxy" else nullcontext():
            args = build_parser(words[:1]).parse_args(join_texts(words))
            # (called with arguments it runs in a process of another's, whose age is not that of the command)
            args.is_process = arguments is None
            gc.enable()
            return load(entries[args.command]).run(args)
    except (*KNOWN_ERRORS, ExceptionGroup) as error:
        known = known_error(error)
        if known is None:
            raise
        print_error(words[0], known)
        return Exit.UNAVAILABLE if isinstance(known, UNAVAILABLE_ERRORS) else Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has ended (`| head`); nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except OSError as error:
        # (one of a file that was named: its name is too long, a folder cannot be entered)
        if error.filename is None:
            raise
        print_error(words[0], f"{str(error.filename)[:200]}: {error.strerror}")
        return Exit.USAGE


def join_texts(words: Sequence[str]) -> list[str]:
    """Join options whose value is a text with their values, because argparse takes a value that begins with a dash for an option.

    `--reason '-5 % since noon'` becomes `--reason='-5 % since noon'`; a value that looks like an option remains one.
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in TEXT_OPTIONS and word.startswith("-") and not OPTION.fullmatch(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def known_error(error: Exception) -> BaseException | None:
    """Return the error to print, of a group of tasks the first one; None when an unknown one is among them: a defect."""
    if not isinstance(error, ExceptionGroup):
        return error
    group = cast("ExceptionGroup[Exception]", error)
    return first_error(group) if group.split(KNOWN_ERRORS)[1] is None else None
