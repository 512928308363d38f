"""The runner through crashes: killed, with a restarted shadow and a cut replication connection.

The shadow ends equal to live, every exchange has an outcome, and every injected divergence is reported once or skipped.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comparator.capture.settings import SlotKind
from proxy.demo.embedded_postgres import EmbeddedPostgres
from tests.support.mirror_lab import MirrorLab
from tests.support.runner_crashes import crash_lab, execute, run_through_crashes
from tests.support.runner_process import RunnerProcess

SLOTS = "SELECT count(*) FROM pg_replication_slots"
PART = 75
IN_FLIGHT = 16


@pytest.fixture
def slot() -> SlotKind:
    """Return the kind of slot, which decides whether live's changes outlast the runner."""
    return SlotKind.TEMPORARY


@pytest.fixture
async def crashing(
    postgres_dsn: str, tmp_path: Path, slot: SlotKind
) -> AsyncIterator[tuple[MirrorLab, EmbeddedPostgres]]:
    async with crash_lab(postgres_dsn, tmp_path, slot=slot) as both:
        yield both


@pytest.fixture
async def runner_process(crashing: tuple[MirrorLab, EmbeddedPostgres], tmp_path: Path) -> AsyncIterator[RunnerProcess]:
    process = RunnerProcess(crashing[0].settings(), tmp_path)
    yield process
    await process.kill()


@pytest.mark.parametrize(
    ("slot", "lost_max"), [(SlotKind.TEMPORARY, 4 * PART), (SlotKind.PERSISTENT, 3 * IN_FLIGHT)], ids=list(SlotKind)
)
async def test_shadow_equals_live_after_kills_restarts_and_cut_connections(
    crashing: tuple[MirrorLab, EmbeddedPostgres], runner_process: RunnerProcess, lost_max: int
) -> None:
    made, shadow_server = crashing
    survived = await run_through_crashes(made, shadow_server, runner_process, part=PART)
    assert survived.equal
    assert survived.injected
    assert not survived.false_reports
    assert not survived.unreported
    assert survived.resyncs >= 2
    assert 4 * PART - len(survived.compared) <= lost_max
    assert await runner_process.stop() == 0


async def test_killed_runner_leaves_no_slot(
    crashing: tuple[MirrorLab, EmbeddedPostgres], runner_process: RunnerProcess
) -> None:
    made, _ = crashing
    process = runner_process
    await process.start()
    assert await execute(made.live_dsn, SLOTS) == 1
    await process.kill()
    async with asyncio.timeout(30):
        while await execute(made.live_dsn, SLOTS):
            await asyncio.sleep(0.05)
