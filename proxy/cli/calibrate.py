"""`shadow calibrate`: propose rules from one side compared with itself over journaled requests."""

import argparse
import asyncio
import os
import sys
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from comparator.capture.attribution_keys import KeyIndex
from comparator.exchanges.model import Exchange, Response, Role, Side
from comparator.findings.calibration import render_proposals
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparator
from proxy.cli.exit_codes import Exit
from proxy.cli.proxy import read_settings
from proxy.config.settings import Settings
from proxy.errors import ProxyError
from proxy.journal.keys import load_keys
from proxy.journal.reader import SegmentReader
from proxy.runner.app import open_databases, shadow_sender
from proxy.runner.calibrate import Calibration, Calibrator, summed_up
from proxy.runner.exclusive import runner_stopped
from proxy.runner.ledger import Ledger
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.row_writer import RowWriter
from proxy.runner.shadow_attribution import ShadowAttribution
from proxy.runner.transaction_feed import TransactionFeed


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument(
        "--side", choices=[side.value for side in Side], default=Side.LEGACY.value, help="default: %(default)s"
    )
    parser.epilog = "Stop the runner first: both write into the shadow database."
    parser.add_argument("--requests", type=int, default=200, help="journaled requests to run twice (default: 200)")
    parser.add_argument(
        "--seen-min", type=int, default=2, help="propose for places that differed this often (default: 2)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the proposals; NO when one side does not equal itself under the rules."""
    settings = read_settings(args.config)
    found = asyncio.run(calibrate(settings, Side(args.side), requests=args.requests, seen_min=args.seen_min))
    sys.stdout.write((_as_json(found) if args.json else _as_text(found, args.side)) + "\n")
    return Exit.NEGATIVE if found.different else Exit.DONE


async def calibrate(settings: Settings, side: Side, *, requests: int, seen_min: int) -> Calibration:
    """Run journaled requests twice on one side's shadow instance.

    Raises:
        ProxyError, CaptureError: it cannot begin; stop the runner first, it uses the same shadow database.
    """
    exchanges = await _journaled(settings, requests)
    async with AsyncExitStack() as stack:
        stack.enter_context(runner_stopped(settings))
        databases = await stack.enter_async_context(open_databases(settings))
        sender = await stack.enter_async_context(shadow_sender(settings))
        index = KeyIndex(settings.compare.tables, route_kind=settings.compare.route_kind)
        keys = {shape.name: shape.primary_key for shape in databases.catalog.tables.values() if shape.primary_key}
        ledger = Ledger(index, primary_keys=keys)
        shadow = ShadowAttribution(settings.runner.clock_skew_ms * 1_000)
        parents = ParentLookup(index, databases.catalog, (databases.shadow,))
        capture = databases.captures[Role.MIRRORED]
        feed = TransactionFeed(capture, key=ledger.keyed, lookup=parents.learn, sink=shadow.deliver)
        await feed.start()
        calibrator = Calibrator(
            sender=sender,
            side=side,
            tagged=side in settings.runner.tagged_sides,
            shadow=shadow,
            fence=feed.fence,
            write=RowWriter(databases.shadow, databases.catalog).apply,
            primary_keys=keys,
            comparator=Comparator(settings.compare),
            route_keys=ledger.route_keys,
        )
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(feed.pump(), name="pump")
            compared = [pair async for pair in calibrator.compare(exchanges)]
            pump.cancel()
    return summed_up(compared, Clusterer(settings.compare.dynamic), seen_min=seen_min)


async def _journaled(settings: Settings, count: int) -> Sequence[Exchange]:
    directory = Path(settings.journal.directory)
    keys = load_keys(directory, os.environ)
    exchanges: list[Exchange] = []
    with SegmentReader(directory, f"calibrate-{uuid.uuid4().hex[:8]}", keys=keys) as reader:
        while len(exchanges) < count and (entries := await reader.read(count, 0.5)):
            usable = (entry.exchange for entry in entries)
            exchanges += [
                e for e in usable if not e.skip and isinstance(e.outcome, Response) and not e.request.body_truncated
            ]
    if not exchanges:
        raise ProxyError(f"the journal in {directory} holds no request to run; serve some first")
    return exchanges[:count]


def _as_text(found: Calibration, side: str) -> str:
    total = found.equal + found.different + found.failed
    head = f"{side} against itself: {total} requests, {found.equal} equal, {found.different} different, {found.failed} failed"
    return f"{head}\n{render_proposals(found.proposals)}"


def _as_json(found: Calibration) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
