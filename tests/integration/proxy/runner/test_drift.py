"""Drift of the shadow is found, named and mended: rows that nothing touched, rows around a TRUNCATE, rows that triggers touch."""

from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import total
from proxy.runner.row_sql import ALIGN_MESSAGE
from tests.support.mirror_lab import WRITTEN, MirrorLab, checksums, install_log, mirror_lab
from tests.support.mirroring import is_idle, mirroring, outcomes, send_requests, settled
from tests.support.scraping import until

TOUCH = """
ALTER TABLE passport ADD version int NOT NULL DEFAULT 0;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.version := NEW.version + 1; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON passport FOR EACH ROW EXECUTE FUNCTION touch();
"""


def options(driver: Driver, **changes: float) -> tuple[CaptureSettings, RunnerSettings]:
    capture = CaptureSettings(driver=driver, tables=WRITTEN, poll_ms=20)
    return capture, RunnerSettings(port=free_port(), claim_wait_ms=500, **changes)  # type: ignore[arg-type]


async def execute(dsn: str, *statements: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        async with conn.transaction():
            for statement in statements:
                await conn.execute(statement)
    finally:
        await conn.close()


async def equal(made: MirrorLab) -> bool:
    return await checksums(made.live_dsn) == await checksums(made.shadow_dsn)


async def test_drift_that_no_write_shows_is_found_and_mended(postgres_dsn: str, tmp_path: Path) -> None:
    capture, runner = options(Driver.STREAM, sample_every_s=0.05, sample_rows=20)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made):
            await send_requests(made, session, count=40, side=Side.CANDIDATE)
            await until(runner.port, lambda s: settled(s, 40))
            # With the aligner's mark, so that the capture of the shadow does not show it.
            await execute(
                made.shadow_dsn,
                ALIGN_MESSAGE,
                "UPDATE score SET value = value + 1 WHERE id = (SELECT min(id) FROM score)",
                "DELETE FROM stamp WHERE id = (SELECT max(id) FROM stamp)",
                "INSERT INTO event (address, data, created_at) VALUES ('0xnobody', '{}', now())",
            )
            await until(runner.port, lambda s: total(s, "shadow_drifted_rows_total") == 3 and is_idle(s))
            samples = await until(runner.port, lambda s: total(s, "shadow_sampled_rows_total") > 0)
            assert total(samples, "shadow_resyncs_total") == 1
        assert await equal(made)


async def test_traffic_alone_is_never_taken_for_drift(postgres_dsn: str, tmp_path: Path) -> None:
    capture, runner = options(Driver.STREAM, sample_every_s=0.01, sample_rows=1_000)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made):
            await send_requests(made, session, count=200, side=Side.LEGACY, fault_share=0.1)
            samples = await until(runner.port, lambda s: settled(s, 200))
            assert total(samples, "shadow_drifted_rows_total") == 0
            assert total(samples, "shadow_sampled_rows_total") > 0
        assert await equal(made)


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL, Driver.TRIGGERS])
async def test_rows_around_a_truncate_are_those_of_live(postgres_dsn: str, tmp_path: Path, driver: Driver) -> None:
    capture, runner = options(driver)
    insert = "INSERT INTO event (address, data, created_at) VALUES ('0xA1', '{}', now())"
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made:
        if driver is Driver.TRIGGERS:
            await install_log(made.live_dsn, capture)
        async with mirroring(made):
            await execute(made.live_dsn, insert, "UPDATE event SET data = '[]'", "TRUNCATE event", insert)
            await execute(made.live_dsn, insert)
            await execute(made.live_dsn, "TRUNCATE passport, stamp, score")
            await execute(made.live_dsn, "INSERT INTO passport (address) VALUES ('0xA1')")
            await until(runner.port, lambda s: total(s, "shadow_background_transactions_total") == 4 and is_idle(s))
            samples = await until(runner.port, is_idle)
            assert total(samples, "shadow_drifted_rows_total") == 0
        assert await equal(made)


async def test_rows_that_the_applications_triggers_touch_stay_equal(postgres_dsn: str, tmp_path: Path) -> None:
    capture, runner = options(Driver.STREAM)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made, ClientSession() as session:
        for dsn in (made.live_dsn, made.shadow_dsn):
            await execute(dsn, TOUCH)
        async with mirroring(made):
            for address in list(made.addresses[:3]) * 2:
                await made.serve(session, Side.CANDIDATE, address)
            await execute(made.live_dsn, "UPDATE passport SET seen = now()")
            samples = await until(runner.port, lambda s: settled(s, 6))
            assert total(samples, "shadow_drifted_rows_total") == 0
        assert await outcomes(made) == {}
        assert await equal(made)
