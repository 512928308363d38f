"""Cache stamp metadata and weights for a fixed time, in the shared store if one is configured, else in this process.

Values are JSON, so that every process and every release can read them. The legacy's entries in the same store are pickles under
other names; they are neither read nor written. An unavailable store counts as a miss.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from scorer.errors import SharedStoreUnavailableError
from scorer.metrics import Metrics
from scorer.shared_store import SharedStore

_PREFIX = "scorer:cache"


class CacheName(StrEnum):
    """The kinds of cached values."""

    METADATA = "metadata"
    WEIGHTS = "weights"


TTL_S = {CacheName.METADATA: 3600, CacheName.WEIGHTS: 60}


class Cache(Protocol):
    """A cache of JSON values; `key` distinguishes the values of one kind."""

    async def get(self, name: CacheName, key: str) -> Any | None:
        """Return the cached value, or None. The value is shared: do not modify it."""
        ...

    async def put(self, name: CacheName, key: str, value: Any) -> None:
        """Cache a JSON value for the TTL of its kind."""
        ...


class MemoryCache:
    """A bounded in-process cache that evicts the least recently used entry."""

    def __init__(
        self, metrics: Metrics, *, entries_max: int = 1000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._entries_max = entries_max
        self._monotonic = monotonic
        self._entries: OrderedDict[tuple[CacheName, str], tuple[float, Any]] = OrderedDict()

    async def get(self, name: CacheName, key: str) -> Any | None:
        """See `Cache`."""
        entry = self._entries.get((name, key))
        if entry is None or entry[0] <= self._monotonic():
            self._entries.pop((name, key), None)
            self._metrics.cache_reads.labels(name, "miss").inc()
            return None
        self._entries.move_to_end((name, key))
        self._metrics.cache_reads.labels(name, "hit").inc()
        return entry[1]

    async def put(self, name: CacheName, key: str, value: Any) -> None:
        """See `Cache`."""
        self._entries[name, key] = (self._monotonic() + TTL_S[name], value)
        self._entries.move_to_end((name, key))
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()


class SharedCache:
    """A cache shared by all processes."""

    def __init__(self, store: SharedStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def get(self, name: CacheName, key: str) -> Any | None:
        """See `Cache`; an unavailable store or an unreadable entry is a miss."""
        try:
            text = await self._store.get(_key(name, key))
            value = None if text is None else json.loads(text)
        except (SharedStoreUnavailableError, ValueError):
            self._metrics.cache_reads.labels(name, "unavailable").inc()
            return None
        self._metrics.cache_reads.labels(name, "miss" if value is None else "hit").inc()
        return value

    async def put(self, name: CacheName, key: str, value: Any) -> None:
        """See `Cache`; with the store unavailable nothing is cached."""
        try:
            await self._store.put(_key(name, key), json.dumps(value), ttl_s=TTL_S[name])
        except SharedStoreUnavailableError:
            self._metrics.cache_writes_failed.labels(name).inc()


def _key(name: CacheName, key: str) -> str:
    return f"{_PREFIX}:{name}:{key}"
