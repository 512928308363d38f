"""The runner through crashes: killed, with a restarted shadow and a cut replication connection.

The shadow ends equal to live, every exchange has an outcome, and every injected divergence is reported once or skipped.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from comparator.capture.settings import SlotKind
from comparator.exchanges.model import Side
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.rollout.accounting import total
from tests.support.matrix import sliced
from tests.support.mirror_lab import MirrorLab, checksums
from tests.support.mirroring import is_idle, outcomes
from tests.support.runner_crashes import UNSETTLED_S, compared_ids, crash_lab, execute, run_through_crashes
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import until

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
    ("slot", "lost_max"), sliced([(SlotKind.PERSISTENT, 3 * IN_FLIGHT), (SlotKind.TEMPORARY, 4 * PART)], 1)
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


@pytest.mark.parametrize("slot", [SlotKind.PERSISTENT])
async def test_rows_of_a_request_that_a_killed_runner_left_running_are_not_taken_for_its_successors(
    crashing: tuple[MirrorLab, EmbeddedPostgres], runner_process: RunnerProcess
) -> None:
    made, _ = crashing
    address, legacy, second = made.addresses[0], made.services[Side.LEGACY, "shadow"], "left-running"

    async def resumed() -> None:
        """Let both runs of the request go on: once the next runner waits for the first one, or has sent the second one."""
        while legacy.received.count(second) < 2 and runner_process.log().count("runner_was_killed") < 2:
            await asyncio.sleep(0.02)
        legacy.resume.set()

    await runner_process.start()
    async with ClientSession() as session:
        first = await made.serve(session, Side.CANDIDATE, address)
        await until(made.runner.port, lambda s: total(s, "shadow_compared_total") == 1 and is_idle(s))
        await made.serve(session, Side.CANDIDATE, address, fault="late", request_id=second)
    async with asyncio.timeout(30):
        while second not in legacy.received:
            await asyncio.sleep(0.02)
    await runner_process.kill()
    # One that is stopped while it waits leaves them to the next.
    await runner_process.launch()
    async with asyncio.timeout(60):
        while "runner_was_killed" not in runner_process.log():
            await asyncio.sleep(0.02)
    assert await runner_process.stop() == 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(resumed(), name="resume")
        await runner_process.start()
    await until(made.runner.port, lambda s: total(s, "shadow_compared_total") >= 1 and is_idle(s))
    assert await runner_process.stop() == 0
    assert f'"waits_s": {UNSETTLED_S}' in runner_process.log()
    assert await outcomes(made) == {}
    assert sorted(await compared_ids(made)) == sorted([first, second])
    assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)


async def test_rows_of_a_request_that_a_stopped_runner_had_given_up_are_not_taken_for_those_of_the_next(
    postgres_dsn: str, tmp_path: Path
) -> None:
    async with crash_lab(postgres_dsn, tmp_path, slot=SlotKind.PERSISTENT, timeout_s=2.0) as (made, _):
        address, legacy = made.addresses[0], made.services[Side.LEGACY, "shadow"]
        process = RunnerProcess(made.settings(), tmp_path)

        async def resumed() -> None:
            """Let the request go on once the next runner waits for it, or has sent another one."""
            while "next" not in legacy.received and "runner_was_killed" not in process.log():
                await asyncio.sleep(0.02)
            legacy.resume.set()

        try:
            await process.start()
            async with ClientSession() as session:
                await made.serve(session, Side.CANDIDATE, address, fault="late", request_id="slow")
                await until(made.runner.port, lambda s: total(s, "shadow_failed_total") == 1 and is_idle(s))
                assert await process.stop() == 0
                await made.serve(session, Side.CANDIDATE, address, request_id="next")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(resumed(), name="resume")
                await process.start()
            await until(made.runner.port, lambda s: total(s, "shadow_compared_total") >= 1 and is_idle(s))
            assert await process.stop() == 0
        finally:
            await process.kill()
        assert f'"waits_s": {UNSETTLED_S}' in process.log()
        assert await outcomes(made) == {"slow": ("failed", None)}
        assert await compared_ids(made) == ["next"]
        assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)


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
