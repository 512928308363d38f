"""Limit how many exchanges are mirrored per second, per route and in all. Pure: the time is an argument."""

from collections.abc import Mapping

from proxy.config.mirroring import MirroringSettings
from proxy.token_bucket import TokenBucket


class MirrorRateLimits:
    """The limits in force. One process of several has its share of each limit.

    Args:
        mirroring: the common limit and the size of all buckets.
        routes: the limit of each route, exchanges per second; 0 for none.
        workers: processes that share the limits.
        now: seconds, on the clock that `exceeded` is called with.
    """

    def __init__(self, mirroring: MirroringSettings, routes: Mapping[str, float], *, workers: int, now: float) -> None:
        burst_s = mirroring.burst_s
        self._routes = {
            name: TokenBucket.full(limit / workers, limit / workers * burst_s, now=now)
            for name, limit in routes.items()
            if limit
        }
        rate = mirroring.per_s_max / workers
        self._common = TokenBucket.full(rate, rate * burst_s, now=now) if rate else None

    @property
    def limiting(self) -> bool:
        """True if there is any limit."""
        return bool(self._routes) or self._common is not None

    def exceeded(self, route: str, now: float) -> bool:
        """Return whether one more exchange of a route is too much. If not, it takes a token of the route's and the common bucket."""
        buckets = [bucket for bucket in (self._routes.get(route), self._common) if bucket is not None]
        if not all(bucket.refill(now) >= 1.0 for bucket in buckets):
            return True
        for bucket in buckets:
            bucket.spend()
        return False
