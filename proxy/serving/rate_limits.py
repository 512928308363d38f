"""How many exchanges a second are mirrored at most, for each route and in all. Pure: the time is an argument."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.config.mirroring import MirroringSettings


@dataclass(slots=True)
class TokenBucket:
    """A token bucket that begins full. `rate` is tokens a second, `size` how many it holds."""

    rate: float
    size: float
    tokens: float
    at: float

    @classmethod
    def of(cls, rate: float, *, burst_s: float, now: float) -> "TokenBucket":
        """A full bucket; it holds one token at least, or nothing could ever pass."""
        size = max(1.0, rate * burst_s)
        return cls(rate, size, size, now)

    def filled(self, now: float) -> bool:
        """Whether a token is there to be taken."""
        if now > self.at:
            self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
            self.at = now
        return self.tokens >= 1.0


class MirrorRateLimits:
    """The limits in force. `over` takes a token of the route's bucket and of the common one, or of neither.

    Args:
        mirroring: the common limit.
        routes: those routes that have a limit of their own, exchanges a second.
        workers: how many processes share the limits.
        now: seconds of the clock that `over` is asked with.
    """

    def __init__(self, mirroring: MirroringSettings, routes: Mapping[str, float], *, workers: int, now: float) -> None:
        burst_s = mirroring.burst_s
        self._routes = {
            name: TokenBucket.of(rate / workers, burst_s=burst_s, now=now) for name, rate in routes.items() if rate
        }
        rate = mirroring.per_s_max / workers
        self._overall = TokenBucket.of(rate, burst_s=burst_s, now=now) if rate else None

    @property
    def limiting(self) -> bool:
        """Whether there is any limit."""
        return bool(self._routes) or self._overall is not None

    def over(self, route: str, now: float) -> bool:
        """Whether one more exchange of this route is too much."""
        buckets = [bucket for bucket in (self._routes.get(route), self._overall) if bucket is not None]
        if not all(bucket.filled(now) for bucket in buckets):
            return True
        for bucket in buckets:
            bucket.tokens -= 1.0
        return False
