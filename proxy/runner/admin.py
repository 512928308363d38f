"""The runner's admin port: metrics, health, and status as JSON. It is read-only."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry

from proxy.admin.api import metrics_page

Status = Callable[[], Mapping[str, object]]
REGISTRY: web.AppKey[CollectorRegistry] = web.AppKey("registry", CollectorRegistry)
STATUS: web.AppKey[Status] = web.AppKey("status")


async def metrics(request: web.Request) -> web.Response:
    """Respond with the metrics in the format that the scraper accepts."""
    return metrics_page(request.app[REGISTRY], request)


async def health(_: web.Request) -> web.Response:
    """Respond with 200 while the event loop runs."""
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Respond with 200 if an exchange that begins now will be compared, else with 503."""
    is_ready = bool(request.app[STATUS]().get("ready"))
    return web.json_response({"ready": is_ready}, status=200 if is_ready else 503)


async def status(request: web.Request) -> web.Response:
    """Respond with the status."""
    return web.json_response(request.app[STATUS]())


@asynccontextmanager
async def admin_server(
    host: str, port: int, registry: CollectorRegistry, status_of: Status
) -> AsyncGenerator[int, None]:
    """Serve until the block ends; yield the port that was bound.

    Args:
        host: address to listen on.
        port: 0 chooses a free one.
        registry: of the metrics.
        status_of: returns the status; its member `ready` decides on /readyz.
    """
    app = web.Application()
    app[REGISTRY] = registry
    app[STATUS] = status_of
    app.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/healthz", health),
            web.get("/readyz", ready),
            web.get("/status", status),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
