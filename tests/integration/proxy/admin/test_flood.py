"""The control port under a flood: clients are served, and a rollback gets through."""

import asyncio
from pathlib import Path

from aiohttp import ClientSession

from tests.integration.proxy.serving.test_serving import admin, get, sides
from tests.support.proxy_lab import proxy_lab

FLOODERS = 40


async def test_rollback_gets_through_a_flood_of_the_admin_port(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it, ClientSession() as session, asyncio.TaskGroup() as group:
        statuses_of_flood: list[int] = []

        async def flood() -> None:
            while True:
                async with session.get(f"http://127.0.0.1:{it.proxy.admin_port}/metrics") as response:
                    statuses_of_flood.append(response.status)

        flooding = [group.create_task(flood(), name=f"flood-{number}") for number in range(FLOODERS)]
        await it.until(lambda: len(statuses_of_flood) > 20)
        client = await it.client()
        statuses = [(await client.ask(get())).status for _ in range(50)]
        status, _ = await admin(it, "POST", "/rollback")
        assert (statuses, status) == ([200] * 50, 200)
        for task in flooding:
            task.cancel()
