"""Attribution against the truth: what the services say they committed, beside what was attributed to each request."""

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
from tests.support.mirror_lab import BACKGROUND, TABLES, WRITTEN, Lab


@dataclass
class Truth:
    """Result of a run. `wrong` counts rows that were attributed to a request which did not write them, or were missing."""

    requests: int = 0
    rows: int = 0
    wrong: int = 0
    background: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    unsure: list[tuple[Exchange, RequestWindow]] = field(default_factory=list)


async def background(dsn: str, stop: asyncio.Event, *, per_s: int) -> None:
    """A clean-up job that touches rows of anybody, and an importer of rows that no request touches."""
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


async def attribute(made: Lab, side: Side, *, count: int, in_flight: int, background_per_s: int) -> Truth:
    """Serve `count` requests, `in_flight` at a time, and attribute live's transactions to them."""
    async with asyncpg.create_pool(made.live_dsn, min_size=1, max_size=2) as pool:
        async with pool.acquire() as conn:
            catalog = await read_catalog(conn, WRITTEN)
        index = KeyIndex(TABLES)
        ledger = Ledger(index, primary_keys=dict.fromkeys(WRITTEN, ("id",)), background=BACKGROUND)
        parents = ParentLookup(index, catalog, (pool,))
        async with open_capture(made.live_dsn, made.capture) as capture, asyncio.TaskGroup() as tasks:
            feed = TransactionFeed(capture, key=ledger.keyed, lookup=parents.learn, sink=ledger.deliver)
            await feed.start()
            pump = tasks.create_task(feed.pump(), name="pump")
            stop = asyncio.Event()
            writer = tasks.create_task(background(made.live_dsn, stop, per_s=background_per_s), name="background")
            truth = await _settle_all(made, side, feed, ledger, count=count, in_flight=in_flight)
            stop.set()
            await writer
            await feed.fence()
            settle_unsure(made, side, ledger, truth)
            truth.background = ledger.release(before_us=2**62)
            pump.cancel()
    return truth


async def _settle_all(
    made: Lab, side: Side, feed: TransactionFeed, ledger: Ledger, *, count: int, in_flight: int
) -> Truth:
    truth = Truth()
    done: asyncio.Queue[Exchange] = asyncio.Queue()
    choose = random.Random(count)
    todo = iter(range(count))

    async def client(session: ClientSession) -> None:
        for _ in todo:
            done.put_nowait(await made.exchange(session, side, choose.choice(made.addresses)))

    async def settle() -> None:
        while truth.requests + len(truth.unsure) < count:
            batch = [await done.get()]
            while not done.empty():
                batch.append(done.get_nowait())
            await feed.fence()
            _judge(made, side, ledger, batch, truth)

    async with ClientSession() as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(settle(), name="settle")
        for n in range(in_flight):
            tasks.create_task(client(session), name=f"client-{n}")
    return truth


def _judge(made: Lab, side: Side, ledger: Ledger, batch: list[Exchange], truth: Truth) -> None:
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
        claim = ledger.settle(exchange, window, admit=False, sure=False)
        if claim is None:
            truth.unsure.append((exchange, window))
        else:
            _count(made, side, exchange, claim, truth)


def settle_unsure(made: Lab, side: Side, ledger: Ledger, truth: Truth) -> None:
    """Every request is known now: those that waited for that are settled."""
    for exchange, window in truth.unsure:
        claim = ledger.settle(exchange, window, admit=False)
        assert claim is not None
        _count(made, side, exchange, claim, truth)


def _count(made: Lab, side: Side, exchange: Exchange, claim: Claim, truth: Truth) -> None:
    truth.requests += 1
    truth.outcomes[claim.outcome] += 1
    if claim.outcome is EffectsOutcome.ATTRIBUTED:
        own = {(table, (str(pk),)) for table, _, pk in made.services[side, "live"].ledger[exchange.id]}
        got = set().union(*(keyed.rows for keyed in claim.transactions))
        truth.rows += len(own)
        truth.wrong += len(own ^ got)
