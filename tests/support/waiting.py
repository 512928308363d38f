"""Waiting for what another task, thread or process does and nothing tells of."""

import asyncio
from collections.abc import Callable

WAIT_S = 60.0
"""Only so that a hang ends."""
LOOK_S = 0.005


async def until(condition: Callable[[], bool]) -> None:
    """Look until it is so; TimeoutError after WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(LOOK_S)
