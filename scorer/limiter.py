"""Counting requests against their limit: in the counters shared with the legacy, or in this process alone.

Both fail open: a counter that cannot be read lets the request pass, and is counted, because a scorer that answers nobody while its
store restarts is worse than one that counts too little for a moment.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from scorer.db.api_keys import ApiKey
from scorer.domain.rate_limit import RateGroup, Window, parse_rate, passes, window_of
from scorer.errors import RateLimitedError, StoreUnavailableError, UnanswerableError
from scorer.metrics import Metrics
from scorer.shared_store import SharedStore


class Counters(Protocol):
    """Where the requests of a window are counted."""

    async def add(self, window: Window) -> int:
        """Count one request; how many there are now.

        Raises:
            StoreUnavailableError: it cannot be counted.
        """
        ...


class SharedCounters:
    """Counts where the legacy counts, so that a client has one allowance over both."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    async def add(self, window: Window) -> int:
        """See `Counters`."""
        return await self._store.count(window.key, ttl_s=window.ttl_s)


class LocalCounters:
    """Counts in this process; with several processes a client has as many allowances."""

    def __init__(self, *, counters_max: int = 100_000, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._counters_max = counters_max
        self._monotonic = monotonic
        self._counters: dict[str, tuple[int, float]] = {}

    async def add(self, window: Window) -> int:
        """See `Counters`; with no room for another counter the request is not counted."""
        if window.key not in self._counters and not self._has_room():
            raise StoreUnavailableError("no room for another counter")
        count, ends = self._counters.get(window.key, (0, self._monotonic() + window.ttl_s))
        self._counters[window.key] = (count + 1, ends)
        return count + 1

    def _has_room(self) -> bool:
        if len(self._counters) < self._counters_max:
            return True
        now = self._monotonic()
        self._counters = {key: kept for key, kept in self._counters.items() if kept[1] > now}
        return len(self._counters) < self._counters_max


class RateLimiter:
    """Refuses the requests of a key beyond its rate."""

    def __init__(self, counters: Counters, metrics: Metrics, *, clock: Callable[[], datetime]) -> None:
        self._counters = counters
        self._metrics = metrics
        self._clock = clock

    async def count(self, key: ApiKey, *, group: str) -> None:
        """Count one request of `key` in `group` (a `RateGroup`).

        Raises:
            RateLimitedError: the window is used up.
            UnanswerableError: the key's rate is unreadable.
        """
        where = RateGroup(group)
        try:
            rate = parse_rate(key.analysis_rate_limit if where is RateGroup.ANALYSIS else key.rate_limit)
        except ValueError as error:
            raise UnanswerableError("unreadable rate limit") from error
        if rate is None:
            return
        window = window_of(rate, where, client=key.prefix, now=int(self._clock().timestamp()))
        try:
            admitted = passes(rate, await self._counters.add(window))
        except StoreUnavailableError:
            self._metrics.rate_limits.labels(where, "unavailable").inc()
            return
        self._metrics.rate_limits.labels(where, "passed" if admitted else "limited").inc()
        if not admitted:
            raise RateLimitedError


class NoLimits:
    """Stands in while limits are switched off."""

    async def count(self, key: ApiKey, *, group: str) -> None:
        """Let every request pass."""
