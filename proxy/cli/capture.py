"""`shadow capture check|install|remove`: check or prepare a database for capturing its row changes.

`check` prints what a database lacks and the SQL that remedies it, and changes nothing without `--apply`, which leaves a table as it was
when its writes would fail afterwards. `install` creates the change log of the triggers driver, or the tag triggers. `remove` takes
everything back, for every driver. Databases and tables are those of config.yaml: `check` works on live and shadow, `install` and
`remove` on live. With `--dsn` it is that database; without `--config` beside it no configuration is read, and all tables are captured
that can be.
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

from comparator.capture import removal
from comparator.capture import trigger_log as changelog
from comparator.capture import trigger_tags as tags
from comparator.capture.catalog import user_tables
from comparator.capture.errors import CaptureLostError, WritesBrokenError
from comparator.capture.preflight import Check, CheckLevel, DatabaseFacts, judge, read_facts
from comparator.capture.publication import prepare_tables
from comparator.capture.reconnecting import LOST
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind, shadow_capture
from comparator.capture.table_changes import Preparation
from comparator.effects.catalog_check import contradictions
from comparator.tables import Table
from proxy.cli.capture_config import read_capture_config
from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_slice_option, print_line, table_argument

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
        (
            "remove",
            "take back all that a capture has left: publication, replica identities, triggers, change log, slot",
        ),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, help="configuration (default: config.yaml, unless --dsn is given)")
        command.add_argument("--database", choices=("live", "shadow"), help=DATABASE_HELP[name])
        command.add_argument("--dsn", default="", help="another database, as a libpq URI")
        add_slice_option(command)
        if name != "remove":
            command.add_argument(
                "--table",
                action="append",
                type=table_argument,
                default=[],
                help="table to capture, e.g. score or billing.invoice (repeatable; default: as configured, else all)",
            )
        command.add_argument("--lock-timeout-ms", type=int, help="time to wait for the lock of a table (default: 2000)")
        if name == "install":
            command.add_argument(
                "--tag", action="store_true", help="install the tag triggers instead of the change log"
            )
        if name != "install":
            command.add_argument("--publication", help="name of the publication (default: as configured, else shadow)")
            command.add_argument(
                "--persistent-slot", help="name of a persistent slot (default: as configured, else none)"
            )
        if name == "check":
            command.add_argument(
                "--driver",
                choices=[driver.value for driver in Driver],
                help="driver to check for (default: as configured, else stream)",
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
    configured = (
        None
        if arguments.dsn and path is None
        else read_capture_config(path or Path("config.yaml"), slice_name=arguments.slice)
    )
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
        "tables": tuple(getattr(arguments, "table", ())) or None,
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
                    target.dsn,
                    target.settings,
                    target.described,
                    apply=arguments.apply,
                    shadow=target.name == "shadow",
                    out=sys.stdout,
                )
            case "install":
                status = await install(target.dsn, target.settings, tag=arguments.tag, out=sys.stdout)
            case _:
                status = await remove(target.dsn, target.settings, out=sys.stdout)
        worst = max(worst, status)
    return worst


async def check(
    dsn: str,
    settings: CaptureSettings,
    described: Mapping[str, Table] | None = None,
    *,
    apply: bool,
    shadow: bool = False,
    out: TextIO,
) -> Exit:
    """Print every check of a database.

    Args:
        dsn: the database.
        settings: section `capture:`. No tables: all tables of the database that can be captured.
        described: section `compare.tables`, which is held against the catalogue.
        apply: run the statements for tables and publication first.
        shadow: the database is the shadow, so that the runner's writes are checked as well.
        out: receives the checks.
    """
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        named = bool(settings.tables)
        settings = await with_tables(conn, settings)
        broken: dict[str, str] = {}
        if apply:
            preparation = await _apply(conn, settings)
            _print_preparation(preparation, out)
            broken = {
                table: str(error)
                for table, error in preparation.refused.items()
                if isinstance(error, WritesBrokenError)
            }
        facts = await read_facts(conn, settings, named=named, broken=broken, shadow=shadow)
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
        settings = await with_tables(conn, settings)
        if tag:
            _print_statements(await tags.install(conn, settings, settings.tables), out)
            return Exit.DONE
        preparation = await changelog.install_tables(conn, settings, settings.tables)
        _print_preparation(preparation, out)
    finally:
        await conn.close()
    return Exit.NEGATIVE if preparation.refused else Exit.DONE


async def remove(dsn: str, settings: CaptureSettings, *, out: TextIO) -> Exit:
    """Take back all that a capture has left; print the statements that were run."""
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        _print_statements(await removal.remove(conn, settings), out)
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


async def with_tables(conn: asyncpg.Connection, settings: CaptureSettings) -> CaptureSettings:
    """Return the settings with all tables of the database that can be captured, where they name none."""
    if settings.tables:
        return settings
    tables = await user_tables(conn, without_schemas=(settings.log_schema,))
    return msgspec.structs.replace(settings, tables=tables)


async def _apply(conn: asyncpg.Connection, settings: CaptureSettings) -> Preparation:
    match settings.driver:
        case Driver.OFF:
            return Preparation((), {})
        case Driver.TRIGGERS:
            return await changelog.install_tables(conn, settings, settings.tables)
        case Driver.STREAM | Driver.SQL:
            return await prepare_tables(conn, settings, settings.tables)


def _print_preparation(preparation: Preparation, out: TextIO) -> None:
    _print_statements(preparation.statements, out)
    out.write("".join(f"left as it was: {table}: {error}\n" for table, error in preparation.refused.items()))


def _print_statements(statements: tuple[str, ...], out: TextIO) -> None:
    out.write("".join(f"ran: {' '.join(statement.split())}\n" for statement in statements))
