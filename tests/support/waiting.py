"""Wait for an effect of another task, thread or process that gives no notification of it."""

import asyncio
from collections.abc import Awaitable, Callable

WAIT_S = 60.0
"""Long enough for any machine; only a hang takes longer."""
POLL_INTERVAL_S = 0.005


async def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition is true; raise TimeoutError after WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(POLL_INTERVAL_S)


async def until_awaited(condition: Callable[[], Awaitable[object]]) -> None:
    """Poll until the awaited condition is true; raise TimeoutError after WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(POLL_INTERVAL_S)
