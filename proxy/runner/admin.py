"""The runner's admin port: metrics, liveness, and what it is doing, as JSON. It has no control to offer."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

State = Callable[[], Mapping[str, object]]
REGISTRY: web.AppKey[CollectorRegistry] = web.AppKey("registry", CollectorRegistry)
STATE: web.AppKey[State] = web.AppKey("state")


async def metrics(request: web.Request) -> web.Response:
    """The registry in Prometheus text format."""
    return web.Response(body=generate_latest(request.app[REGISTRY]), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def health(_: web.Request) -> web.Response:
    """The event loop turns."""
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Whether an exchange that begins now will be compared."""
    answer = bool(request.app[STATE]().get("ready"))
    return web.json_response({"ready": answer}, status=200 if answer else 503)


async def status(request: web.Request) -> web.Response:
    """What the runner is doing."""
    return web.json_response(request.app[STATE]())


@asynccontextmanager
async def admin_server(host: str, port: int, registry: CollectorRegistry, state: State) -> AsyncGenerator[int, None]:
    """Serve until the block ends; yields the port that was bound."""
    app = web.Application()
    app[REGISTRY] = registry
    app[STATE] = state
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
