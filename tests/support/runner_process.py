"""The shadow runner as a separate process, so that a test can kill it."""

import asyncio
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import yaml

from comparator.store.ended import ended_totals
from comparator.store.store import Store
from proxy.config.settings import Settings
from proxy.config.slices import slice_settings
from proxy.rollout.accounting import total
from tests.support.paths import ROOT
from tests.support.scraping import until

WAIT_S = 120.0


@dataclass
class RunnerProcess:
    """A runner process that can be killed and restarted with the same configuration."""

    settings: Settings
    folder: Path
    slice_name: str = ""
    process: asyncio.subprocess.Process | None = None
    config: Path = field(init=False)

    def __post_init__(self) -> None:
        self.config = self.folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(msgspec.to_builtins(self.settings)))

    async def start(self) -> None:
        """Start the runner and wait for its first resync, after which it compares."""
        await self.launch()
        await until(
            slice_settings(self.settings, self.slice_name).runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1
        )

    async def launch(self) -> None:
        """Start the process."""
        log = (self.folder / "runner.log").open("ab")
        command = [sys.executable, "-m", "proxy", "runner", "--config", str(self.config), "--slice", self.slice_name]
        self.process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=log, env={**os.environ})
        log.close()

    async def kill(self) -> None:
        """Send SIGKILL, as the kernel's OOM killer does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Send SIGTERM, as an operator does; return the exit code."""
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


async def settled(store: Store, count: int, *names: str) -> Counter[str]:
    """Wait until so many exchanges have an outcome of the runner of this name, or of those of all slices; return them by outcome."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with store.connection() as conn:
                totals = await ended_totals(conn, *names)
            outcomes: Counter[str] = Counter()
            for one in totals:
                outcomes[one.outcome.value] += one.count
            if outcomes.total() >= count:
                return outcomes
            await asyncio.sleep(0.1)
