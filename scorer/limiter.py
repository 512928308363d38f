"""Rate limits of API keys, counted in the counters that the legacy shares, or in this process alone.

Both fail open: with the counter unavailable the request passes and a metric counts it, because refusing all requests while the store
restarts would be worse than counting too few for a moment.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from scorer.db.api_keys import ApiKey
from scorer.domain.rate_limit import RateGroup, Window, parse_rate, passes, window_of
from scorer.errors import RateLimitedError, SharedStoreUnavailableError, UnanswerableError
from scorer.metrics import Metrics
from scorer.shared_store import SharedStore


class Counters(Protocol):
    """Counters of requests by window."""

    async def add(self, window: Window) -> int:
        """Count one request and return the window's count so far.

        Raises:
            SharedStoreUnavailableError: it cannot be counted.
        """
        ...


class SharedCounters:
    """Counters in the store that the legacy uses too, so that both share a client's allowance."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    async def add(self, window: Window) -> int:
        """See `Counters`."""
        return await self._store.count(window.key, ttl_s=window.ttl_s)


class LocalCounters:
    """Counters of this process; with several processes a client has one allowance in each."""

    def __init__(self, *, counters_max: int = 100_000, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._counters_max = counters_max
        self._monotonic = monotonic
        self._counters: dict[str, tuple[int, float]] = {}

    async def add(self, window: Window) -> int:
        """See `Counters`; at the maximum number of counters the request is not counted."""
        if window.key not in self._counters and not self._has_room():
            raise SharedStoreUnavailableError("no room for another counter")
        count, ends = self._counters.get(window.key, (0, self._monotonic() + window.ttl_s))
        self._counters[window.key] = (count + 1, ends)
        return count + 1

    def _has_room(self) -> bool:
        if len(self._counters) < self._counters_max:
            return True
        now = self._monotonic()
        self._counters = {key: counter for key, counter in self._counters.items() if counter[1] > now}
        return len(self._counters) < self._counters_max


class KeyRateLimiter:
    """Refuses requests of a key beyond its rate."""

    def __init__(self, counters: Counters, metrics: Metrics, *, clock: Callable[[], datetime]) -> None:
        self._counters = counters
        self._metrics = metrics
        self._clock = clock

    async def count(self, key: ApiKey, *, group: str) -> None:
        """Count one request of `key` in `group` (a `RateGroup`).

        Raises:
            RateLimitedError: the window's allowance is used up.
            UnanswerableError: the key's rate cannot be parsed.
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
        except SharedStoreUnavailableError:
            self._metrics.rate_limits.labels(where, "unavailable").inc()
            return
        self._metrics.rate_limits.labels(where, "passed" if admitted else "limited").inc()
        if not admitted:
            raise RateLimitedError


class NoLimits:
    """Null object while rate limits are off."""

    async def count(self, key: ApiKey, *, group: str) -> None:
        """Do nothing."""
