"""`shadow journal ship`: send the spool of this machine to the broker of the shared journal, and show how far it has come."""

import argparse
import asyncio
import datetime as dt
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from comparator.errors import StoreError
from comparator.store import journal_offsets
from comparator.store.ended import EndedAs, ended_totals
from comparator.store.store import Store
from proxy.cli.exit_codes import Exit
from proxy.cli.output import print_json, print_line, print_remark
from proxy.config.journal import JournalDriver
from proxy.config.settings import Settings
from proxy.errors import BrokerUnavailableError, SettingsError
from proxy.journal.broker import WriterReport
from proxy.journal.registry import open_broker
from proxy.journal.segments import LOCK, is_locked, writers
from proxy.journal.shipper import Shipper, ShipperStatus, load_status
from proxy.logging_json import configure as configure_logs
from proxy.serving.event_wait import wait_for_event

logger = logging.getLogger(__name__)

STOP_POLL_S: Final = 0.1
DRAIN_MAX_S: Final = 600.0
"""Time for the writers to end after SIGTERM; the proxy's own limits are shorter."""
SILENT_S: Final = 5.0
"""Age of a report from which its writer is shown as silent."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--status", action="store_true", help="show the shipper and all writers, and end")
    parser.add_argument("--json", action="store_true", help="with --status: print one JSON document")
    parser.add_argument(
        "--forget-writer",
        default="",
        metavar="NAME",
        help="delete what the broker has of a writer that is gone for good",
    )
    parser.add_argument(
        "--forget-reader", default="", metavar="NAME", help="delete the position of a reader that is gone for good"
    )
    # (how the proxy starts it: it ends after the proxy)
    parser.add_argument("--of-proxy", action="store_true", help=argparse.SUPPRESS)


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Ship until SIGTERM, or do what an option says.

    Raises:
        SettingsError: the journal is not a shared one, or nothing has the name that is to be forgotten.
        BrokerUnavailableError, StoreError: what an option needs is away.
    """
    if settings.journal.driver is not JournalDriver.VALKEY:
        raise SettingsError("journal.driver: only the journal of `driver: valkey` is shipped")
    if args.forget_writer or args.forget_reader:
        asyncio.run(_forget(settings, writer=args.forget_writer, reader=args.forget_reader))
        return Exit.DONE
    if args.status:
        return asyncio.run(_status(settings, as_json=args.json))
    configure_logs()
    uvloop.run(_ship(settings, of_proxy=args.of_proxy))
    return Exit.DONE


async def _ship(settings: Settings, *, of_proxy: bool) -> None:
    parent = os.getppid()
    signalled, stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signalled.set)
    if of_proxy:
        # Ctrl-C reaches the whole process group; the proxy writes what it has queued before it sends SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        loop.add_signal_handler(signal.SIGINT, signalled.set)
    logger.info("shipper_started", extra={"directory": settings.journal.directory})
    async with open_broker(settings.journal) as broker, asyncio.TaskGroup() as tasks:
        shipping = tasks.create_task(Shipper(settings.journal, broker).run(stop), name="shipper")
        ending = tasks.create_task(
            _wait_for_end(Path(settings.journal.directory), signalled, stop, parent if of_proxy else 0), name="end"
        )
        await shipping
        ending.cancel()
    logger.info("shipper_stopped")


async def _wait_for_end(directory: Path, signalled: asyncio.Event, stop: asyncio.Event, parent: int) -> None:
    """Set `stop` after the signal, or the end of the parent, as soon as no process writes the spool any more."""
    while not await wait_for_event(signalled, STOP_POLL_S) and parent in (0, os.getppid()):
        pass
    deadline = time.monotonic() + DRAIN_MAX_S
    while time.monotonic() < deadline and any(is_locked(directory / name / LOCK) for name in writers(directory)):
        await wait_for_event(stop, STOP_POLL_S)
    stop.set()


@dataclass(frozen=True, slots=True)
class WriterLine:
    """One writer of the shared journal, as the status shows it.

    Attributes:
        report: the last that its machine has reported.
        committed: exchanges up to this number are done by every reader.
        lost: exchanges that the runner could not read.
    """

    report: WriterReport
    committed: int
    lost: int


