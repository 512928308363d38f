"""Start and stop the stand-in as a child process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10


class NotReadyError(Exception):
    """The stand-in exited or timed out before it was ready; the message is its output."""


@asynccontextmanager
async def running(dsn: str, environment: Mapping[str, str], *, workers: int = 1) -> AsyncIterator[int]:
    """Run a stand-in on the database `dsn` and yield its port; stop it at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.legacy", "--port", "0", "--workers", str(workers)),
        cwd=ROOT,
        env={**os.environ, **environment, "DATABASE_URL": dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield await _port(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.communicate()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async with asyncio.timeout(READY_TIMEOUT_S):
        line = (await process.stdout.readline()).decode()
    if not line.startswith("ready "):
        raise NotReadyError(line or f"ended with status {await process.wait()}")
    return int(line.rsplit(":", 1)[1])
