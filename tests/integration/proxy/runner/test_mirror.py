"""The whole runner on real databases: it finds every injected divergence once and nothing else, and keeps the shadow equal to live."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession
from msgspec.structs import astuple

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from comparator.store.timeline import unpacked_timeline
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import total
from tests.support.matrix import sliced
from tests.support.mirror_lab import FAILS_AFTER_S, WRITTEN, checksums, mirror_lab
from tests.support.mirroring import clean_up_job, mirroring, outcomes, send_requests, settled
from tests.support.scraping import until

SELECT_TIMELINE = "SELECT timeline, stored_at, compared_at FROM shadow.comparison WHERE exchange_id = $1"
SELECT_FIRST_RUN = """
SELECT mirrored_status, mirrored_us, (SELECT array_agg(kind ORDER BY kind) FROM shadow.step_hit) AS kinds
FROM shadow.comparison WHERE exchange_id = $1
"""


def options(driver: Driver) -> tuple[CaptureSettings, RunnerSettings]:
    capture = CaptureSettings(driver=driver, tables=WRITTEN, poll_ms=20)
    return capture, RunnerSettings(port=free_port(), claim_wait_ms=1_500, confirm_per_s_max=1000)


SERVED = (
    (Driver.STREAM, Side.CANDIDATE),
    (Driver.SQL, Side.LEGACY),
    (Driver.STREAM, Side.LEGACY),
    (Driver.SQL, Side.CANDIDATE),
)


@pytest.mark.parametrize(("driver", "side"), sliced(SERVED, 2))
async def test_every_injected_divergence_is_found_once_and_nothing_else(
    postgres_dsn: str, tmp_path: Path, driver: Driver, side: Side
) -> None:
    capture, runner = options(driver)
    count = 600
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            tasks.create_task(clean_up_job(made.live_dsn, stop), name="clean-up")
            ordered = await send_requests(made, session, count=count, side=side, fault_share=0.05)
            stop.set()
            samples = await until(runner.port, lambda s: settled(s, count))
        found = await outcomes(made)
        compared = total(samples, "shadow_compared_total")
        assert set(found) <= set(ordered)
        assert all(verdict == ("mismatch", True) for verdict in found.values())
        # A slow machine skips most of them, and counts them.
        assert compared > count / 10
        assert len(ordered) - len(found) <= total(samples, "shadow_skipped_total")
        assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)


async def test_steps_of_a_confirmed_mismatch_are_stored_in_their_order(postgres_dsn: str, tmp_path: Path) -> None:
    capture, runner = options(Driver.STREAM)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made):
            request_id = await made.serve(session, Side.CANDIDATE, made.addresses[3], fault="lost_stamp")
            await until(runner.port, lambda s: settled(s, 1))
        conn = await asyncpg.connect(made.store_dsn)
        row = await conn.fetchrow(SELECT_TIMELINE, request_id)
        await conn.close()
        assert row
        timeline = unpacked_timeline(row["timeline"])
        assert timeline is not None
        assert timeline.second is not None
        steps = [timeline.delivered_us, *astuple(timeline.first), *astuple(timeline.second), timeline.aligned_us]
        assert steps == sorted(steps)
        assert steps[0] > 0
        assert timeline.served is not None
        assert timeline.mirrored is not None
        assert timeline.served.named
        assert timeline.mirrored.last_us <= timeline.first.collected_us
        assert row["stored_at"] >= row["compared_at"]


async def test_mismatch_that_does_not_occur_again_is_transient(postgres_dsn: str, tmp_path: Path) -> None:
    capture, runner = options(Driver.STREAM)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made):
            mirrored = made.services[Side.LEGACY, "shadow"]
            faults = OnceOnly()
            mirrored.faults = faults
            request_id = await made.serve(session, Side.CANDIDATE, made.addresses[3], fault="lost_stamp")
            await until(runner.port, lambda s: settled(s, 1))
        assert (await outcomes(made))[request_id][0] == "transient"
        assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)


class OnceOnly(dict[str, str]):
    """Injects each fault into one run only."""

    def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
        return self.pop(key, default)


async def test_second_run_hides_neither_status_nor_time_of_the_first(postgres_dsn: str, tmp_path: Path) -> None:
    """The candidate fails once after a while, and is right when it runs again."""
    capture, runner = options(Driver.STREAM)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made):
            made.services[Side.CANDIDATE, "shadow"].faults = OnceOnly()
            request_id = await made.serve(session, Side.LEGACY, made.addresses[3], fault="fails_slowly")
            await until(runner.port, lambda s: settled(s, 1))
        found = await outcomes(made)
        conn = await asyncpg.connect(made.store_dsn)
        row = await conn.fetchrow(SELECT_FIRST_RUN, request_id)
        await conn.close()
        assert found[request_id][0] == "transient"
        assert row
        assert row["mirrored_status"] == 500
        assert row["mirrored_us"] >= FAILS_AFTER_S * 1e6
        assert row["kinds"] == ["candidate_error", "candidate_transient"]
