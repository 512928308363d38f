"""Serialize the scorings of one address within this process, so that many of them occupy one connection and not the whole pool.

The row lock in the database serializes them across processes; this lock only saves the connections that would wait for it.
"""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager


class KeyedLock:
    """A fair mutex for each key; a key without users takes no memory."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Hold the key's mutex for the duration of the block; waiters get it in order of arrival."""
        lock, users = self._locks.get(key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            self._leave(key, lock)

    def __len__(self) -> int:
        return len(self._locks)

    def _leave(self, key: Hashable, lock: asyncio.Lock) -> None:
        users = self._locks[key][1] - 1
        if users:
            self._locks[key] = (lock, users)
        else:
            del self._locks[key]
