"""Store the journal's committed offset by a thread: a disk that hangs must not stop the comparing, nor the admin port.

Positions are handed over faster than a disk may take them, and only the newest counts. So one is being written, and one waits:

    commit(1) -> writing 1     commit(2), commit(3) -> 3 waits     1 is stored -> writing 3

A position that is not stored yet costs a killed runner the reading of some exchanges once more, whose outcomes the store has.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

from proxy.rollout.disk import Disk

logger = logging.getLogger(__name__)

CLOSE_S: Final = 5.0
"""Time that the last position has when the runner stops."""

P = TypeVar("P")
"""A position of the journal's reader."""


def _ignore(_: bool) -> None:
    """Do nothing."""


class OffsetWriter(Generic[P]):
    """Stores positions one after the other; for the event loop's thread.

    Args:
        store: stores a position (None: the one before) with the time of its checkpoint; called in the disk's thread.
        disk: whose thread does it.
        on_error: called for each position that could not be stored.
    """

    def __init__(self, store: Callable[[P | None, int], None], disk: Disk, on_error: Callable[[], None]) -> None:
        self._store = store
        self._disk = disk
        self._on_error = on_error
        self._waiting: tuple[P | None, int, Callable[[bool], None]] | None = None
        self._writing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def commit(self, position: P | None, live_us: int = 0, ended: Callable[[bool], None] = _ignore) -> None:
        """Store a position as soon as the disk takes it, or a later one instead.

        Args:
            position: None keeps the one before.
            live_us: time of the checkpoint, in Unix microseconds.
            ended: called with True once it is stored, with False if it could not be; not at all if a later one replaced it.
        """
        if position is None and self._waiting is not None:
            position = self._waiting[0]
        self._waiting = position, live_us, ended
        self._idle.clear()
        if not self._writing:
            self._write()

    async def close(self) -> None:
        """Wait until the last position is stored, at most for CLOSE_S."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("journal_commit_failed", extra={"error": "the disk does not answer"})
        await self._disk.close(CLOSE_S)

    def _write(self) -> None:
        if self._waiting is None:
            self._idle.set()
            return
        position, live_us, ended = self._waiting
        self._waiting = None
        self._writing = True
        self._disk.submit(
            partial(self._store, position, live_us), partial(self._stored, ended), partial(self._failed, ended)
        )

    def _stored(self, ended: Callable[[bool], None], _: None) -> None:
        self._writing = False
        ended(True)
        self._write()

    def _failed(self, ended: Callable[[bool], None], error: Exception) -> None:
        # A restart reads again what has its outcome; a later commit makes up for this one.
        logger.warning("journal_commit_failed", extra={"error": f"{type(error).__name__}: {error}"})
        self._writing = False
        self._on_error()
        ended(False)
        self._write()
