"""One serving process: the API on its port and the admin port beside it, until SIGTERM or SIGINT."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from scorer import app, logs
from scorer.api import health
from scorer.api.context import DATABASE, METRICS, SERVICES
from scorer.errors import ScorerSettingsError
from scorer.settings import ScorerSettings

logger = logging.getLogger("scorer")

_BACKLOG = 1024


def serve(settings: ScorerSettings, host: str, port: int) -> None:
    """Serve until a signal; requests in progress get `limits.drain_s` to end.

    Raises:
        ScorerSettingsError: a port is taken.
    """
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, host, port))


async def _serve(settings: ScorerSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    scorer = app.build(settings)
    drain_s = settings.limits.drain_s
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(_listening(scorer, host, port, drain_s=drain_s))
        if settings.admin_port >= 0:
            listening = _listening(admin_app(scorer), settings.admin_host, settings.admin_port, drain_s=drain_s)
            admin_address = await stack.enter_async_context(listening)
            logger.info("admin_port_opened", extra={"address": admin_address})
        sys.stdout.write(f"listening on {address}\n")
        sys.stdout.flush()
        # All objects so far live as long as the process; exclude them from garbage collection.
        gc.freeze()
        await stop.wait()
        logger.info("stop_requested")


def admin_app(scorer: web.Application) -> web.Application:
    """Build the app of the admin port for a started scorer: metrics and health checks. Never expose it to clients."""
    # A registry of its own: memory and CPU belong to the process, however many apps run in it.
    page = CollectorRegistry()
    page.register(scorer[METRICS].registry)
    ProcessCollector(registry=page)

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(page), headers={"Content-Type": content_type})

    admin = web.Application()
    admin[DATABASE], admin[SERVICES] = scorer[DATABASE], scorer[SERVICES]
    admin.router.add_get("/metrics", metrics)
    admin.router.add_get("/health/live", health.live)
    admin.router.add_get("/health/ready", health.ready)
    return admin


@asynccontextmanager
async def _listening(served: web.Application, host: str, port: int, *, drain_s: float) -> AsyncGenerator[object, None]:
    runner = web.AppRunner(served, access_log=None, shutdown_timeout=drain_s)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise ScorerSettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        yield runner.addresses[0]
    finally:
        await runner.cleanup()
