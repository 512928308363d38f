"""The admin port: metrics, and the health checks without the public API around them. Never routed to clients."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

from scorer.api import health
from scorer.api.context import DATABASE, METRICS, SERVICES


def build(scorer: web.Application) -> web.Application:
    """The admin app beside a started scorer."""
    # A registry of its own: memory and CPU are the process's, however many apps run in it.
    process = CollectorRegistry()
    ProcessCollector(registry=process)

    async def metrics(_request: web.Request) -> web.Response:
        body = generate_latest(scorer[METRICS].registry) + generate_latest(process)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app[DATABASE], app[SERVICES] = scorer[DATABASE], scorer[SERVICES]
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health/live", health.live)
    app.router.add_get("/health/ready", health.ready)
    return app
