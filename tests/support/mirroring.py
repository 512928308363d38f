"""Runs the mirror in this process over a laboratory, drives traffic through it, and reads what came of it."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
from aiohttp import ClientSession

from comparator.exchanges.model import Side
from proxy.runner.app import serve
from tests.support.mirror_lab import FAULTS, Lab
from tests.support.scraping import Samples, total, until

CONCURRENCY = 16
FINDINGS = "SELECT exchange_id, verdict, confirmed FROM shadow.comparison WHERE verdict <> 'match'"


@asynccontextmanager
async def mirroring(made: Lab) -> AsyncGenerator[None, None]:
    """Run the runner in this process until the block ends."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(made.settings(), {}, stop=stop), name="runner-under-test")
        try:
            await until(made.runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1)
            yield
        finally:
            stop.set()


def settled(samples: Samples, count: int) -> bool:
    """Every exchange has its outcome, and every live change is on the shadow."""
    return ended(samples) == count and quiet(samples)


def quiet(samples: Samples) -> bool:
    """Nothing is left to do."""
    return not any(total(samples, f"shadow_{name}") for name in ("in_flight", "waiting", "resync_pending"))


def ended(samples: Samples) -> float:
    return sum(total(samples, f"shadow_{name}_total") for name in ("compared", "skipped", "failed", "dropped"))


async def drive(
    made: Lab, session: ClientSession, *, count: int, side: Side, fault_share: float = 0.0
) -> dict[str, str]:
    """Serve `count` requests, CONCURRENCY at a time; return the faults that were ordered, by request id."""
    choose = random.Random(count)
    ordered: dict[str, str] = {}
    todo = iter(range(count))

    async def client() -> None:
        for _ in todo:
            fault = choose.choice(FAULTS) if choose.random() < fault_share else ""
            request_id = await made.serve(session, side, choose.choice(made.addresses), fault=fault)
            if fault:
                ordered[request_id] = fault

    async with asyncio.TaskGroup() as tasks:
        for n in range(CONCURRENCY):
            tasks.create_task(client(), name=f"client-{n}")
    return ordered


async def clean_up_job(dsn: str, stop: asyncio.Event) -> int:
    """A background writer on live: touches rows that requests use too, and rows that nobody uses."""
    conn = await asyncpg.connect(dsn)
    choose, done = random.Random(1), 0
    try:
        while not stop.is_set():
            await conn.execute("UPDATE passport SET seen = now() WHERE id = $1", choose.randrange(1, 200))
            await conn.execute("INSERT INTO link (hash, address) VALUES ($1, '0xnobody')", f"background {done}")
            done += 1
            await asyncio.sleep(0.01)
    finally:
        await conn.close()
    return done


async def outcomes(made: Lab) -> dict[str, tuple[str, bool | None]]:
    conn = await asyncpg.connect(made.store_dsn)
    try:
        return {r["exchange_id"]: (r["verdict"], r["confirmed"]) for r in await conn.fetch(FINDINGS)}
    finally:
        await conn.close()
