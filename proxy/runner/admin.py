"""The runner's admin port: metrics, health, and status as JSON. It is read-only.

Connections are limited in number and time, and requests paced, as those to the control port: a flood must take neither the descriptors nor
the time of mirroring. Any Host is accepted, because scrapers know it by many names and nothing can be changed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry

from proxy.admin.api import metrics_page
from proxy.admin.connections import AdminConnections, secure

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
    connections = AdminConnections(recognizes=lambda _: False, hosts=None)
    app.on_response_prepare.append(secure(connections))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, lingering_time=1.0)
    await runner.setup()
    server: asyncio.Server | None = None
    try:
        connections.serve_with(runner.server)
        server = await asyncio.get_running_loop().create_server(connections.connection, host, port)
        yield server.sockets[0].getsockname()[1]
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()
