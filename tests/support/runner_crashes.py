"""Mirroring through crashes: the runner is killed with SIGKILL and restarted three times under traffic, then the shadow database is
restarted and the replication connection is terminated. The test suite runs it with few requests, `bench/truth` with many.

With a temporary slot, exchanges served while the runner is down are not compared; with a persistent slot they are.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind
from comparator.exchanges.model import Side
from proxy.config.runner import RunnerSettings
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import Samples, by_label, total
from tests.support.mirror_lab import WRITTEN, MirrorLab, checksums, mirror_lab
from tests.support.mirroring import clean_up_job, is_idle, outcomes, send_requests
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import scrape, until

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication"
END_SLOT = "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = $1 AND active"
DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1"
KILLS = 3
FAULT_SHARE = 0.05
PART_S = 300.0
TIMEOUT_S = 4.0
UNSETTLED_S = 4.0
"""A runner that starts behind a killed one waits as long."""
CATCH_UP_S = 900.0


@dataclass(frozen=True, slots=True)
class CrashRunResult:
    """Exchange ids by outcome, and counts over all processes of the runner.

    Attributes:
        injected: ids with an injected divergence.
        reported: ids reported as different.
        failed: ids whose mirrored request failed.
        compared: ids that were compared.
        equal: whether live and shadow hold equal rows at the end.
        resyncs: resyncs of the last runner process.
        skipped: skipped exchanges by cause; those that a killed process had not committed are read and counted again.
    """

    injected: frozenset[str]
    reported: frozenset[str]
    failed: frozenset[str]
    compared: frozenset[str]
    equal: bool
    resyncs: float
    skipped: Counter[str]

    @property
    def unreported(self) -> frozenset[str]:
        """Ids that were injected and compared but not reported: must be empty."""
        return (self.injected & self.compared) - self.reported

    @property
    def false_reports(self) -> frozenset[str]:
        """Ids that were reported but not injected: must be empty."""
        return self.reported - self.injected


@asynccontextmanager
async def crash_lab(
    postgres_dsn: str, folder: Path, *, slot: SlotKind = SlotKind.TEMPORARY, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[tuple[MirrorLab, EmbeddedPostgres]]:
    """Open a lab whose shadow database is on its own server."""
    named = Slot(kind=slot, name=f"crash_{uuid.uuid4().hex[:12]}")
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, slot=named, feedback_ms=500)
    runner = RunnerSettings(
        port=free_port(),
        claim_wait_ms=1_500,
        confirm_per_s_max=1000,
        queue_max=100_000,
        timeout_s=timeout_s,
        unsettled_s_max=UNSETTLED_S,
    )
    # Not below pytest's folder: a second pytest process revokes access to it from the user that PostgreSQL runs as.
    with (
        TemporaryDirectory(prefix="shadow-test-pg-") as directory,
        EmbeddedPostgres(Path(directory) / "data") as server,
    ):
        async with mirror_lab(
            postgres_dsn, folder, capture=capture, runner=runner, shadow_server_dsn=server.dsn()
        ) as made:
            try:
                yield made, server
            finally:
                for sql in (END_SLOT, DROP_SLOT):
                    await execute(made.live_dsn, sql, named.name)


async def run_through_crashes(
    made: MirrorLab, shadow_server: EmbeddedPostgres, process: RunnerProcess, *, part: int
) -> CrashRunResult:
    """Serve four batches of `part` requests, with divergences and a background writer, through all crashes.

    The runner is running at the end.
    """
    injected: dict[str, str] = {}
    skipped: Counter[str] = Counter()

    async def traffic(session: ClientSession) -> None:
        injected.update(await send_requests(made, session, count=part, side=Side.CANDIDATE, fault_share=FAULT_SHARE))

    async with ClientSession() as session, asyncio.TaskGroup() as tasks:
        stop = asyncio.Event()
        tasks.create_task(clean_up_job(made.live_dsn, stop), name="clean-up")
        await process.start()
        for number in range(KILLS):
            running = tasks.create_task(traffic(session), name=f"part-{number}")
            await until(made.runner.port, lambda s: total(s, "shadow_compared_total") >= part / 4, timeout_s=PART_S)
            skipped += skipped_by_cause(await scrape(made.runner.port))
            await process.kill()
            await process.start()
            await running
        running = tasks.create_task(traffic(session), name="last-part")
        await until(made.runner.port, lambda s: total(s, "shadow_compared_total") >= part / 8, timeout_s=PART_S)
        await execute(made.live_dsn, CUT)
        await asyncio.to_thread(shadow_server.restart)
        await running
        stop.set()
    samples = await until(made.runner.port, is_idle, timeout_s=CATCH_UP_S)
    verdicts = await outcomes(made)
    return CrashRunResult(
        injected=frozenset(injected),
        reported=frozenset(name for name, (verdict, _) in verdicts.items() if verdict != "failed"),
        failed=frozenset(name for name, (verdict, _) in verdicts.items() if verdict == "failed"),
        compared=frozenset(await compared_ids(made)),
        equal=await checksums(made.live_dsn) == await checksums(made.shadow_dsn),
        resyncs=total(samples, "shadow_resyncs_total"),
        skipped=skipped + skipped_by_cause(samples),
    )


def skipped_by_cause(samples: Samples) -> Counter[str]:
    """Count the skipped exchanges by cause."""
    return Counter(by_label(samples, "shadow_skipped_total", "cause"))


COMPARED = "SELECT exchange_id FROM shadow.comparison WHERE verdict IN ('match', 'known', 'mismatch')"


async def compared_ids(made: MirrorLab) -> list[str]:
    conn = await asyncpg.connect(made.store_dsn)
    try:
        return [record["exchange_id"] for record in await conn.fetch(COMPARED)]
    finally:
        await conn.close()


async def execute(dsn: str, sql: str, *values: object) -> object:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(sql, *values)
    finally:
        await conn.close()
