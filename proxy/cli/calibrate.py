"""`shadow calibrate`: propose rules from one side compared with itself."""

import argparse
import asyncio
import os
import time
import uuid
from contextlib import AsyncExitStack

import msgspec

from comparator.exchanges.model import Exchange, Response, Side
from comparator.findings.calibration import Calibration, RouteMethod, calibration_of, render_calibration
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparator
from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, print_line
from proxy.config.journal import JournalDriver, JournalSettings
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import ProxyError
from proxy.journal.registry import journal_keys, open_passing_reader
from proxy.runner.app import mirror_client, observe_noise, second_process
from proxy.runner.calibrate import Calibrator, NoiseCollector
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
    parser.epilog = (
        "It takes the runner's place while it runs: stop the runner first. Each request of live traffic is run from the state that it started "
        "from; where the side itself serves, its live instance is compared with its shadow instance, which are two processes."
    )
    parser.add_argument("--requests", type=int, default=200, help="requests to run twice (default: %(default)s)")
    parser.add_argument(
        "--for",
        dest="for_s",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="longest time to follow live traffic (default: %(default)s)",
    )
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="run the requests of the journal from the present state of the shadow, without live traffic",
    )
    parser.add_argument(
        "--second-url",
        default="",
        metavar="URL",
        help="another process of the side on the shadow database, for the second run where both are of the shadow instance",
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
    settings, side = read_settings(args.config), Side(args.side)
    if args.recorded:
        noise = asyncio.run(run_recorded(settings, side, requests=args.requests, second_url=args.second_url))
    else:
        noise = NoiseCollector(side, args.requests, time.time_ns(), args.second_url)
        asyncio.run(observe_noise(settings, os.environ, noise, for_s=args.for_s))
        if not noise.traffic:
            raise ProxyError(
                f"no request was served within {args.for_s:g} s; send traffic to the proxy, or run recorded requests (--recorded)"
            )
    result = summed_up(settings, noise, seen_min=args.seen_min)
    print_line(_as_json(result) if args.json else render_calibration(result, args.side))
    return Exit.NEGATIVE if result.different else Exit.DONE


def summed_up(settings: Settings, noise: NoiseCollector, *, seen_min: int) -> Calibration:
    """Sum the pairs up; `seen_min` pairs have to differ in one place for a rule to be proposed."""
    clusterer = Clusterer(settings.compare.dynamic, tables=settings.compare.tables)
    return calibration_of(noise.pairs, clusterer, traffic=noise.traffic, left_out=noise.left_out, seen_min=seen_min)


async def run_recorded(settings: Settings, side: Side, *, requests: int, second_url: str = "") -> NoiseCollector:
    """Run journaled requests twice on one side's shadow instance, from the present state of the shadow.

    Args:
        settings: of config.yaml.
        side: the side that is compared with itself.
        requests: most requests to run.
        second_url: URL of another process of the side on the shadow database, "" for none.

    Raises:
        ProxyError, CaptureError: it cannot start; the message says what to do.
    """
    noise = NoiseCollector(side, requests, 0, second_url)
    exchanges = await _journaled(settings, noise)
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
            second=await stack.enter_async_context(second_process(settings, side, second_url)),
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
            unsettled_s_max=runner.unsettled_s_max,
        )
        captured = shadow.schemas.keys()
        unseen = {route.name for route in settings.routes if not captured >= set(route.tables)}
        for exchange in exchanges:
            if exchange.route in unseen:
                noise.left_out[RouteMethod(exchange.route, exchange.request.method), "not_capturable"] += 1
        async for pair in calibrator.pairs(one for one in exchanges if one.route not in unseen):
            noise.add(pair)
    return noise


async def _journaled(settings: Settings, noise: NoiseCollector) -> list[Exchange]:
    """Return the exchanges of the journal that can be run again, oldest first, as many as are wanted; count all as traffic."""
    keys = journal_keys(settings.journal, os.environ)
    exchanges: list[Exchange] = []
    name = f"calibrate-{uuid.uuid4().hex[:8]}"
    async with open_passing_reader(settings.journal, name, keys=keys, environ=os.environ) as reader:
        while entries := await reader.read(noise.wanted, 0.5):
            for exchange in (entry.exchange for entry in entries):
                at = RouteMethod(exchange.route, exchange.request.method)
                noise.traffic[at] += 1
                if not _is_repeatable(exchange):
                    noise.left_out[at, "cannot be run again"] += 1
                elif len(exchanges) < noise.wanted:
                    exchanges.append(exchange)
                else:
                    noise.left_out[at, "beyond --requests"] += 1
    if not exchanges:
        raise ProxyError(f"the journal in {_place(settings.journal)} has no request to run; serve some first")
    return exchanges


def _place(journal: JournalSettings) -> str:
    return journal.directory if journal.driver is JournalDriver.FILES else "the broker"


def _is_repeatable(exchange: Exchange) -> bool:
    return not exchange.skip and isinstance(exchange.outcome, Response) and not exchange.request.body_truncated


def _as_json(result: Calibration) -> str:
    shown = {"covered_share": result.covered_share, **msgspec.to_builtins(result)}
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
