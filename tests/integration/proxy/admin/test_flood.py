"""The admin port under a flood: clients are served, and a rollback gets through."""

import asyncio
from pathlib import Path

from aiohttp import ClientSession

from tests.integration.proxy.serving.test_serving import admin, get, sides
from tests.support.proxying import lab

FLOODERS = 40


async def test_clients_are_served_and_a_rollback_gets_through_while_the_admin_port_is_flooded(tmp_path: Path) -> None:
    async with lab(tmp_path, **sides()) as it, ClientSession() as session, asyncio.TaskGroup() as group:
        answers: list[int] = []

        async def flood() -> None:
            while True:
                async with session.get(f"http://127.0.0.1:{it.proxy.admin_port}/metrics") as response:
                    answers.append(response.status)

        flooding = [group.create_task(flood(), name=f"flood-{number}") for number in range(FLOODERS)]
        await it.until(lambda: len(answers) > 20)
        client = await it.client()
        statuses = [(await client.ask(get())).status for _ in range(50)]
        status, _ = await admin(it, "POST", "/rollback")
        assert (statuses, status) == ([200] * 50, 200)
        for task in flooding:
            task.cancel()
