"""`shadow doctor`: everything that is wrong or unusual in an installation, in the order to mend it.

All parts are asked at the same time, each under a time limit; the judgement is pure (`proxy.cli.diagnosis`).
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict
from typing import Final

import aiohttp
import asyncpg
import msgspec

from comparator.capture.errors import CaptureError
from comparator.capture.preflight import CheckLevel, judge, read_facts
from comparator.capture.reconnecting import LOST
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings, Driver, shadow_capture
from comparator.exchanges.model import Role, Side
from comparator.verdict import Comparator
from proxy.cli.capture import with_tables
from proxy.cli.diagnosis import (
    DatabaseAnswer,
    ExchangeCounts,
    InstallationFacts,
    PreparationProblem,
    ProbedHealth,
    ProblemLevel,
    ProcessAnswer,
    diagnose,
    render,
)
from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, add_slice_option, print_json, print_line
from proxy.cli.proxy import summary_of
from proxy.cli.status import gather
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.config.slices import slice_settings
from proxy.health_probe import probe_backend
from proxy.rollout.accounting import Accounting
from proxy.rollout.admin_client import AdminClient
from proxy.runner.accountant import runner_document
from proxy.ui.rule_words import rules_in_words

TIMEOUT_S: Final = 5.0
CLOCK_READINGS: Final = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    add_slice_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the problems; NEGATIVE when something is wrong, DONE when at most unusual."""
    settings = slice_settings(read_settings(args.config), args.slice)
    Comparator(settings.compare)
    problems = diagnose(asyncio.run(examine(settings)))
    if args.json:
        print_json([asdict(problem) for problem in problems])
    else:
        print_line(render(problems))
    return Exit.NEGATIVE if any(problem.level is ProblemLevel.WRONG for problem in problems) else Exit.DONE


async def examine(settings: Settings) -> InstallationFacts:
    """Ask all parts of an installation."""
    _, *warnings = summary_of(settings)
    databases, proxies, runner, health, status = await asyncio.gather(
        _databases(settings), _proxies(settings), _runner(settings), _health(settings), gather(settings, days=1)
    )
    return InstallationFacts(
        settings=settings,
        warnings=tuple(warnings),
        databases=databases,
        proxies=proxies,
        runner=runner,
        health=health,
        exchanges=_counts(status.reading.accounting) if status.reading else None,
        lag_s=status.reading.lag_s if status.reading else 0.0,
        accounts=status.accounts,
        rules=tuple(_rule_names(settings)),
    )


def _counts(accounting: Accounting) -> ExchangeCounts:
    return ExchangeCounts(accounting.served, accounting.skipped, accounting.dropped)


def _rule_names(settings: Settings) -> Sequence[str]:
    """Return the configuration paths of the rules that comparisons name when they apply; ignored columns and headers are never read."""
    names = rules_in_words(settings.compare)
    return [name for name in names if ".ignore_columns[" not in name and "headers.ignore[" not in name]


async def _proxies(settings: Settings) -> tuple[ProcessAnswer, ...]:
    client = AdminClient.of(settings, os.environ)

    def ask() -> tuple[ProcessAnswer, ...]:
        with client.broadcast("GET", "/status") as requests:
            responses = requests.responses()
        return tuple(
            ProcessAnswer(f"proxy {one.endpoint}", one.document if one.ok else None, one.error or "no answer")
            for one in responses
        )

    return await asyncio.to_thread(ask)


async def _runner(settings: Settings) -> ProcessAnswer:
    url = f"http://{settings.runner.host}:{settings.runner.port}"
    try:
        async with aiohttp.ClientSession() as session:
            return ProcessAnswer("runner", await runner_document(session, url))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return ProcessAnswer("runner", None, str(error) or "no answer")


async def _health(settings: Settings) -> tuple[ProbedHealth, ...]:
    async def probe(side: Side) -> ProbedHealth | None:
        backend = settings.backends.of(side, Role.SERVED)
        path = backend.health_check.path
        if not (backend.url or backend.socket) or not path:
            return None
        result = await probe_backend(backend, path, timeout_s=TIMEOUT_S)
        return ProbedHealth(side, path, result.status, result.location, result.error)

    return tuple(one for one in await asyncio.gather(*map(probe, Side)) if one is not None)


async def _databases(settings: Settings) -> tuple[DatabaseAnswer, ...]:
    capture = settings.capture
    asked: list[Awaitable[DatabaseAnswer]] = []
    if capture.driver is not Driver.OFF:
        named = msgspec.structs.replace(capture, tables=capture.tables or tuple(settings.compare.tables))
        pairs = (("live", settings.databases.live, named), ("shadow", settings.databases.shadow, shadow_capture(named)))
        asked += [_database(name, dsn, own) for name, dsn, own in pairs if dsn]
    if settings.databases.store:
        asked.append(_database("store", settings.databases.store, None))
    return tuple(await asyncio.gather(*asked))


async def _database(name: str, dsn: str, capture: CaptureSettings | None) -> DatabaseAnswer:
    """Ask a database; `capture` is None for one whose rows are not captured."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            conn = await connect(dsn, timeout_s=TIMEOUT_S)
            try:
                clock_ms, error_ms = await _clock(conn)
                problems = await _preparation(conn, name, capture) if capture is not None else ()
            finally:
                conn.terminate()
    except TimeoutError:
        return DatabaseAnswer(name, f"no answer within {TIMEOUT_S:g} s")
    except (*LOST, CaptureError, asyncpg.PostgresError) as error:
        return DatabaseAnswer(name, f"{type(error).__name__}: {error}")
    return DatabaseAnswer(name, "", problems, clock_ms, error_ms)


async def _preparation(conn: asyncpg.Connection, name: str, capture: CaptureSettings) -> tuple[PreparationProblem, ...]:
    named = bool(capture.tables)
    prepared = await with_tables(conn, capture)
    checks = judge(await read_facts(conn, prepared, named=named, shadow=name == "shadow"), prepared)
    return tuple(
        PreparationProblem(one.name, one.level is CheckLevel.FAILED, one.message, one.remedy, one.applicable)
        for one in checks
        if one.level is not CheckLevel.OK
    )


async def _clock(conn: asyncpg.Connection) -> tuple[float, float]:
    """Return how far the database's clock is ahead of this machine's, and by how much that may be wrong, in milliseconds.

    The reading with the shortest round trip is the most exact one: the server read its clock at some moment in between.
    """
    readings: list[tuple[float, float]] = []
    for _ in range(CLOCK_READINGS):
        before = time.time()
        theirs: float = await conn.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        after = time.time()
        readings.append(((theirs - (before + after) / 2) * 1000, (after - before) / 2 * 1000))
    return min(readings, key=lambda reading: reading[1])
