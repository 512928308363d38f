"""`shadow capture check|install|remove`: check or prepare a database for capturing its row changes.

`check` prints what a database lacks and the SQL that remedies it, and changes nothing without `--apply`. `install` and `remove` create
and drop the change log of the triggers driver, or the tag triggers. Databases and tables are those of config.yaml: `check` works on live
and shadow, `install` and `remove` on live. With `--dsn` it is that database; without `--config` beside it no configuration is read, and
all tables are captured.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import asyncpg
import msgspec

from comparator.capture import trigger_log as changelog
from comparator.capture import trigger_tags as tags
from comparator.capture.catalog import user_tables
from comparator.capture.errors import CaptureLostError
from comparator.capture.preflight import Check, CheckLevel, DatabaseFacts, judge, read_facts
from comparator.capture.publication import prepare
from comparator.capture.reconnecting import LOST
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind, shadow_capture
from comparator.effects.catalog_check import contradictions
from comparator.tables import Table
from proxy.cli.capture_config import read_capture_config
from proxy.cli.exit_codes import Exit
from proxy.cli.output import print_line

DATABASE_HELP = {
    "check": "database of the configuration (default: both)",
    "install": "database of the configuration (default: live)",
    "remove": "database of the configuration (default: live)",
}
MARKS = {CheckLevel.OK: "ok     ", CheckLevel.WARNING: "warning", CheckLevel.FAILED: "FAILED "}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    commands = parser.add_subparsers(dest="capture_command", required=True, metavar="ACTION")
    for name, text in (
        ("check", "print what a database lacks for capturing, as SQL"),
        ("install", "install the change log of the triggers driver, or tag triggers"),
        ("remove", "remove the change log and the tag triggers"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, help="configuration (default: config.yaml, unless --dsn is given)")
        command.add_argument("--database", choices=("live", "shadow"), help=DATABASE_HELP[name])
        command.add_argument("--dsn", default="", help="another database, as a libpq URI")
        command.add_argument(
            "--table",
            action="append",
            default=[],
            help="table to capture (repeatable; default: as configured, else all)",
        )
        command.add_argument("--lock-timeout-ms", type=int, help="time to wait for the lock of a table (default: 2000)")
        if name == "install":
            command.add_argument(
                "--tag", action="store_true", help="install the tag triggers instead of the change log"
            )
        if name == "check":
            command.add_argument(
                "--driver",
                choices=[driver.value for driver in Driver],
                help="driver to check for (default: as configured, else stream)",
            )
            command.add_argument("--publication", help="name of the publication (default: as configured, else shadow)")
            command.add_argument(
                "--persistent-slot", help="name of a persistent slot (default: as configured, else none)"
            )
            command.add_argument("--apply", action="store_true", help="run the statements for tables and publication")


@dataclass(frozen=True, slots=True)
class CheckedDatabase:
    """A database to work on. `name` is `live`, `shadow`, or empty for one that was given as a DSN; `described` is `compare.tables`."""

    name: str
    dsn: str
    settings: CaptureSettings
    described: Mapping[str, Table] = field(default_factory=dict[str, Table])


def targets_of(arguments: argparse.Namespace) -> list[CheckedDatabase]:
    """Return the databases that the arguments name.

    Raises:
        SettingsError: the configuration cannot be read, or names no such database.
    """
    path: Path | None = arguments.config
    configured = None if arguments.dsn and path is None else read_capture_config(path or Path("config.yaml"))
    settings = settings_of(arguments, configured.capture if configured else CaptureSettings())
    if arguments.dsn or configured is None:
        return [CheckedDatabase("", arguments.dsn, settings)]
    names = ("live", "shadow") if arguments.capture_command == "check" else ("live",)
    return [
        CheckedDatabase(
            name,
            configured.dsn(name, option="--dsn"),
            settings if name == "live" else shadow_capture(settings),
            configured.described,
        )
        for name in ((arguments.database,) if arguments.database else names)
    ]


def settings_of(arguments: argparse.Namespace, settings: CaptureSettings) -> CaptureSettings:
    """Return the settings with the arguments in place of theirs."""
    slot: str = getattr(arguments, "persistent_slot", None) or ""
    own = {
        "driver": Driver(arguments.driver) if getattr(arguments, "driver", None) else None,
        "publication": getattr(arguments, "publication", None),
        "slot": Slot(kind=SlotKind.PERSISTENT, name=slot) if slot else None,
        "tables": tuple(arguments.table) or None,
        "lock_timeout_ms": arguments.lock_timeout_ms,
    }
    return msgspec.structs.replace(settings, **{name: value for name, value in own.items() if value is not None})


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand; `check` ends with NEGATIVE when something is lacking.

    Raises:
        CaptureError: the database refuses; CaptureLostError: it does not answer.
        SettingsError: the configuration is wrong.
    """
    try:
        return asyncio.run(_run(arguments))
    except LOST as error:
        raise CaptureLostError(f"{type(error).__name__}: {error}") from error


