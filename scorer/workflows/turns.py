"""Scorings of one address take turns in this process, so that a crowd of them holds one connection and not the whole pool.

The database's row lock says the same across processes; this only spares connections that would wait for it.
"""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager


class KeyedLock:
    """One turn at a time for each key; a key is forgotten with its last user."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Wait for the others with this key, in the order they came."""
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
