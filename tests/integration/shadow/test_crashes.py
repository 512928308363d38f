"""The mirror through crashes: runner killed, shadow database restarted, replication cut. The shadow ends equal to live, every
exchange is accounted for, and what was injected is reported once or skipped by name.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchange import Side
from proxy.embedded import EmbeddedPostgres
from proxy.shadow.settings import RunnerSettings
from tests.support.mirror_lab import WRITTEN, Lab, checksums, lab
from tests.support.mirroring import clean_up_job, drive, outcomes, quiet
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import free_port, total, until

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication"
SLOTS = "SELECT count(*) FROM pg_replication_slots"
PART = 150


def settings() -> tuple[CaptureSettings, RunnerSettings]:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    return capture, RunnerSettings(port=free_port(), hold_ms=1_500, confirm_per_s_max=1000)


@asynccontextmanager
async def laboratory(postgres_dsn: str, folder: Path) -> AsyncIterator[tuple[Lab, EmbeddedPostgres]]:
    """A lab whose shadow database is on a server of its own."""
    capture, runner = settings()
    # Not below pytest's folder: a second pytest closes that to the user PostgreSQL runs as.
    with TemporaryDirectory(prefix="shadow-test-pg-") as place, EmbeddedPostgres(Path(place) / "data") as server:
        async with lab(postgres_dsn, folder, capture=capture, runner=runner, shadow_server_dsn=server.dsn()) as made:
            yield made, server


@pytest.fixture
async def crashing(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[tuple[Lab, EmbeddedPostgres]]:
    async with laboratory(postgres_dsn, tmp_path) as both:
        yield both


@pytest.fixture
async def runner_process(crashing: tuple[Lab, EmbeddedPostgres], tmp_path: Path) -> AsyncIterator[RunnerProcess]:
    process = RunnerProcess(crashing[0].settings(), tmp_path)
    yield process
    await process.kill()


async def execute(dsn: str, sql: str) -> object:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(sql)
    finally:
        await conn.close()


async def test_shadow_is_equal_after_the_runner_was_killed_and_everything_cut(
    crashing: tuple[Lab, EmbeddedPostgres], runner_process: RunnerProcess
) -> None:
    made, shadow_server = crashing
    process = runner_process
    ordered: dict[str, str] = {}
    async with ClientSession() as session, asyncio.TaskGroup() as tasks:
        stop = asyncio.Event()
        tasks.create_task(clean_up_job(made.live_dsn, stop), name="clean-up")
        for _ in range(3):
            await process.start()
            part = tasks.create_task(drive(made, session, count=PART, side=Side.CANDIDATE, fault_share=0.05))
            await until(made.runner.port, lambda s: total(s, "shadow_compared_total") >= PART / 4)
            await process.kill()
            ordered |= await part
        await process.start()
        part = tasks.create_task(drive(made, session, count=PART, side=Side.CANDIDATE, fault_share=0.05))
        await until(made.runner.port, lambda s: total(s, "shadow_compared_total") >= PART / 8)
        await execute(made.live_dsn, CUT)
        await asyncio.to_thread(shadow_server.restart)
        ordered |= await part
        stop.set()
    samples = await until(made.runner.port, quiet)
    assert total(samples, "shadow_resyncs_total") >= 2
    found = await outcomes(made)
    assert set(found) <= set(ordered)
    assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)
    assert await process.stop() == 0


async def test_nothing_is_left_on_the_server_of_a_killed_runner(
    crashing: tuple[Lab, EmbeddedPostgres], runner_process: RunnerProcess
) -> None:
    made, _ = crashing
    process = runner_process
    await process.start()
    assert await execute(made.live_dsn, SLOTS) == 1
    await process.kill()
    async with asyncio.timeout(30):
        while await execute(made.live_dsn, SLOTS):
            await asyncio.sleep(0.05)
