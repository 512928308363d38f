"""A replay from a restored snapshot has the results of the first replay, after other traffic has changed the shadow database."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.cli.replay import replay
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.replay import snapshot
from proxy.replay.report import ReplayReport
from tests.support.mirror_lab import FAULTS, WRITTEN, MirrorLab, checksums, mirror_lab
from tests.support.replay_backend import recorded_exchange, replay_arguments, write_recording

PATIENCE_S = 60.0


async def played(path: Path, settings: Settings) -> ReplayReport:
    async with asyncio.timeout(PATIENCE_S):
        return await replay(settings, replay_arguments(path, "--to", "both", "--speed", "max", "--no-progress"), {})


@asynccontextmanager
async def disconnected(made: MirrorLab) -> AsyncIterator[None]:
    """Disconnect the shadow instances from their database for the block: one with connections is not copied."""
    services = [service for (_, role), service in made.services.items() if role == "shadow"]
    for service in services:
        assert service.pool is not None
        await service.pool.close()
    yield
    for service in services:
        service.pool = await asyncpg.create_pool(service.dsn, min_size=1, max_size=2)


async def closed(made: MirrorLab) -> None:
    """Close the pools that `disconnected` opened."""
    for service in made.services.values():
        assert service.pool is not None
        await service.pool.close()


async def test_two_replays_from_one_snapshot_are_identical(postgres_dsn: str, tmp_path: Path) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, poll_ms=20)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings()) as made:
        made.services[Side.CANDIDATE, "shadow"].faults.update({f"id-{n}": fault for n, fault in enumerate(FAULTS)})
        records = [recorded_exchange(n, path=f"/score/{made.addresses[n]}", key=made.addresses[n]) for n in range(9)]
        path = write_recording(tmp_path / "capture.ndjson", records)
        before = await checksums(made.shadow_dsn)
        async with disconnected(made):
            await snapshot.create(made.shadow_dsn, name, now=dt.datetime.now(dt.UTC))
        try:
            first = await played(path, made.settings())
            conn = await asyncpg.connect(made.shadow_dsn)
            await conn.execute("DELETE FROM credential")
            await conn.close()
            changed = await played(path, made.settings())
            async with disconnected(made):
                await snapshot.restore(made.shadow_dsn, name)
            second = await played(path, made.settings())
            assert await checksums(made.shadow_dsn) == before
        finally:
            await closed(made)
            await snapshot.drop(made.shadow_dsn, name)
    assert first.verdicts.mismatch == len(FAULTS)
    assert second.verdicts_digest == first.verdicts_digest != changed.verdicts_digest
