"""Compare the rows attributed to each request with the rows that the services logged as committed."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import asyncpg
from aiohttp import ClientSession

from comparator.capture.attribution import Claim, RequestWindow
from comparator.capture.attribution_keys import KeyIndex
from comparator.capture.catalog import read_catalog
from comparator.capture.registry import open_capture
from comparator.exchanges.model import EffectsOutcome, Exchange, Side
from proxy.runner.ledger import Ledger
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.transaction_feed import TransactionFeed
from tests.support.mirror_lab import BACKGROUND, TABLES, WRITTEN, MirrorLab


@dataclass
class AttributionResult:
    """Result of a run. `wrong` counts rows attributed to a request that did not write them, and rows not attributed."""

    requests: int = 0
    rows: int = 0
    wrong: int = 0
    background: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    uncertain: list[tuple[Exchange, RequestWindow]] = field(default_factory=list)


async def background_writer(dsn: str, stop: asyncio.Event, *, per_s: int) -> None:
    """Write to live like a clean-up job on rows of any address, and like an importer of rows that no request uses."""
    conn = await asyncpg.connect(dsn)
    choose = random.Random(7)
    try:
        number = 0
        while not stop.is_set():
            number += 1
            await conn.execute("UPDATE passport SET seen = now() WHERE id = $1", choose.randrange(1, 500))
            await conn.execute("INSERT INTO link (hash, address) VALUES ($1, '0xnobody')", f"imported {number}")
            await asyncio.sleep(2 / per_s)
    finally:
        await conn.close()


async def run_attribution(
    made: MirrorLab, side: Side, *, count: int, in_flight: int, background_per_s: int
) -> AttributionResult:
    """Serve `count` requests, `in_flight` at a time, and attribute live's transactions to them."""
    async with asyncpg.create_pool(made.live_dsn, min_size=1, max_size=2) as pool:
        async with pool.acquire() as conn:
            catalog = await read_catalog(conn, WRITTEN)
        index = KeyIndex(TABLES, dict.fromkeys(TABLES, ("id",)))
        ledger = Ledger(index, primary_keys=dict.fromkeys(WRITTEN, ("id",)), background=BACKGROUND)
        parents = ParentLookup(index, catalog, (pool,))
        async with open_capture(made.live_dsn, made.capture) as capture, asyncio.TaskGroup() as tasks:
            feed = TransactionFeed(capture, key=ledger.keyed, lookup=parents.learn, sink=ledger.deliver)
            await feed.start()
            pump = tasks.create_task(feed.pump(), name="pump")
            stop = asyncio.Event()
            writer = tasks.create_task(
                background_writer(made.live_dsn, stop, per_s=background_per_s), name="background"
            )
            truth = await _claim_all(made, side, feed, ledger, count=count, in_flight=in_flight)
            stop.set()
            await writer
            await feed.fence()
            claim_uncertain(made, side, ledger, truth)
            truth.background = ledger.release_unclaimed(before_us=2**62)
            pump.cancel()
    return truth


async def _claim_all(
    made: MirrorLab, side: Side, feed: TransactionFeed, ledger: Ledger, *, count: int, in_flight: int
) -> AttributionResult:
    truth = AttributionResult()
    done: asyncio.Queue[Exchange] = asyncio.Queue()
    choose = random.Random(count)
    todo = iter(range(count))

    async def client(session: ClientSession) -> None:
        for _ in todo:
            done.put_nowait(await made.exchange(session, side, choose.choice(made.addresses)))

    async def claim() -> None:
        while truth.requests + len(truth.uncertain) < count:
            batch = [await done.get()]
            while not done.empty():
                batch.append(done.get_nowait())
            await feed.fence()
            _claim_batch(made, side, ledger, batch, truth)

    async with ClientSession() as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(claim(), name="claim")
        for n in range(in_flight):
            tasks.create_task(client(session), name=f"client-{n}")
    return truth


def _claim_batch(made: MirrorLab, side: Side, ledger: Ledger, batch: list[Exchange], truth: AttributionResult) -> None:
    windows = [
        RequestWindow(
            e.id,
            {("address", e.key)},
            e.started_ns // 1000,
            e.ended_ns // 1000,
            tagged=side is Side.CANDIDATE,
        )
        for e in batch
    ]
    for exchange, window in zip(batch, windows, strict=True):
        ledger.open(exchange, window)
    for exchange, window in zip(batch, windows, strict=True):
        claim = ledger.claim(exchange, window, mirror=False, complete=False)
        if claim is None:
            truth.uncertain.append((exchange, window))
        else:
            _count(made, side, exchange, claim, truth)


def claim_uncertain(made: MirrorLab, side: Side, ledger: Ledger, truth: AttributionResult) -> None:
    """Claim the transactions of requests that were ambiguous while other requests were still unknown."""
    for exchange, window in truth.uncertain:
        claim = ledger.claim(exchange, window, mirror=False)
        assert claim is not None
        _count(made, side, exchange, claim, truth)


def _count(made: MirrorLab, side: Side, exchange: Exchange, claim: Claim, truth: AttributionResult) -> None:
    truth.requests += 1
    truth.outcomes[claim.outcome] += 1
    if claim.outcome is EffectsOutcome.ATTRIBUTED:
        own = {(table, (str(pk),)) for table, _, pk in made.services[side, "live"].ledger[exchange.id]}
        got = set().union(*(keyed.rows for keyed in claim.transactions))
        truth.rows += len(own)
        truth.wrong += len(own ^ got)
