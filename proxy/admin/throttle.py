"""Keeps a flooded admin port from taking the time of those who are served: requests wait for their turn.

The control port is answered by the process that serves clients. What is asked there costs some tenths of a millisecond each, so it is
paced: a burst passes at once, then so many a second, and who would wait too long is turned away. A rollback never waits.
"""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

PER_S = 50.0
BURST = 100
WAIT_MAX_S = 2.0
COSTS = {"/rollback": 0, "/metrics": 5}
"""Turns that a request takes, where that is not one. The metrics page costs milliseconds."""


class RateLimiter:
    """Gives out turns: `per_s` a second, `burst` at once after a quiet time. Pure but for what the client does with the wait."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._each_s = 1 / per_s
        self._burst_s = burst / per_s
        self._next = float("-inf")

    def wait_s(self, now: float, cost: int = 1) -> float:
        """How long to wait for the next turns, which are taken; above `WAIT_MAX_S` none are."""
        due = max(self._next, now - self._burst_s)
        if due - now <= WAIT_MAX_S:
            self._next = due + self._each_s * cost
        return max(0.0, due - now)


def throttled(turns: RateLimiter, now: Callable[[], float] = time.monotonic) -> Middleware:
    """Let every request but a rollback wait for its turn; 503 after `WAIT_MAX_S` for those there is none for."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        cost = COSTS.get(request.path, 1)
        wait_s = turns.wait_s(now(), cost) if cost else 0.0
        if wait_s:
            await asyncio.sleep(min(wait_s, WAIT_MAX_S))
        if wait_s > WAIT_MAX_S:
            raise web.HTTPServiceUnavailable(text="the admin port is asked too often", headers={"Retry-After": "1"})
        return await handler(request)

    return middleware
