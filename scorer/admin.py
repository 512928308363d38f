"""The admin port: metrics, and the health checks without the public API around them. Never routed to callers."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scorer.api import health
from scorer.api.context import DATABASE, METRICS, SERVICES


def build(scorer: web.Application) -> web.Application:
    """The admin app beside a started scorer."""

    async def metrics(_request: web.Request) -> web.Response:
        body = generate_latest(scorer[METRICS].registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app[DATABASE], app[SERVICES] = scorer[DATABASE], scorer[SERVICES]
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health/live", health.live)
    app.router.add_get("/health/ready", health.ready)
    return app
