"""Throttle the control port, so that a flood of requests to it does not slow clients down.

The process that serves clients also answers the control port, at some tenths of a millisecond a request. So its requests pass a token
bucket: a burst at once, then PER_S a second; one that would have to wait for longer than WAIT_MAX_S gets 503. A rollback never waits.
"""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.token_bucket import TokenBucket

PER_S = 50.0
BURST = 100
WAIT_MAX_S = 2.0
COSTS = {"/rollback": 0, "/metrics": 5}
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
        bucket = self._bucket
        wait_s = max(0.0, -bucket.refill(now) / bucket.rate)
        if wait_s <= WAIT_MAX_S:
            bucket.spend(cost)
        return wait_s


def throttled(limiter: RateLimiter, now: Callable[[], float] = time.monotonic) -> Middleware:
    """Make a middleware that lets every request but a rollback wait as the limiter says, and answers 503 beyond `WAIT_MAX_S`."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        cost = COSTS.get(request.path, 1)
        wait_s = limiter.wait_s(now(), cost) if cost else 0.0
        if wait_s:
            await asyncio.sleep(min(wait_s, WAIT_MAX_S))
        if wait_s > WAIT_MAX_S:
            raise web.HTTPServiceUnavailable(
                text="too many requests to the control port: try again later", headers={"Retry-After": "1"}
            )
        return await handler(request)

    return middleware
