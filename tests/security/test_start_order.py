"""The parts of an installation start in any order: the runner waits for the journal key, and says so."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import yaml

from proxy.journal.keys import load_keys
from tests.support import waiting
from tests.support.paths import ROOT

HANG_S = 180.0
"""Only a hang takes longer, on a busy machine too."""


@asynccontextmanager
async def killed_at_the_end(process: Process) -> AsyncGenerator[None]:
    """Leave no process behind, however the test ends."""
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_runner_waits_for_the_journal_key_and_says_so(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    document = {
        "journal": {"directory": str(tmp_path / "journal")},
        "capture": {"driver": "off"},
        "runner": {"port": 0},
    }
    config.write_text(yaml.safe_dump(document))
    runner = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "proxy", "runner", "--config", str(config)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SHADOW_JOURNAL_KEY": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert runner.stderr
    async with asyncio.timeout(HANG_S), killed_at_the_end(runner):
        line = json.loads(await runner.stderr.readline())
        assert line["event"] == "runner_waits_for_journal_key"
        assert "shadow proxy" in line["detail"]
        # As the proxy does when it starts.
        load_keys(tmp_path / "journal", {}, create=True)
        await waiting.until((tmp_path / "journal" / "readers" / "mirror.lock").exists)
        # (with nothing to read, it may have ended by itself)
        with suppress(ProcessLookupError):
            runner.send_signal(signal.SIGTERM)
        await runner.communicate()


async def test_runner_that_waits_can_be_stopped(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"journal": {"directory": str(tmp_path / "journal")}}))
    runner = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "proxy", "runner", "--config", str(config)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SHADOW_JOURNAL_KEY": ""},
        stderr=asyncio.subprocess.PIPE,
    )
    assert runner.stderr
    async with asyncio.timeout(HANG_S), killed_at_the_end(runner):
        await runner.stderr.readline()
        runner.send_signal(signal.SIGTERM)
        assert await runner.wait() == 0
