"""The whole mirror on real databases: every injected divergence is found once, nothing else is, and the shadow stays live's equal."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchange import Side
from proxy.shadow.service import serve
from proxy.shadow.settings import RunnerSettings
from tests.support.mirror_lab import FAULTS, WRITTEN, Lab, checksums, lab
from tests.support.scraping import Samples, free_port, total, until

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

    async def caller() -> None:
        for _ in todo:
            fault = choose.choice(FAULTS) if choose.random() < fault_share else ""
            request_id = await made.serve(session, side, choose.choice(made.addresses), fault=fault)
            if fault:
                ordered[request_id] = fault

    async with asyncio.TaskGroup() as tasks:
        for n in range(CONCURRENCY):
            tasks.create_task(caller(), name=f"caller-{n}")
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


def options(driver: Driver) -> tuple[CaptureSettings, RunnerSettings]:
    capture = CaptureSettings(driver=driver, tables=WRITTEN, poll_ms=20)
    return capture, RunnerSettings(port=free_port(), hold_ms=1_500, confirm_per_s_max=1000)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL])
async def test_every_injected_divergence_is_found_once_and_nothing_else(
    postgres_dsn: str, tmp_path: Path, driver: Driver, side: Side
) -> None:
    capture, runner = options(driver)
    count = 600
    async with lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            tasks.create_task(clean_up_job(made.live_dsn, stop), name="clean-up")
            ordered = await drive(made, session, count=count, side=side, fault_share=0.05)
            stop.set()
            samples = await until(runner.port, lambda s: settled(s, count))
        found = await outcomes(made)
        compared = total(samples, "shadow_compared_total")
        assert set(found) <= set(ordered)
        assert all(verdict == ("mismatch", True) for verdict in found.values())
        assert compared > count / 2
        assert len(ordered) - len(found) <= total(samples, "shadow_skipped_total")
        assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)


async def test_request_whose_second_run_agrees_is_transient(postgres_dsn: str, tmp_path: Path) -> None:
    capture, runner = options(Driver.STREAM)
    async with lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made):
            mirrored = made.services[Side.LEGACY, "shadow"]
            faults = OnceOnly()
            mirrored.faults = faults
            request_id = await made.serve(session, Side.CANDIDATE, made.addresses[3], fault="lost_stamp")
            await until(runner.port, lambda s: settled(s, 1))
        assert (await outcomes(made))[request_id][0] == "transient"
        assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)


class OnceOnly(dict[str, str]):
    """Orders each fault for one run only."""

    def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
        return self.pop(key, default)
