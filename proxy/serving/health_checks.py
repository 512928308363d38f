"""Asks the live backends whether they are well: one small request every few seconds, on connections of its own."""

import asyncio
from collections.abc import Callable

from comparator.exchanges.model import Role, Side
from proxy.config.settings import Settings
from proxy.rollout.health_probe import is_healthy
from proxy.serving.failover import Failover


async def watch_backend(
    side: Side, settings_of: Callable[[], Settings], steering: Failover, stopped: asyncio.Event
) -> None:
    """Check one side until `stopped`. The settings are asked for each time: a reload may change them. Outermost loop of its task."""
    while not stopped.is_set():
        backend = settings_of().backends.of(side, Role.SERVED)
        if backend.health_check.path and backend.url:
            well = await is_healthy(backend)
            if settings_of().backends.of(side, Role.SERVED) == backend:
                steering.checked(side, well=well)
        try:
            async with asyncio.timeout(backend.health_check.interval_s):
                await stopped.wait()
        except TimeoutError:
            continue
