"""Pace the requests to the control port that have no right token, so that a flood of them does not slow clients down. Pure.

The process that serves clients also answers the control port, at some tenths of a millisecond a request. So such a request passes two
token buckets, one of its address and one of all addresses: a burst at once, then so many a second. One that would have to wait for longer
than WAIT_MAX_S gets 503. A rollback has buckets of its own: a flood of anything else does not delay it.
"""

from collections import OrderedDict
from typing import Final

from proxy.token_bucket import TokenBucket

PER_S: Final = 50.0
BURST: Final = 100
ROLLBACKS_PER_S: Final = 5.0
ROLLBACKS_BURST: Final = 10
ALL_ADDRESSES: Final = 4
"""Rate and burst of all addresses together, as a multiple of those of one."""
ADDRESSES_MAX: Final = 1_000
WAIT_MAX_S: Final = 2.0
COSTS: Final = {"/metrics": 5}
"""Tokens that a request takes, where that is not one. A page of metrics costs milliseconds."""


class RateLimiter:
    """Tell each request how long to wait. Pure: the time is an argument.

    A request may go while the bucket is not in debt, and its own tokens may put it into debt. The wait is the time until that is paid
    off. With 10 tokens a second and a burst of 2, six requests at once:

        tokens before   2   1   0  -1  -2  -3
        wait, seconds   0   0   0  .1  .2  .3

    Args:
        per_s: tokens a second.
        burst: tokens at once after an idle time.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._bucket = TokenBucket.full(per_s, burst)

    def wait_s(self, now: float, cost: int = 1) -> float:
        """Return the seconds that a request has to wait. Its tokens are taken unless that is longer than `WAIT_MAX_S`."""
        wait_s = self.debt_s(now)
        if wait_s <= WAIT_MAX_S:
            self._bucket.spend(cost)
        return wait_s

    def debt_s(self, now: float) -> float:
        """Return the seconds that a request would have to wait; no tokens are taken."""
        return max(0.0, -self._bucket.refill(now) / self._bucket.rate)


class AddressLimiter:
    """A limiter for each address, and one for all together. The addresses that were not seen for longest are forgotten first.

    Args:
        per_s: tokens a second of one address.
        burst: tokens at once of one address.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._all = RateLimiter(per_s * ALL_ADDRESSES, burst * ALL_ADDRESSES)
        self._by_address: OrderedDict[str, RateLimiter] = OrderedDict()

    def wait_s(self, address: str, now: float, cost: int = 1) -> float:
        """Return the seconds that a request has to wait. Its tokens are taken unless that is longer than `WAIT_MAX_S`."""
        own = self._by_address.pop(address, None) or RateLimiter(self._per_s, self._burst)
        self._by_address[address] = own
        if len(self._by_address) > ADDRESSES_MAX:
            self._by_address.popitem(last=False)
        wait_s = max(own.debt_s(now), self._all.debt_s(now))
        if wait_s <= WAIT_MAX_S:
            own.wait_s(now, cost)
            self._all.wait_s(now, cost)
        return wait_s
