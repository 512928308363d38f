"""Run several worker processes on one port: the kernel distributes connections, the supervisor keeps the processes alive.

The supervisor opens the sockets, one per worker with SO_REUSEPORT, and passes them on. So a connection that waits to be accepted is not
lost with a worker: its replacement has the same socket. A worker that crashes is started again after a pause, which doubles while it
keeps crashing; the other workers are not affected, and what was lost with it is counted.

Signals: SIGUSR1 restarts the workers one at a time, each serving before the one it replaces drains; SIGTERM drains all; SIGHUP reloads
the configuration; SIGUSR2 rolls back. The supervisor stores a rollback itself too, for a worker that is just starting.

Each worker has its own admin port (the configured one plus its number) and its own part of the journal. The state file of the on-call
switch is shared.
"""

import asyncio
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass, field
from io import FileIO

from proxy.serving.event_wait import wait_for_event
from proxy.serving.signal_mask import unblock_signals
from proxy.serving.worker_handoff import InheritedFds, ListenSockets, WorkerStats

logger = logging.getLogger(__name__)

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 5.0
STABLE_S = 10.0
START_S = 60.0
KILL_AFTER_S = 5.0


@dataclass(slots=True)
class WorkerSlot:
    """The slot of one worker: its number and sockets outlive the process in it.

    Attributes:
        restarts: how often a worker crashed here.
        lost: requests in flight and exchanges queued for the journal when they crashed (sampled every 100 ms), in all.
        restart_requested: set when the worker is to be replaced.
    """

    number: int
    sockets: ListenSockets
    restarts: int = 0
    lost: tuple[int, int] = (0, 0)
    restart_requested: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A process and its statistics."""

    process: Process
    stats: WorkerStats


CommandOf = Callable[[WorkerSlot, InheritedFds], list[str]]
"""Return the command line that starts a worker in a slot with these descriptors."""


class Supervisor:
    """Run a worker in each slot until it is stopped.

    Args:
        command_of: makes the command line of a worker.
        slots: of the workers; their sockets are closed at the end.
        drain_s: how long a worker may take to drain.
        roll_back: stores a rollback where every worker reads it.
    """

    def __init__(
        self,
        command_of: CommandOf,
        slots: list[WorkerSlot],
        *,
        drain_s: float,
        roll_back: Callable[[], object] = lambda: None,
    ) -> None:
        self._command_of = command_of
        self._slots = slots
        self._drain_s = drain_s
        self._store_rollback = roll_back
        self._stopping = asyncio.Event()
        self._workers: list[WorkerProcess] = []
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._forward_signal, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGUSR2, self._roll_back)
        loop.add_signal_handler(signal.SIGUSR1, self.restart_workers)
        unblock_signals()
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                group.create_task(self._run_slot(slot, group), name=f"worker-{slot.number}")

    def stop(self) -> None:
        """Drain all workers and refuse new clients."""
        self._stopping.set()
        self._forward_signal(signal.SIGTERM)
        for slot in self._slots:
            slot.sockets.close()

    def restart_workers(self) -> None:
        """Replace the workers, one at a time."""
        logger.info("rolling_restart_started", extra={"workers": len(self._slots)})
        for slot in self._slots:
            slot.restart_requested.set()

    def _roll_back(self) -> None:
        self._forward_signal(signal.SIGUSR2)
        self._store_rollback()

    def _forward_signal(self, number: int) -> None:
        for worker in self._workers:
            if worker.process.returncode is None:
                worker.process.send_signal(number)

    async def _run_slot(self, slot: WorkerSlot, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_MIN_S
        while not self._stopping.is_set():
            started = loop.time()
            try:
                worker, _ = await self._start(slot)
            except OSError as error:
                logger.error("worker_start_failed", extra={"worker": slot.number, "error": str(error)})
            else:
                worker = await self._watch(slot, worker, group)
                if not self._stopping.is_set():
                    slot.restarts += 1
                    self._count_lost(slot, worker)
                self._forget(worker)
            pause_s = PAUSE_MIN_S if loop.time() - started > STABLE_S else min(pause_s * 2, PAUSE_MAX_S)
            await wait_for_event(self._stopping, pause_s)

    async def _watch(self, slot: WorkerSlot, worker: WorkerProcess, group: asyncio.TaskGroup) -> WorkerProcess:
        """Replace the slot's worker on request. Return the one that crashed, or that drained because all are stopping."""
        while True:
            await self._wait_for_change(slot, worker.process)
            if self._stopping.is_set():
                await self._await_drain(worker)
            if self._stopping.is_set() or worker.process.returncode is not None:
                return worker
            slot.restart_requested.clear()
            async with self._one_at_a_time:
                worker = await self._replace(slot, worker, group)

    async def _wait_for_change(self, slot: WorkerSlot, process: Process) -> None:
        """Wait for the end of the worker, a request to replace it, or the stop of all."""
        async with asyncio.TaskGroup() as group:
            events = [
                group.create_task(self._stopping.wait(), name="wait-stop"),
                group.create_task(slot.restart_requested.wait(), name="wait-restart"),
                group.create_task(process.wait(), name="wait-worker"),
            ]
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            for event in events:
                event.cancel()

    async def _replace(self, slot: WorkerSlot, old: WorkerProcess, group: asyncio.TaskGroup) -> WorkerProcess:
        """Start a new worker, then drain the old one. If the new one does not become ready, the old one stays."""
        try:
            new, ready = await self._start(slot, wait=True)
        except OSError as error:
            logger.error("worker_replacement_failed", extra={"worker": slot.number, "error": str(error)})
            return old
        if not ready:
            logger.error("worker_replacement_failed", extra={"worker": slot.number, "code": new.process.returncode})
            if new.process.returncode is None:
                new.process.kill()
            await new.process.wait()
            self._forget(new)
            return old
        if old.process.returncode is None:
            old.process.send_signal(signal.SIGUSR1)
        group.create_task(self._retire(slot, old), name=f"retire-{old.process.pid}")
        pids = {"old": old.process.pid, "new": new.process.pid}
        logger.info("worker_replaced", extra={"worker": slot.number, **pids})
        return new

    async def _start(self, slot: WorkerSlot, *, wait: bool = False) -> tuple[WorkerProcess, bool]:
        """Start a worker.

        Returns:
            The worker, and whether it is ready to serve; False without `wait`.
        """
        stats = WorkerStats.new()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as ready:
            with os.fdopen(writing, "wb", buffering=0):
                inherited = InheritedFds(slot.sockets.clients.fileno(), slot.sockets.admin.fileno(), stats.fd, writing)
                process = await asyncio.create_subprocess_exec(
                    *self._command_of(slot, inherited), pass_fds=inherited.fds
                )
            worker = WorkerProcess(process, stats)
            self._workers.append(worker)
            if self._stopping.is_set():
                process.send_signal(signal.SIGTERM)
            return worker, wait and await _wait_until_ready(ready)

    def _forget(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        worker.stats.close()

    def _count_lost(self, slot: WorkerSlot, worker: WorkerProcess) -> None:
        requests, exchanges = worker.stats.read()
        slot.lost = (slot.lost[0] + requests, slot.lost[1] + exchanges)
        lost = {"requests_lost": requests, "exchanges_lost": exchanges}
        logger.error("worker_crashed", extra={"worker": slot.number, "code": worker.process.returncode, **lost})

    async def _retire(self, slot: WorkerSlot, worker: WorkerProcess) -> None:
        await self._await_drain(worker)
        if worker.process.returncode and not self._stopping.is_set():
            self._count_lost(slot, worker)
        self._forget(worker)

    async def _await_drain(self, worker: WorkerProcess) -> None:
        process = worker.process
        try:
            async with asyncio.timeout(self._drain_s + KILL_AFTER_S):
                await process.wait()
        except TimeoutError:
            logger.error("worker_killed", extra={"pid": process.pid})
            process.kill()
            await process.wait()


async def _wait_until_ready(ready: FileIO) -> bool:
    """Return whether the worker reports that it serves, before it ends and within `START_S`."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(ready, readable.set)
    try:
        async with asyncio.timeout(START_S):
            await readable.wait()
        return ready.read(1) == b"1"
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(ready)