async def _run(arguments: argparse.Namespace) -> Exit:
    """Work on one database after the other; return the worst exit code."""
    worst = Exit.DONE
    for target in targets_of(arguments):
        if target.name:
            print_line(f"{target.name} database:")
        match arguments.capture_command:
            case "check":
                status = await check(
                    target.dsn, target.settings, target.described, apply=arguments.apply, out=sys.stdout
                )
            case "install":
                status = await install(target.dsn, target.settings, tag=arguments.tag, out=sys.stdout)
            case _:
                status = await remove(target.dsn, target.settings, out=sys.stdout)
        worst = max(worst, status)
    return worst


async def check(
    dsn: str, settings: CaptureSettings, described: Mapping[str, Table] | None = None, *, apply: bool, out: TextIO
) -> Exit:
    """Print every check, `described` against the catalogue too; with `apply` run the statements for tables and publication first. No tables in the settings: all tables."""
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        settings = await _with_tables(conn, settings)
        if apply:
            _print_statements(await _apply(conn, settings), out)
        facts = await read_facts(conn, settings)
        checks = judge(facts, settings)
        if described:
            checks = (*checks, _descriptions(described, facts))
    finally:
        await conn.close()
    out.write(render(checks))
    return Exit.NEGATIVE if any(check.level is CheckLevel.FAILED for check in checks) else Exit.DONE


def _descriptions(described: Mapping[str, Table], facts: DatabaseFacts) -> Check:
    problems = contradictions(described, facts.catalog.schemas)
    if problems:
        return Check("compare.tables", CheckLevel.FAILED, "; ".join(problems))
    return Check("compare.tables", CheckLevel.OK, f"{len(described)} descriptions agree with the catalogue")


async def install(dsn: str, settings: CaptureSettings, *, tag: bool = False, out: TextIO) -> Exit:
    """Install the change log, or with `tag` the tag triggers; print the statements that were run."""
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        settings = await _with_tables(conn, settings)
        chosen = tags.install if tag else changelog.install
        _print_statements(await chosen(conn, settings, settings.tables), out)
    finally:
        await conn.close()
    return Exit.DONE


async def remove(dsn: str, settings: CaptureSettings, *, out: TextIO) -> Exit:
    """Remove the change log; print the statements that were run."""
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        _print_statements(await changelog.remove(conn, settings), out)
    finally:
        await conn.close()
    return Exit.DONE


def render(checks: tuple[Check, ...]) -> str:
    """Return the checks as lines, then the SQL that remedies what is lacking."""
    width = max(len(check.name) for check in checks)
    lines = [f"{MARKS[check.level]}  {check.name.ljust(width)}  {check.message}" for check in checks]
    remedies = list(dict.fromkeys(statement.strip() for check in checks for statement in check.remedy))
    if remedies:
        lines += ["", "-- Remedy (for tables and publication also by `shadow capture check --apply`):", *remedies]
    return "\n".join(lines) + "\n"


async def _with_tables(conn: asyncpg.Connection, settings: CaptureSettings) -> CaptureSettings:
    if settings.tables:
        return settings
    tables = await user_tables(conn, without_schemas=(settings.log_schema,))
    return msgspec.structs.replace(settings, tables=tables)


async def _apply(conn: asyncpg.Connection, settings: CaptureSettings) -> tuple[str, ...]:
    match settings.driver:
        case Driver.OFF:
            return ()
        case Driver.TRIGGERS:
            return await changelog.install(conn, settings, settings.tables)
        case Driver.STREAM | Driver.SQL:
            return await prepare(conn, settings, settings.tables)


def _print_statements(statements: tuple[str, ...], out: TextIO) -> None:
    out.write("".join(f"ran: {' '.join(statement.split())}\n" for statement in statements))
