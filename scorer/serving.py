"""One serving process: the API on its port, the admin port beside it, until SIGTERM or SIGINT."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop
from aiohttp import web

from scorer import admin, app, logs
from scorer.errors import ScorerSettingsError
from scorer.settings import ScorerSettings

logger = logging.getLogger("scorer")

_BACKLOG = 1024


def serve(settings: ScorerSettings, host: str, port: int) -> None:
    """Serve until a signal; requests under way get `limits.drain_s` to end.

    Raises:
        SettingsError: a port is taken.
    """
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_served(settings, host, port))


async def _served(settings: ScorerSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    scorer = app.build(settings)
    drain_s = settings.limits.drain_s
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(_listening(scorer, host, port, drain_s=drain_s))
        if settings.admin_port >= 0:
            listening = _listening(admin.build(scorer), settings.admin_host, settings.admin_port, drain_s=drain_s)
            admin_address = await stack.enter_async_context(listening)
            logger.info("admin_listening", extra={"address": admin_address})
        sys.stdout.write(f"listening on {address}\n")
        sys.stdout.flush()
        # What exists now lives as long as the process; the collector need not look at it again.
        gc.freeze()
        await stop.wait()
        logger.info("stopping")


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
