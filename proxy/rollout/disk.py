"""Run work on files away from the event loop that serves clients: a disk that hangs must not freeze them.

    rollback ──> memory ──> answer
                    └─ submit(write) ──> thread ── done / failed ──> event loop

A disk hangs where a file system is frozen, a network share is gone, or another process was stopped while it held a lock. Work that was
begun cannot be taken back then, so each purpose has a thread of its own (`Disks`), its result is posted to the loop whenever it comes,
and a caller waits for it for a limited time. The threads are daemons: a hanging one does not keep the process from ending.

Commands have no event loop to protect, and do the same work at once (`InlineDisk`).
"""

import asyncio
import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")

QUEUED_MAX: Final = 64
"""Pieces of work that may wait for one thread; more are refused, so that a disk that hangs for a day costs no memory."""

Failed = Callable[[Exception], None]


class Disk(Protocol):
    """Does work on files, one piece after the other."""

    def submit(self, work: Callable[[], T], done: Callable[[T], None], failed: Failed) -> None:
        """Do the work, and call `done` with its result or `failed` with its exception; both where `submit` was called."""
        ...

    async def run(self, work: Callable[[], T], *, timeout_s: float) -> T:
        """Do the work and return its result.

        Raises:
            OSError: the work failed; TimeoutError, a kind of it: the disk has not answered in time, and the work may still be done.
        """
        ...

    async def close(self, timeout_s: float) -> None:
        """Wait until all work is done, at most so long."""
        ...


class InlineDisk:
    """Does work at once, in the thread that asks for it."""

    def submit(self, work: Callable[[], T], done: Callable[[T], None], failed: Failed) -> None:
        """Implement Disk."""
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (handed on, not handled)
            failed(error)
            return
        done(result)

    async def run(self, work: Callable[[], T], *, timeout_s: float) -> T:
        """Implement Disk; the time is limited by that of the locks only."""
        del timeout_s
        return work()

    async def close(self, timeout_s: float) -> None:
        """Implement Disk."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], Any]
    done: Callable[[Any], None]
    failed: Failed
    loop: asyncio.AbstractEventLoop


class DiskThread:
    """Does work in a thread. All methods are for the event loop's thread.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._queued = 0

    def submit(self, work: Callable[[], T], done: Callable[[T], None], failed: Failed) -> None:
        """Implement Disk."""
        if self._queued >= QUEUED_MAX:
            failed(OSError(errno.EBUSY, "the disk does not answer"))
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._queued += 1
        self._jobs.put(_Job(work, done, failed, asyncio.get_running_loop()))

    async def run(self, work: Callable[[], T], *, timeout_s: float) -> T:
        """Implement Disk."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T) -> None:
            if not future.done():
                future.set_result(result)

        def failed(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        self.submit(work, done, failed)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            # (of the work, or of the wait: for the caller both mean that the disk does not answer)
            raise TimeoutError(
                errno.ETIMEDOUT, error.strerror or f"the disk has not answered for {timeout_s:g} s"
            ) from error

    async def close(self, timeout_s: float) -> None:
        """Implement Disk."""
        if self._thread is None:
            return
        try:
            await self.run(lambda: None, timeout_s=timeout_s)
        except OSError:
            return
        self._jobs.put(None)
        self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result = job.work()
            except Exception as error:  # noqa: BLE001 (the outermost loop of the thread: the caller gets it)
                self._post(job.loop, job.failed, error)
            else:
                self._post(job.loop, job.done, result)

    def _post(self, loop: asyncio.AbstractEventLoop, callback: Callable[[Any], None], value: object) -> None:
        def deliver() -> None:
            self._queued -= 1
            callback(value)

        try:
            loop.call_soon_threadsafe(deliver)
        except RuntimeError:
            # The loop is closed: the result is not waited for any more.
            return


@dataclass(frozen=True, slots=True)
class Disks:
    """One disk for each purpose, so that a lock or a folder that hangs delays nothing else.

    Attributes:
        reading: looks for changes that others made.
        switch: writes the state file of the on-call switch.
        states: writes the file of the groups' states.
        audit: appends to the audit log.
        other: everything else: the history, the lead.
    """

    reading: Disk
    switch: Disk
    states: Disk
    audit: Disk
    other: Disk

    @classmethod
    def inline(cls) -> "Disks":
        """Return disks that work at once."""
        return cls(*(InlineDisk() for _ in fields(cls)))

    @classmethod
    def threads(cls) -> "Disks":
        """Return a thread for each purpose; each starts with its first work."""
        return cls(*(DiskThread(f"disk-{field.name}") for field in fields(cls)))

    async def close(self, timeout_s: float) -> None:
        """Wait until everything is written, at most so long."""
        await asyncio.gather(*(getattr(self, field.name).close(timeout_s) for field in fields(self)))
