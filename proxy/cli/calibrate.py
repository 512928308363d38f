"""`shadow calibrate`: propose rules from one side compared with itself over journaled requests."""

import argparse
import asyncio
import os
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec

from comparator.exchanges.model import Exchange, Response, Side
from comparator.findings.calibration import render_proposals
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparator
from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, print_line
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import ProxyError
from proxy.journal.registry import journal_keys, open_reader
from proxy.runner.app import mirror_client
from proxy.runner.calibrate import Calibration, Calibrator, calibration_of
from proxy.runner.databases import open_exclusive_shadow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    parser.add_argument(
        "--side",
        choices=[side.value for side in Side],
        default=Side.LEGACY.value,
        help="side to compare with itself (default: %(default)s)",
    )
    parser.epilog = "Stop the runner first: both write to the shadow database."
    parser.add_argument(
        "--requests", type=int, default=200, help="journaled requests to run twice (default: %(default)s)"
    )
    parser.add_argument(
        "--seen-min",
        type=int,
        default=2,
        help="propose a rule where at least this many pairs differed (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the proposals; exit with NEGATIVE when the side differs from itself under the present rules."""
    settings = read_settings(args.config)
    result = asyncio.run(calibrate(settings, Side(args.side), requests=args.requests, seen_min=args.seen_min))
    print_line(_as_json(result) if args.json else _as_text(result, args.side))
    return Exit.NEGATIVE if result.different else Exit.DONE


async def calibrate(settings: Settings, side: Side, *, requests: int, seen_min: int) -> Calibration:
    """Run journaled requests twice on one side's shadow instance.

    Args:
        settings: of config.yaml.
        side: the side that is compared with itself.
        requests: most requests to run.
        seen_min: pairs that have to differ in one place for a rule to be proposed.

    Raises:
        ProxyError, CaptureError: it cannot start; the message says what to do.
    """
    exchanges = await _journaled(settings, requests)
    runner = settings.runner
    async with AsyncExitStack() as stack:
        shadow = await stack.enter_async_context(
            open_exclusive_shadow(settings.databases, settings.capture, settings.compare, settings.journal, runner)
        )
        client = await stack.enter_async_context(
            mirror_client(settings.backends, runner, body_max_bytes=settings.journal.body_max_bytes)
        )
        calibrator = Calibrator(
            client=client,
            side=side,
            tagged=side in runner.tagged_sides,
            effects=shadow.attribution,
            fence=shadow.feed.fence,
            interruptions=lambda: shadow.feed.interruptions,
            write=shadow.write,
            primary_keys=shadow.primary_keys,
            schemas=shadow.schemas,
            comparator=Comparator(settings.compare),
            route_keys=shadow.route_keys,
        )
        captured = shadow.schemas.keys()
        unseen = {route.name for route in settings.routes if not captured >= set(route.tables)}
        compared = [pair async for pair in calibrator.compare(e for e in exchanges if e.route not in unseen)]
    return calibration_of(
        compared, Clusterer(settings.compare.dynamic, tables=settings.compare.tables), seen_min=seen_min
    )


async def _journaled(settings: Settings, count: int) -> Sequence[Exchange]:
    """Return up to `count` exchanges of the journal, oldest first, that can be run again."""
    keys = journal_keys(settings.journal, os.environ)
    exchanges: list[Exchange] = []
    with open_reader(settings.journal, f"calibrate-{uuid.uuid4().hex[:8]}", keys=keys) as reader:
        while len(exchanges) < count and (entries := await reader.read(count, 0.5)):
            exchanges += [entry.exchange for entry in entries if _is_repeatable(entry.exchange)]
    if not exchanges:
        raise ProxyError(f"the journal in {settings.journal.directory} has no request to run; serve some first")
    return exchanges[:count]


def _is_repeatable(exchange: Exchange) -> bool:
    return not exchange.skip and isinstance(exchange.outcome, Response) and not exchange.request.body_truncated


def _as_text(result: Calibration, side: str) -> str:
    total = result.equal + result.different + result.failed + result.uncertain
    counts = f"{result.equal} equal, {result.different} different, {result.failed} failed"
    counts += f", {result.uncertain} not compared in full" if result.uncertain else ""
    return f"{side} against itself: {total} requests, {counts}\n{render_proposals(result.proposals)}"


def _as_json(result: Calibration) -> str:
    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
