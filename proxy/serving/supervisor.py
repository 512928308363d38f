"""Several proxy processes on one port: the kernel spreads the clients, this parent keeps the processes alive.

The parent opens the sockets, one a worker with SO_REUSEPORT, and hands them down. So a connection that waits to be accepted is not
lost with a worker: whoever takes the worker's place accepts it. A worker that dies is started again, after a pause that grows while it
keeps dying; the others serve on, and what died with it is counted. SIGUSR1 restarts the workers one after the other: each replacement
serves before the one it replaces drains. SIGTERM drains all, SIGHUP reloads, SIGUSR2 rolls back: it is stored by the parent too, for a
worker that is just starting.

Each worker has its own admin port (the configured one plus its number) and its own part of the journal; the switch's state file is
shared.
"""

import asyncio
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass, field
from io import FileIO

from proxy.serving import signal_mask as signals
from proxy.serving.worker_handoff import InheritedFds, ListenSockets, WorkerStats

logger = logging.getLogger(__name__)

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 5.0
STABLE_S = 10.0
START_S = 60.0
KILL_AFTER_S = 5.0


@dataclass(slots=True)
class WorkerSlot:
    """One worker's place, whoever fills it.

    Attributes:
        restarts: how often a worker died here.
        lost: what died with them, as of a tenth of a second before.
        roll: set when the worker is to be replaced by a new one.
    """

    number: int
    sockets: ListenSockets
    restarts: int = 0
    lost: tuple[int, int] = (0, 0)
    roll: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A process, and the page it writes its vital signs on."""

    process: Process
    vitals: WorkerStats


CommandOf = Callable[[WorkerSlot, InheritedFds], list[str]]
"""The command line of a worker from its place and from what it is handed."""


class Supervisor:
    """Runs a worker in each slot until it is told to stop.

    Args:
        command_of: how a worker is started.
        slots: their places; their sockets are closed at the end.
        drain_s: how long a worker may take to stop by itself.
        roll_back: stores a rollback where every worker looks.
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
        loop.add_signal_handler(signal.SIGHUP, self._hand_down, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGUSR2, self._roll_back)
        loop.add_signal_handler(signal.SIGUSR1, self.roll)
        signals.release()
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                group.create_task(self._keep(slot, group), name=f"worker-{slot.number}")

    def stop(self) -> None:
        """Let all workers drain, and refuse new clients."""
        self._stopping.set()
        self._hand_down(signal.SIGTERM)
        for slot in self._slots:
            slot.sockets.close()

    def roll(self) -> None:
        """Replace every worker, one after the other."""
        logger.info("restart_begins", extra={"workers": len(self._slots)})
        for slot in self._slots:
            slot.roll.set()

    def _roll_back(self) -> None:
        self._hand_down(signal.SIGUSR2)
        self._store_rollback()

    def _hand_down(self, number: int) -> None:
        for worker in self._workers:
            if worker.process.returncode is None:
                worker.process.send_signal(number)

    async def _keep(self, slot: WorkerSlot, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_MIN_S
        while not self._stopping.is_set():
            began = loop.time()
            try:
                worker, _ = await self._start(slot)
            except OSError as error:
                logger.error("worker_not_started", extra={"worker": slot.number, "error": str(error)})
            else:
                worker = await self._watch(slot, worker, group)
                if not self._stopping.is_set():
                    slot.restarts += 1
                    self._count_loss(slot, worker)
                self._forget(worker)
            pause_s = PAUSE_MIN_S if loop.time() - began > STABLE_S else min(pause_s * 2, PAUSE_MAX_S)
            await self._pause(pause_s)

    async def _watch(self, slot: WorkerSlot, worker: WorkerProcess, group: asyncio.TaskGroup) -> WorkerProcess:
        """Replace the slot's worker whenever that is asked for; the one that died, or drained because all stop."""
        while True:
            await self._next(slot, worker.process)
            if self._stopping.is_set():
                await self._await_drain(worker)
            if self._stopping.is_set() or worker.process.returncode is not None:
                return worker
            slot.roll.clear()
            async with self._one_at_a_time:
                worker = await self._replace(slot, worker, group)

    async def _next(self, slot: WorkerSlot, process: Process) -> None:
        """Wait for the worker's end, a restart that is asked for, or the stop of all."""
        async with asyncio.TaskGroup() as group:
            events = [
                group.create_task(self._stopping.wait(), name="wait-stop"),
                group.create_task(slot.roll.wait(), name="wait-roll"),
                group.create_task(process.wait(), name="wait-worker"),
            ]
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            for event in events:
                event.cancel()

    async def _replace(self, slot: WorkerSlot, old: WorkerProcess, group: asyncio.TaskGroup) -> WorkerProcess:
        """Let a new worker serve, then let the old one drain. Where the new one does not come up, the old one stays."""
        try:
            new, ready = await self._start(slot, wait=True)
        except OSError as error:
            logger.error("replacement_failed", extra={"worker": slot.number, "error": str(error)})
            return old
        if not ready:
            logger.error("replacement_failed", extra={"worker": slot.number, "code": new.process.returncode})
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
        """Start a worker; whether it serves is only known when it is waited for."""
        vitals = WorkerStats.new()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as answer:
            with os.fdopen(writing, "wb", buffering=0):
                handed = InheritedFds(slot.sockets.clients.fileno(), slot.sockets.admin.fileno(), vitals.fd, writing)
                process = await asyncio.create_subprocess_exec(*self._command_of(slot, handed), pass_fds=handed.fds)
            worker = WorkerProcess(process, vitals)
            self._workers.append(worker)
            if self._stopping.is_set():
                process.send_signal(signal.SIGTERM)
            # (a worker that is not waited for says so to nobody)
            return worker, wait and await _wait_until_ready(answer)

    def _forget(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        worker.vitals.close()

    def _count_loss(self, slot: WorkerSlot, worker: WorkerProcess) -> None:
        requests, copies = worker.vitals.read()
        slot.lost = (slot.lost[0] + requests, slot.lost[1] + copies)
        lost = {"requests_lost": requests, "copies_lost": copies}
        logger.error("worker_died", extra={"worker": slot.number, "code": worker.process.returncode, **lost})

    async def _retire(self, slot: WorkerSlot, worker: WorkerProcess) -> None:
        await self._await_drain(worker)
        if worker.process.returncode and not self._stopping.is_set():
            self._count_loss(slot, worker)
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

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return


async def _wait_until_ready(answer: FileIO) -> bool:
    """Whether the worker says that it serves, before it ends and before `START_S` is over."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(answer, readable.set)
    try:
        async with asyncio.timeout(START_S):
            await readable.wait()
        return answer.read(1) == b"1"
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(answer)
