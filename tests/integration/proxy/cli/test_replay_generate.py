"""Generated traffic: reproducible, and with the statuses that the scorer responds with."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from comparator.capture.replication import environment
from proxy.cli.main import main
from proxy.cli.replay import replay
from proxy.config.settings import Settings
from proxy.replay.snapshot_transfer import program
from tests.legacy.running import ROOT
from tests.support.replay_backend import replay_arguments

PATIENCE_S = 60.0


def generate(*arguments: object) -> int:
    return main(["replay", "generate", *map(str, arguments)])


async def scorer(*arguments: str, printed: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scorer", *arguments),
        cwd=ROOT,
        env={**os.environ, **printed},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


@asynccontextmanager
async def serving(printed: Mapping[str, str]) -> AsyncIterator[str]:
    """Start a scorer with this environment; yield its URL."""
    process = await scorer("serve", "--port", "0", printed=printed)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = (await process.stdout.readline()).decode()
        port = line.strip(" )\n").rpartition(" ")[2]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def told_by(message: str) -> dict[str, str]:
    """Return the variables that the command says the backends need."""
    (line,) = [line for line in message.splitlines() if line.startswith("the backends need ")]
    return dict(word.replace("'", "").split("=", 1) for word in line.removeprefix("the backends need ").split())


async def migrated(dsn: str) -> None:
    """Create the tables."""
    assert await (await scorer("migrate", printed={"DATABASE_URL": dsn})).wait() == 0


async def filled(dsn: str, script: Path) -> None:
    """Create the tables and run the script."""
    await migrated(dsn)
    done = await asyncio.to_thread(
        subprocess.run,
        [program("psql", None), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", str(script)],
        env={**os.environ, **environment(dsn)},
        check=False,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, b"")


async def test_generated_submissions_get_the_expected_status(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture, script = tmp_path / "capture.ndjson", tmp_path / "rows.sql"
    arguments = ["--profile", "writes", "--addresses", 20, "--requests", 110, "--out", capture, "--sql", script]
    assert await asyncio.to_thread(generate, *arguments) == 0
    printed = {**told_by(capsys.readouterr().err), "DATABASE_URL": database}
    await filled(database, script)
    async with serving(printed) as url, asyncio.timeout(PATIENCE_S):
        recorded = replay_arguments(capture, "--to", "candidate", "--instance", url, "--speed", "max", "--no-progress")
        report = await replay(Settings(), recorded, {})
    side = report.sides["candidate"]
    assert (side.sent, side.failures, side.status_same) == (110, {}, 110)
    assert {"200", "201", "400", "401", "422", "500"} == set(side.statuses)
    conn = await asyncpg.connect(database)
    handed_in = await conn.fetchval("SELECT count(*) FROM ceramic_cache_ceramiccache WHERE source_app = 2")
    await conn.close()
    assert handed_in > 0


async def test_accounts_can_be_loaded_into_a_configured_database(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrated(database)
    config = tmp_path / "config.yaml"
    config.write_text(f"databases: {{live: '{database}'}}")
    arguments = ["--addresses", 5, "--load", "live", "--config", config, "--out", tmp_path / "x"]
    assert await asyncio.to_thread(generate, *arguments) == 0
    conn = await asyncpg.connect(database)
    holders = await conn.fetchval("SELECT count(DISTINCT address) FROM ceramic_cache_ceramiccache")
    await conn.close()
    assert 0 < holders <= 5
    assert "5 requests in " in capsys.readouterr().err


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        assert generate("--seed", 7, "--addresses", 10, "--requests", 30, "--out", path) == 0
    item, two = (path.read_bytes() for path in paths)
    assert item == two
    assert item.count(b"2026-01-01T00:00:0") == 30


def test_unknown_profile_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--profile", "nowhere", "--out", tmp_path / "x") == 2
    assert "neither one of clashes" in capsys.readouterr().err


def test_unreachable_database_is_not_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("databases: {live: 'postgresql://127.0.0.1:1/none'}")
    arguments = ("--addresses", 1, "--requests", 1, "--load", "live", "--config", config, "--out", tmp_path / "x")
    assert generate(*arguments) == 3
    assert "ConnectionRefusedError" in capsys.readouterr().err


def test_malformed_options_are_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--rate", "often", "--out", tmp_path / "x") == 2
    assert "--rate often" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_accounts_are_loaded_only_into_a_configured_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    assert generate("--load", "shadow", "--config", config, "--out", tmp_path / "x") == 2
    assert "databases.shadow" in capsys.readouterr().err
