"""The shadow runner as a process of its own, so that it can be killed."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import yaml

from proxy.config.settings import Settings
from tests.support.paths import ROOT
from tests.support.scraping import total, until


@dataclass
class RunnerProcess:
    """Start, kill, start again; each start reads the same configuration."""

    settings: Settings
    folder: Path
    process: asyncio.subprocess.Process | None = None
    config: Path = field(init=False)

    def __post_init__(self) -> None:
        self.config = self.folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(msgspec.to_builtins(self.settings)))

    async def start(self) -> None:
        """Start it and wait until it compares."""
        log = (self.folder / "runner.log").open("ab")
        words = [sys.executable, "-m", "proxy", "runner", "--config", str(self.config)]
        self.process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stderr=log, env={**os.environ})
        log.close()
        await until(self.settings.runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1)

    async def kill(self) -> None:
        """As the kernel does when memory runs out."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """As an operator does; returns the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(60):
            return await self.process.wait()

    def log(self) -> str:
        return (self.folder / "runner.log").read_text()
