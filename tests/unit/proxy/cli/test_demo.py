import asyncio

import pytest

from proxy.cli.demo import watched
from proxy.errors import DemoError


async def forever() -> None:
    await asyncio.Event().wait()


async def fails_in_a_task() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(forever(), name="beside")
        raise DemoError("nothing came forward")


async def fails() -> None:
    raise DemoError("a child died")


async def nothing() -> None:
    return


async def test_what_fails_inside_tasks_of_the_work_is_one_error_with_its_words() -> None:
    with pytest.raises(DemoError, match="nothing came forward"):
        await watched(forever(), fails_in_a_task())


async def test_a_child_that_died_ends_the_work() -> None:
    with pytest.raises(DemoError, match="a child died"):
        await watched(fails(), forever())


async def test_watching_ends_with_the_work() -> None:
    async with asyncio.timeout(10):
        await watched(forever(), nothing())
