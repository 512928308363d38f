"""Concurrent scorings, for which the legacy stores inconsistent scores and duplicate stamps."""

import asyncio

from tests.support import scoring
from tests.support.scoring import address, headers

A = address(0xA)


async def body_of(client, path: str):
    async with client.get(path, headers=headers()) as response:
        return response.status, await response.json()


async def at_once(client, paths: list[str]):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(body_of(client, path), name=path) for path in paths]
    return [task.result() for task in tasks]


async def test_eight_addresses_claiming_one_nullifier_leave_one_owner(world, client):
    owners = [address(0x100 + number) for number in range(8)]
    for owner in owners:
        await world.stamp(owner, "Github", ["v0:contested"])
    answers = await at_once(client, [f"/v2/stamps/1/score/{owner}" for owner in owners])
    counted = [body["address"] for status, body in answers if not body["stamps"]["Github"]["dedup"]]
    assert {status for status, _ in answers} == {200}
    assert await world.owners() == {"v0:contested": counted[0]}
    assert len(counted) == 1


async def test_crossed_nullifiers_do_not_deadlock(world, client):
    owners = [address(0x200 + number) for number in range(8)]
    for number, owner in enumerate(owners):
        names = [f"v0:{(number + step) % 8}" for step in range(4)]
        await world.stamp(owner, "Github", names if number % 2 else names[::-1])
    answers = await at_once(client, [f"/v2/stamps/1/score/{owner}" for owner in owners])
    assert [(status, body["error"]) for status, body in answers] == [(200, None)] * 8


async def test_one_address_scored_at_once_has_no_torn_score_and_no_double_stamp(world, client):
    await world.stamp(A, "Google", ["v0:1"])
    await world.stamp(A, "Twitter", ["v0:2"])
    answers = await at_once(client, [f"/v2/stamps/1/score/{A}"] * 8)
    assert [(status, body["score"], body["error"]) for status, body in answers] == [(200, "2.50000", None)] * 8
    counts = [await world.count(table) for table in ("registry_passport", "registry_score", "registry_stamp")]
    assert counts == [1, 1, 2]
    scores = await world.conn.fetch("SELECT DISTINCT data->'fields'->'evidence'->>'rawScore' FROM registry_event")
    assert [row[0] for row in scores] == ["2.5"]


async def test_expired_link_taken_over_by_eight_has_one_new_owner(world, client):
    await world.conn.execute(
        "INSERT INTO registry_hashscorerlink (hash, address, expires_at, community_id) VALUES ('v0:old', $1, '2020-01-01Z', 1)",
        A,
    )
    owners = [address(0x300 + number) for number in range(8)]
    for owner in owners:
        await world.stamp(owner, "Github", ["v0:old"])
    answers = await at_once(client, [f"/v2/stamps/1/score/{owner}" for owner in owners])
    counted = [body["address"] for _, body in answers if not body["stamps"]["Github"]["dedup"]]
    assert await world.owners() == {"v0:old": counted[0]}
    assert len(counted) == 1


async def test_four_communities_passed_at_once_in_four_processes_give_one_bonus(migrated, world, serve):
    await world.stamp(A, "Github", ["v0:1"])
    clients = []
    for number in (2, 3, 4, 5):
        await world.community(number, threshold="1", program=True)
        clients.append((number, await serve(scoring.settings(migrated, human_points=scoring.POINTS_ON))))
    async with asyncio.TaskGroup() as group:
        for number, client in clients:
            group.create_task(body_of(client, f"/v2/stamps/{number}/score/{A}"), name=f"score-{number}")
    actions = await world.conn.fetch("SELECT action FROM registry_humanpoints ORDER BY action")
    assert [row["action"] for row in actions] == ["HKY", "SCB"]