async def _status(settings: Settings, *, as_json: bool) -> int:
    """Print the shipper of this machine, and the writers of all; UNAVAILABLE when the broker is away, NEGATIVE for a problem."""
    shipper = load_status(Path(settings.journal.directory))
    away = ""
    try:
        lines = await _writer_lines(settings)
    except BrokerUnavailableError as error:
        away = str(error)
        lines = [WriterLine(report, report.base, 0) for report in (shipper.reports if shipper else ())]
    if as_json:
        print_json({"shipper": shipper, "writers": [_document(line) for line in lines], "broker": away or "answers"})
    else:
        print_line("\n".join([_shipper_line(shipper), *_table(lines, now_ns=time.time_ns())]))
    if away:
        print_remark(f"the broker did not answer: {away}; the figures are those of this machine's spool")
        return Exit.UNAVAILABLE
    return Exit.NEGATIVE if shipper is not None and shipper.problem else Exit.DONE


async def _writer_lines(settings: Settings) -> list[WriterLine]:
    async with open_broker(settings.journal) as broker:
        reports = await broker.reports()
        committed = await broker.acknowledged()
    lost: Counter[str] = Counter()
    try:
        async with (
            Store(settings.databases.store, settings.store, random.SystemRandom()) as store,
            store.connection() as conn,
        ):
            for total in await ended_totals(conn, *settings.runner.readers):
                if total.outcome is EndedAs.UNREAD:
                    lost[total.writer] += total.count
    except StoreError as error:
        print_remark(f"the store did not answer, so losses are not shown: {error}")
    return [WriterLine(report, committed.get(report.writer, report.base), lost[report.writer]) for report in reports]


def _document(line: WriterLine) -> Mapping[str, object]:
    return {**msgspec.to_builtins(line.report), "committed": line.committed, "lost": line.lost}


def _shipper_line(shipper: ShipperStatus | None) -> str:
    if shipper is None:
        return "shipper   none has run on this machine"
    age_s = max(0.0, time.time() - shipper.at_s)
    state = shipper.problem or "ships"
    lines = [f"shipper   process {shipper.pid}, {age_s:.0f} s ago: {state}; {shipper.bundles} bundles"]
    lines += [f"warning   {warning}" for warning in shipper.warnings]
    return "\n".join(lines)


def _table(lines: Sequence[WriterLine], *, now_ns: int) -> list[str]:
    if not lines:
        return ["no writer has reported to the broker"]
    head = f"{'writer':<16} {'host':<16} {'written':>9} {'shipped':>9} {'committed':>9} {'lost':>6} {'spool':>10} {'waits':>6}  state"
    return [head, *(_row(line, now_ns) for line in lines)]


def _row(line: WriterLine, now_ns: int) -> str:
    report = line.report
    waits = f"{max(0.0, (now_ns - report.oldest_ns) / 1e9):.0f} s" if report.oldest_ns else "-"
    numbers = f"{report.written:>9} {report.shipped:>9} {line.committed:>9} {line.lost:>6} {report.spool_bytes:>10}"
    return f"{report.writer:<16} {report.host:<16} {numbers} {waits:>6}  {_state(report, now_ns)}"


def _state(report: WriterReport, now_ns: int) -> str:
    """Describe a writer: ended, silent since, paused, or what is special about its clock."""
    if report.closed:
        return "ended"
    reported_at = dt.datetime.fromtimestamp(report.at_ns / 1e9, dt.UTC)
    if now_ns - report.at_ns > SILENT_S * 1e9:
        return f"silent since {reported_at:%Y-%m-%d %H:%M:%S} UTC"
    clock = f", clock {report.clock_ahead_ns / 1e6:+.1f} ms" if abs(report.clock_ahead_ns) >= 1_000_000 else ""
    return (f"paused: {report.pause}" if report.pause else "ships") + clock


async def _forget(settings: Settings, *, writer: str, reader: str) -> None:
    async with (
        Store(settings.databases.store, settings.store, random.SystemRandom()) as store,
        store.connection() as conn,
        open_broker(settings.journal) as broker,
    ):
        if reader:
            if not await journal_offsets.forget_reader(conn, reader):
                raise SettingsError(
                    f"no reader named {reader!r} that is stopped; a running one has to be stopped first"
                )
            print_line(f"reader {reader} is forgotten")
        if writer:
            known = {report.writer for report in await broker.reports()}
            if writer not in known:
                raise SettingsError(f"no writer named {writer!r}; known writers: {', '.join(sorted(known)) or 'none'}")
            await broker.forget(writer)
            await journal_offsets.forget_writer(conn, writer)
            print_line(f"writer {writer} is forgotten")
