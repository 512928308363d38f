"""Answers kept for a while: stamp metadata and weights, in the shared store when there is one, else in this process.

Values are JSON values, so that every process and every release reads them; the legacy's entries in the same store are pickles under
other names and are left alone. A store that does not answer is a miss: the client works it out and carries on.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from scorer.errors import StoreUnavailableError
from scorer.metrics import Metrics
from scorer.shared_store import SharedStore

_PREFIX = "scorer:cache"


class CacheName(StrEnum):
    """The kinds of answers that are kept."""

    METADATA = "metadata"
    WEIGHTS = "weights"


TTL_S = {CacheName.METADATA: 3600, CacheName.WEIGHTS: 60}


class Cache(Protocol):
    """Where answers are kept; `key` tells the answers of one kind apart."""

    async def get(self, name: CacheName, key: str) -> Any | None:
        """The value that is kept, None when there is none. It is shared: do not change it."""
        ...

    async def put(self, name: CacheName, key: str, value: Any) -> None:
        """Keep a JSON value for the time of its kind."""
        ...


class MemoryCache:
    """A bounded cache of this process; the entry that was used longest ago goes first."""

    def __init__(
        self, metrics: Metrics, *, entries_max: int = 1000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._entries_max = entries_max
        self._monotonic = monotonic
        self._entries: OrderedDict[tuple[CacheName, str], tuple[float, Any]] = OrderedDict()

    async def get(self, name: CacheName, key: str) -> Any | None:
        """See `Cache`."""
        kept = self._entries.get((name, key))
        if kept is None or kept[0] <= self._monotonic():
            self._entries.pop((name, key), None)
            self._metrics.cache_reads.labels(name, "miss").inc()
            return None
        self._entries.move_to_end((name, key))
        self._metrics.cache_reads.labels(name, "hit").inc()
        return kept[1]

    async def put(self, name: CacheName, key: str, value: Any) -> None:
        """See `Cache`."""
        self._entries[name, key] = (self._monotonic() + TTL_S[name], value)
        self._entries.move_to_end((name, key))
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


class SharedCache:
    """A cache that all processes share."""

    def __init__(self, store: SharedStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def get(self, name: CacheName, key: str) -> Any | None:
        """See `Cache`; a store that is away or holds something unreadable is a miss."""
        try:
            text = await self._store.get(_key(name, key))
            value = None if text is None else json.loads(text)
        except (StoreUnavailableError, ValueError):
            self._metrics.cache_reads.labels(name, "unavailable").inc()
            return None
        self._metrics.cache_reads.labels(name, "miss" if value is None else "hit").inc()
        return value

    async def put(self, name: CacheName, key: str, value: Any) -> None:
        """See `Cache`; a store that is away keeps nothing."""
        try:
            await self._store.put(_key(name, key), json.dumps(value), ttl_s=TTL_S[name])
        except StoreUnavailableError:
            self._metrics.cache_writes_failed.labels(name).inc()


def _key(name: CacheName, key: str) -> str:
    return f"{_PREFIX}:{name}:{key}"
