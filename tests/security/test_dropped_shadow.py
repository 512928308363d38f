"""The shadow database is dropped while the runner runs: one line with a way out, every exchange counted, and on with the next clone."""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp import ClientError, ClientSession

from comparator.capture.clone import CloneMethod, CloneOptions, clone
from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.cli.main import main
from proxy.config.runner import RunnerSettings
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import OUTCOMES, Samples, total
from tests.support import postgres
from tests.support.mirror_lab import WRITTEN, MirrorLab, checksums, mirror_lab, publish
from tests.support.paths import ROOT
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import until

CAPTURE = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


async def serve(lab: MirrorLab, count: int) -> None:
    async with ClientSession() as session:
        for number in range(count):
            await lab.serve(session, Side.CANDIDATE, lab.addresses[number % len(lab.addresses)])


async def drop(lab: MirrorLab) -> None:
    name = urlsplit(lab.shadow_dsn).path.lstrip("/")
    conn = await asyncpg.connect(postgres.with_database(lab.shadow_dsn, "postgres"))
    try:
        async with asyncio.timeout(60):
            while True:
                await conn.execute(END_SESSIONS, name)
                try:
                    await conn.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                except asyncpg.ObjectInUseError:  # (the capture was back before)
                    continue
                return
    finally:
        await conn.close()


def ended(samples: Samples) -> float:
    return sum(total(samples, name) for name in OUTCOMES)


async def compared(port: int, *, of: int) -> float:
    """Return how many exchanges were compared once so many have ended."""
    return total(await until(port, lambda s: ended(s) == of), "shadow_compared_total")


async def says_that_it_is_missing(port: int) -> str:
    """Return what the runner says about its databases once it knows."""
    async with asyncio.timeout(60), ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/status") as response:
                    unreadable = (await response.json())["schema"]["unreadable"]
                    if "does not exist" in unreadable:
                        return unreadable
            except ClientError:
                pass
            await asyncio.sleep(0.05)


async def test_dropped_shadow_is_named_and_its_clone_is_used(
    postgres_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    runner = RunnerSettings(port=port, timeout_s=5.0, unsettled_s_max=10.0)
    async with mirror_lab(postgres_dsn, tmp_path, capture=CAPTURE, runner=runner, population=20, shared_every=0) as lab:
        process = RunnerProcess(lab.settings(), tmp_path)
        try:
            await process.start()
            await serve(lab, 5)
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(lab, 20), name="clients")
                group.create_task(drop(lab), name="drop")
            missing = await says_that_it_is_missing(port)
            assert missing.startswith("databases.shadow: ")
            assert "`shadow align clone`" in missing
            await asyncio.to_thread(main, ["status", "--config", str(process.config)])
            assert missing in capsys.readouterr().out
            await serve(lab, 5)
            programs = EmbeddedPostgres(tmp_path / "unused").bin_dir
            await clone(lab.live_dsn, lab.shadow_dsn, CloneOptions(method=CloneMethod.DUMP, programs=programs))
            await publish(lab.shadow_dsn, CAPTURE, move_sequences=False)
            served = 30
            before = now = await compared(port, of=served)
            # (until the definitions of the new database are read, exchanges are skipped)
            while now == before:
                await serve(lab, 1)
                served += 1
                now = await compared(port, of=served)
            await serve(lab, 10)
            samples = await until(port, lambda s: ended(s) == served + 10)
            assert total(samples, "shadow_compared_total") == now + 10
            assert not total(samples, "shadow_compared_total", verdict="mismatch")
            assert not total(samples, "shadow_in_flight")
            assert await checksums(lab.live_dsn) == await checksums(lab.shadow_dsn)
            lines = [json.loads(line) for line in process.log().splitlines()]
            errors = [(line["event"], line.get("error")) for line in lines if line["level"] == "ERROR"]
            # (the other: the clone is seen before it is published)
            assert {*errors} - {("capture_refused", None)} == {("schema_check_failed", missing)}
            assert len(errors) <= 2
            assert [line for line in lines if "exception" in line] == []
        finally:
            await process.kill()


async def test_runner_without_a_shadow_database_says_how_to_create_it(postgres_dsn: str, tmp_path: Path) -> None:
    runner = RunnerSettings(port=free_port())
    async with mirror_lab(postgres_dsn, tmp_path, capture=CAPTURE, runner=runner, population=1, shared_every=0) as lab:
        config = RunnerProcess(lab.settings(), tmp_path).config
        await drop(lab)
        words = ["-m", "proxy", "runner", "--config", str(config)]
        process = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        _, error = await process.communicate()
    assert process.returncode == 2
    assert error.decode().count("\n") == 1
    assert "does not exist; create it with `shadow align clone`" in error.decode()
