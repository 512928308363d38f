"""One turn at a time for each key."""

import asyncio

from scorer.workflows.keyed_lock import KeyedLock


async def test_users_of_one_key_follow_each_other_in_order():
    turns, seen = KeyedLock(), []

    async def use(number: int) -> None:
        async with turns.hold("a"):
            seen.append(("in", number))
            await asyncio.sleep(0)
            seen.append(("out", number))

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(use(number), name=f"use-{number}")
    assert seen == [(step, number) for number in range(3) for step in ("in", "out")]


async def test_users_of_different_keys_do_not_wait():
    turns = KeyedLock()
    async with asyncio.timeout(60), turns.hold("a"), turns.hold("b"):
        assert len(turns) == 2


async def test_key_is_forgotten_with_its_last_user():
    turns = KeyedLock()
    async with turns.hold("a"):
        pass
    assert len(turns) == 0


async def test_user_that_gives_up_waiting_leaves_the_turn_to_the_others():
    turns, entered = KeyedLock(), asyncio.Event()

    async def wait() -> None:
        async with turns.hold("a"):
            entered.set()

    async with asyncio.TaskGroup() as group:
        async with turns.hold("a"):
            impatient = group.create_task(wait(), name="impatient")
            patient = group.create_task(wait(), name="patient")
            await asyncio.sleep(0)
            impatient.cancel()
        await patient
    assert (entered.is_set(), impatient.cancelled(), len(turns)) == (True, True, 0)
