"""`shadow align clone|verify`: create the shadow database from live, or compare both row by row.

The databases are those of config.yaml, unless --live and --shadow name them.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TextIO

from comparator.capture.catalog import user_tables
from comparator.capture.clone import CloneMethod, CloneOptions, clone
from comparator.capture.errors import CaptureLostError
from comparator.capture.reconnecting import LOST
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings
from comparator.capture.verify import DatabasePair, Recheck, TableReport, verify
from proxy.cli.capture_config import read_capture_config
from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, add_slice_option, table_argument

CONNECT_TIMEOUT_S = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    commands = parser.add_subparsers(dest="align_command", required=True, metavar="ACTION")
    text = "create the shadow database from live"
    _configure_clone(commands.add_parser("clone", help=text, description=text))
    text = "compare all rows of both databases"
    _configure_verify(commands.add_parser("verify", help=text, description=text))


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand; `verify` ends with NEGATIVE when the databases differ.

    Raises:
        CaptureError: a database lacks something; CaptureLostError: it does not answer.
        SettingsError: the configuration is wrong.
    """
    work = {"clone": _clone, "verify": _verify}[arguments.align_command]
    try:
        return asyncio.run(work(arguments, sys.stdout))
    except LOST as error:
        raise CaptureLostError(f"{type(error).__name__}: {error}") from error


def _configure_clone(parser: argparse.ArgumentParser) -> None:
    _databases(parser)
    parser.add_argument(
        "--method",
        choices=[method.value for method in CloneMethod],
        default=CloneMethod.AUTO.value,
        help="template needs live without other connections (default: %(default)s)",
    )
    parser.add_argument("--replace", action="store_true", help="drop the shadow database first if it exists")
    parser.add_argument("--programs", type=Path, help="folder of pg_dump and pg_restore (default: PATH)")
    parser.add_argument(
        "--slot", default="", help="create this persistent slot on live and clone the state at its start"
    )


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    _databases(parser)
    parser.add_argument(
        "--table",
        action="append",
        type=table_argument,
        default=[],
        help="table to compare, e.g. score or billing.invoice (repeatable; default: all of live)",
    )
    parser.add_argument(
        "--rechecks",
        type=int,
        default=3,
        help="times to compare differing rows again, as traffic may be flowing (default: %(default)s)",
    )
    parser.add_argument(
        "--pause-s", type=float, default=1.0, help="seconds before comparing again (default: %(default)s)"
    )


def _databases(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    add_slice_option(parser)
    parser.add_argument("--live", default="", help="live database, as a libpq URI (default: databases.live)")
    parser.add_argument("--shadow", default="", help="shadow database, as a libpq URI (default: databases.shadow)")


def _dsns(arguments: argparse.Namespace) -> tuple[str, str]:
    """Return the DSNs of live and shadow; the configuration is read only for what the arguments do not name.

    Raises:
        SettingsError: the configuration cannot be read, or names no such database.
    """
    if arguments.live and arguments.shadow:
        return arguments.live, arguments.shadow
    configured = read_capture_config(arguments.config, slice_name=arguments.slice)
    return (
        arguments.live or configured.dsn("live", option="--live"),
        arguments.shadow or configured.dsn("shadow", option="--shadow"),
    )


async def _verify(arguments: argparse.Namespace, out: TextIO) -> int:
    recheck = Recheck(times=arguments.rechecks, pause_s=arguments.pause_s)
    tables = tuple(arguments.table)
    live, shadow = _dsns(arguments)
    return await verify_databases(live, shadow, tables=tables, recheck=recheck, out=out)


async def _clone(arguments: argparse.Namespace, out: TextIO) -> int:
    options = CloneOptions(
        method=CloneMethod(arguments.method),
        replace=arguments.replace,
        programs=arguments.programs,
        slot=arguments.slot,
    )
    live, shadow = _dsns(arguments)
    cloned = await clone(live, shadow, options)
    slot = (
        f"; the slot {options.slot} starts at {cloned.lsn >> 32:X}/{cloned.lsn & 0xFFFFFFFF:X}" if options.slot else ""
    )
    out.write(f"cloned by {cloned.method.value}; {cloned.sequences} sequences moved out of live's way{slot}\n")
    out.write("next: shadow capture check --database shadow --apply\n")
    return Exit.DONE


async def verify_databases(
    live_dsn: str, shadow_dsn: str, *, tables: tuple[str, ...] = (), recheck: Recheck, out: TextIO
) -> int:
    """Compare both databases whole and print a line for each table; return the exit code."""
    live = await connect(live_dsn, timeout_s=CONNECT_TIMEOUT_S)
    try:
        shadow = await connect(shadow_dsn, timeout_s=CONNECT_TIMEOUT_S)
        try:
            own = (CaptureSettings().log_schema,)
            compared = tables or await user_tables(live, without_schemas=own, foreign=False)
            reports = await verify(DatabasePair(live, shadow), compared, recheck=recheck)
        finally:
            await shadow.close()
    finally:
        await live.close()
    if not reports:
        out.write("nothing was compared: live has no tables; check databases.live\n")
        return Exit.NEGATIVE
    out.write(render(reports))
    return Exit.DONE if all(report.equal for report in reports) else Exit.NEGATIVE


def render(reports: tuple[TableReport, ...]) -> str:
    """Return a line for each table, and below it the first rows that differ."""
    width = max((len(report.table) for report in reports), default=0)
    lines: list[str] = []
    for report in reports:
        state = "equal    " if report.equal else "PROBLEM  " if report.problem else "DIFFERENT"
        counts = f"{report.rows_live} rows in live, {report.rows_shadow} in the shadow"
        lines.append(f"{state}  {report.table.ljust(width)}  {report.problem or counts}")
        lines += [f"             {row.kind.value} {', '.join(row.key)}" for row in report.first]
        if report.differing > len(report.first):
            lines.append(f"             and {report.differing - len(report.first)} more")
    differing = sum(not report.equal for report in reports)
    lines.append(f"{len(reports) - differing} of {len(reports)} tables are equal")
    return "\n".join(lines) + "\n"
