"""Run the shadow runner in this process over a lab, send requests, and read their verdicts."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
from aiohttp import ClientSession

from comparator.exchanges.model import Side
from proxy.rollout.accounting import Samples, total
from proxy.runner.app import serve
from tests.support.mirror_lab import FAULTS, MirrorLab
from tests.support.scraping import until

CONCURRENCY = 16
FINDINGS = "SELECT exchange_id, verdict, confirmed FROM shadow.comparison WHERE verdict <> 'match'"


@asynccontextmanager
async def mirroring(made: MirrorLab) -> AsyncGenerator[None, None]:
    """Run the runner in this process until the end of the block."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(made.settings(), {}, stop=stop), name="runner-under-test")
        try:
            await until(made.runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1)
            yield
        finally:
            stop.set()


def settled(samples: Samples, count: int) -> bool:
    """Return whether `count` exchanges have an outcome and every live change is on the shadow."""
    return ended_count(samples) == count and is_idle(samples)


def is_idle(samples: Samples) -> bool:
    """Return whether the runner has no work left, and every outcome is stored: an outcome is counted before it is stored."""
    names = ("in_flight", "waiting", "resync_pending", "lag_seconds")
    return not any(total(samples, f"shadow_{name}") for name in names)


def ended_count(samples: Samples) -> float:
    return sum(total(samples, f"shadow_{name}_total") for name in ("compared", "skipped", "failed", "dropped"))


async def send_requests(
    made: MirrorLab, session: ClientSession, *, count: int, side: Side, fault_share: float = 0.0
) -> dict[str, str]:
    """Serve `count` requests, CONCURRENCY at a time; return the injected faults by request id."""
    choose = random.Random(count)
    injected: dict[str, str] = {}
    todo = iter(range(count))

    async def client() -> None:
        for _ in todo:
            fault = choose.choice(FAULTS) if choose.random() < fault_share else ""
            request_id = await made.serve(session, side, choose.choice(made.addresses), fault=fault)
            if fault:
                injected[request_id] = fault

    async with asyncio.TaskGroup() as tasks:
        for n in range(CONCURRENCY):
            tasks.create_task(client(), name=f"client-{n}")
    return injected


async def clean_up_job(dsn: str, stop: asyncio.Event) -> int:
    """Write to live in the background: rows that requests use as well, and rows that no request uses."""
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


async def outcomes(made: MirrorLab) -> dict[str, tuple[str, bool | None]]:
    conn = await asyncpg.connect(made.store_dsn)
    try:
        return {r["exchange_id"]: (r["verdict"], r["confirmed"]) for r in await conn.fetch(FINDINGS)}
    finally:
        await conn.close()
