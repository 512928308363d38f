"""The commands `shadow capture check | install | remove`.

`check` prints what the database lacks and the SQL that would mend it, and changes nothing unless `--apply` is given.
`install` and `remove` put the triggers' change log, or the tag triggers, in place and take them away.
Exit status: 0 fit, 1 something is lacking, 2 the command itself failed.
"""

import argparse
import asyncio
import sys
from typing import TextIO

import asyncpg
import msgspec

from comparator.capture import changelog, tags
from comparator.capture.catalog import user_tables
from comparator.capture.errors import CaptureError
from comparator.capture.fitness import connect
from comparator.capture.preflight import Check, Level, judge, read_facts
from comparator.capture.publication import prepare
from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind
from comparator.capture.supervised import LOST

FIT, LACKING, FAILED = 0, 1, 2
MARKS = {Level.OK: "ok     ", Level.WARNING: "warning", Level.FAILED: "FAILED "}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    commands = parser.add_subparsers(dest="capture_command", required=True)
    for name, text in (
        ("check", "say what the database lacks for capturing, as SQL"),
        ("install", "install the change log of the triggers driver, or tag triggers"),
        ("remove", "remove the change log and the tag triggers"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--dsn", required=True, help="database, as a libpq URI")
        command.add_argument("--table", action="append", default=[], help="a captured table (repeat); all when absent")
        command.add_argument("--lock-timeout-ms", type=int, default=2_000, help="give up on a busy table after this")
        if name == "install":
            command.add_argument(
                "--tag", action="store_true", help="install the tag triggers instead of the change log"
            )
        if name == "check":
            command.add_argument("--driver", choices=[driver.value for driver in Driver], default=Driver.STREAM.value)
            command.add_argument("--publication", default="shadow", help="name of the publication")
            command.add_argument(
                "--persistent-slot", default="", help="name of a persistent slot; temporary when absent"
            )
            command.add_argument("--apply", action="store_true", help="run the statements about tables and publication")


def settings_of(arguments: argparse.Namespace) -> CaptureSettings:
    """The settings that the arguments describe."""
    name: str = getattr(arguments, "persistent_slot", "")
    return CaptureSettings(
        driver=Driver(getattr(arguments, "driver", Driver.TRIGGERS)),
        publication=getattr(arguments, "publication", "shadow"),
        slot=Slot(kind=SlotKind.PERSISTENT, name=name) if name else Slot(),
        tables=tuple(arguments.table),
        lock_timeout_ms=arguments.lock_timeout_ms,
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen subcommand; return its exit status."""
    settings = settings_of(arguments)
    work = {
        "check": lambda: check(arguments.dsn, settings, apply=arguments.apply, out=sys.stdout),
        "install": lambda: install(arguments.dsn, settings, tag=arguments.tag, out=sys.stdout),
        "remove": lambda: remove(arguments.dsn, settings, out=sys.stdout),
    }[arguments.capture_command]
    try:
        return asyncio.run(work())
    except (CaptureError, *LOST) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return FAILED


async def check(dsn: str, settings: CaptureSettings, *, apply: bool, out: TextIO) -> int:
    """Print every check; with `apply` run what may be run first. Without tables in the settings all tables are looked at."""
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        settings = await _with_tables(conn, settings)
        if apply:
            _tell(await _apply(conn, settings), out)
        checks = judge(await read_facts(conn, settings), settings)
    finally:
        await conn.close()
    out.write(render(checks))
    return LACKING if any(one.level is Level.FAILED for one in checks) else FIT


async def install(dsn: str, settings: CaptureSettings, *, tag: bool = False, out: TextIO) -> int:
    """Install the change log, or with `tag` the tag triggers; print the statements that were run."""
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        settings = await _with_tables(conn, settings)
        chosen = tags.install if tag else changelog.install
        _tell(await chosen(conn, settings, settings.tables), out)
    finally:
        await conn.close()
    return FIT


async def remove(dsn: str, settings: CaptureSettings, *, out: TextIO) -> int:
    """Remove the change log; print the statements that were run."""
    conn = await connect(dsn, timeout_s=settings.connect_timeout_ms / 1000)
    try:
        _tell(await changelog.remove(conn, settings), out)
    finally:
        await conn.close()
    return FIT


def render(checks: tuple[Check, ...]) -> str:
    """The checks as lines, then the SQL that mends what is lacking."""
    width = max(len(one.name) for one in checks)
    lines = [f"{MARKS[one.level]}  {one.name.ljust(width)}  {one.text}" for one in checks]
    remedies = list(dict.fromkeys(statement.strip() for one in checks for statement in one.remedy))
    if remedies:
        lines += ["", "-- To mend it, run (tables and publication: or `shadow capture check --apply`):", *remedies]
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


def _tell(statements: tuple[str, ...], out: TextIO) -> None:
    out.write("".join(f"ran: {' '.join(statement.split())}\n" for statement in statements))
