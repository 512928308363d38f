"""Several proxy processes on one port: the kernel spreads the callers, this parent keeps the processes alive.

A worker that dies is started again, after a pause that grows while it keeps dying; the others serve on. Signals are handed down:
SIGTERM drains, SIGHUP reloads, SIGUSR2 rolls back. Each worker has its own admin port (the configured one plus its number) and its
own part of the journal; the switch's state file is shared.
"""

import asyncio
import logging
import signal
from collections.abc import Callable

logger = logging.getLogger(__name__)

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 5.0
STABLE_S = 10.0
KILL_AFTER_S = 5.0

CommandOf = Callable[[int, int], list[str]]
"""The command line of a worker from its number and of how often it was started again."""


class Supervisor:
    """Runs `count` workers until it is told to stop.

    Args:
        command_of: how a worker is started.
        count: how many.
        drain_s: how long a worker may take to stop by itself.
    """

    def __init__(self, command_of: CommandOf, count: int, *, drain_s: float) -> None:
        self.restarts = 0
        self._command_of = command_of
        self._count = count
        self._drain_s = drain_s
        self._stopping = asyncio.Event()
        self._running: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        for number in (signal.SIGHUP, signal.SIGUSR2):
            loop.add_signal_handler(number, self._hand_down, number)
        async with asyncio.TaskGroup() as group:
            for worker in range(self._count):
                group.create_task(self._keep(worker), name=f"worker-{worker}")

    def stop(self) -> None:
        """Let all workers drain."""
        self._stopping.set()
        self._hand_down(signal.SIGTERM)

    def _hand_down(self, number: int) -> None:
        for process in self._running.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _keep(self, worker: int) -> None:
        loop = asyncio.get_running_loop()
        pause_s, restarts = PAUSE_MIN_S, 0
        while not self._stopping.is_set():
            began = loop.time()
            process = await asyncio.create_subprocess_exec(*self._command_of(worker, restarts))
            self._running[worker] = process
            await self._wait(process)
            if self._stopping.is_set():
                return
            logger.error("worker_died", extra={"worker": worker, "code": process.returncode})
            restarts += 1
            self.restarts += 1
            pause_s = PAUSE_MIN_S if loop.time() - began > STABLE_S else min(pause_s * 2, PAUSE_MAX_S)
            await self._pause(pause_s)

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the end; once stopping, only as long as draining may take."""
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._stopping.wait(), name="wait-stop")
            ended = group.create_task(process.wait(), name="wait-worker")
            await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not ended.done():
                await self._await_drain(process)

    async def _await_drain(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(self._drain_s + KILL_AFTER_S):
                await process.wait()
        except TimeoutError:
            logger.error("worker_killed", extra={"pid": process.pid})
            process.kill()

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return
