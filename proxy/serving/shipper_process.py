"""Keep the shipper of a shared journal running beside the proxy: a process of its own, started again when it ends.

It outlives the proxy by what is left in the spool, within its own limit; what it does not ship then, the next one does.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from proxy.config.journal import JournalDriver, JournalSettings
from proxy.errors import JournalFormatError
from proxy.journal.shipper import ShipperStatus, load_status
from proxy.rollout.disk import DiskThread
from proxy.serving.event_wait import wait_for_event
from proxy.serving.metrics import SpoolState

logger = logging.getLogger(__name__)

PAUSE_MIN_S: Final = 0.5
PAUSE_MAX_S: Final = 10.0
STABLE_S: Final = 30.0
STATUS_POLL_S: Final = 1.0
STATUS_TIMEOUT_S: Final = 5.0
STALE_S: Final = 10.0
"""Age from which the shipper's status is of one that does not run."""
END_S: Final = 20.0
"""Time for the shipper to end after the proxy has written everything; then it is killed."""


def ship_command(config: Path) -> list[str]:
    """Return the command line of the shipper."""
    return [sys.executable, "-m", "proxy", "journal", "ship", "--of-proxy", "--config", str(config)]


@asynccontextmanager
async def shipping(journal: JournalSettings, command: Sequence[str]) -> AsyncGenerator[None, None]:
    """Ship the spool until the block has ended and the rest is shipped; nothing for a journal that is not shared."""
    if not journal.enabled or journal.driver is not JournalDriver.VALKEY:
        yield
        return
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_keep_running(command, stopping), name="shipper")
        try:
            yield
        finally:
            stopping.set()


class SpoolWatch:
    """The state of this machine's spool, read from the shipper's file by a thread: the disk may hang.

    Args:
        directory: the spool's folder.

    Attributes:
        state: the last that was read.
    """

    def __init__(self, directory: Path) -> None:
        self.state = SpoolState()
        self._directory = directory
        self._disk = DiskThread("spool-status")

    async def run(self, stopped: asyncio.Event) -> None:
        """Read until stopped."""
        while not await wait_for_event(stopped, STATUS_POLL_S):
            try:
                status = await self._disk.run(partial(load_status, self._directory), timeout_s=STATUS_TIMEOUT_S)
            except (OSError, JournalFormatError) as error:
                logger.debug("spool_status_unreadable", extra={"error": str(error)})
                status = None
            self.state = spool_state(status, now_s=time.time())


def spool_state(status: ShipperStatus | None, *, now_s: float) -> SpoolState:
    """Return what a shipper's status says of the spool. One that is too old is of a shipper that does not run."""
    if status is None:
        return SpoolState()
    oldest_ns = [report.oldest_ns for report in status.reports if report.oldest_ns]
    return SpoolState(
        bytes=sum(report.spool_bytes for report in status.reports),
        unshipped=sum(max(0, report.written - report.shipped) for report in status.reports),
        age_s=max(0.0, now_s - min(oldest_ns) / 1e9) if oldest_ns else 0.0,
        up=not status.problem and now_s - status.at_s < STALE_S,
        paused=sum(bool(report.pause) for report in status.reports),
        restarts=status.restarts,
    )


async def _keep_running(command: Sequence[str], stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    pause_s = PAUSE_MIN_S
    while not stopping.is_set():
        began = loop.time()
        try:
            process = await asyncio.create_subprocess_exec(*command)
        except OSError as error:
            logger.error("shipper_start_failed", extra={"error": str(error)})
        else:
            await _watch(process, stopping)
        pause_s = PAUSE_MIN_S if loop.time() - began > STABLE_S else min(pause_s * 2, PAUSE_MAX_S)
        await wait_for_event(stopping, pause_s)


async def _watch(process: asyncio.subprocess.Process, stopping: asyncio.Event) -> None:
    """Wait until the shipper ends by itself, or end it."""
    async with asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(process.wait(), name="wait-shipper")
        stopped = tasks.create_task(stopping.wait(), name="wait-stop")
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            await _end(process)
        elif not stopping.is_set():
            logger.error("shipper_ended", extra={"code": process.returncode})


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        logger.error("shipper_killed", extra={"pid": process.pid})
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
