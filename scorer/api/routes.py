"""The one table of routes, and how it becomes an aiohttp router."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from scorer.api import health
from scorer.api.auth import STRATEGIES, Auth

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    Args:
        path: aiohttp pattern; `{name:[0-9]+}` where the legacy's router takes only digits.
        tracked: its calls are written to the API key analytics.
        v2: it disappears when FF_V2_API is off.
    """

    method: str
    path: str
    auth: Auth
    handler: Handler
    tracked: bool = False
    v2: bool = False


ROUTES: tuple[Route, ...] = (
    Route("GET", "/health/", Auth.NONE, health.ok),
    Route("GET", "/health", Auth.NONE, health.ok),
    Route("GET", "/health/live", Auth.NONE, health.live),
    Route("GET", "/health/ready", Auth.NONE, health.ready),
)


def install(app: web.Application, *, v2_enabled: bool) -> None:
    """Put the table into the app's router."""
    for route in ROUTES:
        if v2_enabled or not route.v2:
            app.router.add_route(route.method, route.path, _guarded(route))


def _guarded(route: Route) -> Handler:
    strategy, handler = STRATEGIES[route.auth], route.handler

    async def answer(request: web.Request) -> web.StreamResponse:
        await strategy(request)
        return await handler(request)

    return answer
