"""Requests at the same moment: one owner of a nullifier, no stamp twice, no torn score, no 500."""

from datetime import UTC, datetime

import pytest

from scorer.population.people import ForeignLink
from tests.golden.races import broken_promises, summary
from tests.integration.scorer_faults.world import World, address, at_once, credential, document, person, status

MANY = 12


async def test_one_of_many_claimants_gets_a_nullifier(world: World):
    await world.settle(person(n, credential(n, "Github", "v0:shared")) for n in range(MANY))
    before = await world.photograph()
    outcomes = await world.score_all(address(n) for n in range(MANY))
    assert broken_promises(outcomes, await world.changes_since(before)) == []
    assert sorted(summary(outcome) for outcome in outcomes) == [
        *["200 score=0.00000 error=None dedup=['Github']"] * (MANY - 1),
        "200 score=2.00000 error=None dedup=[]",
    ]


async def test_every_loser_of_a_claim_leaves_its_event(world: World):
    await world.settle(person(n, credential(n, "Github", "v0:shared")) for n in range(MANY))
    await world.score_all(address(n) for n in range(MANY))
    assert await world.count("registry_event", "action = 'LDP'") == MANY - 1


async def test_one_of_many_claimants_takes_over_an_expired_link(world: World):
    lapsed = ForeignLink("v0:lapsed", address(999), datetime(2021, 1, 1, tzinfo=UTC))
    people = [person(n, credential(n, "Github", "v0:lapsed")) for n in range(1, MANY)]
    await world.settle([person(0, credential(0, "Github", "v0:lapsed"), links=(lapsed,)), *people])
    before = await world.photograph()
    outcomes = await world.score_all(address(n) for n in range(MANY))
    assert broken_promises(outcomes, await world.changes_since(before)) == []
    assert sum(document(outcome)["score"] == "2.00000" for outcome in outcomes) == 1


async def test_winner_of_a_claim_owns_the_link(world: World):
    await world.settle(person(n, credential(n, "Github", "v0:shared")) for n in range(MANY))
    outcomes = await world.score_all(address(n) for n in range(MANY))
    [winner] = [document(outcome)["address"] for outcome in outcomes if document(outcome)["score"] != "0.00000"]
    assert await world.count("registry_hashscorerlink", f"hash = 'v0:shared' AND address = '{winner}'") == 1


async def test_crossed_claims_do_not_deadlock(world: World):
    def crossed(n: int):
        pair = ("v0:left", "v0:right") if n % 2 else ("v0:right", "v0:left")
        return person(n, credential(n, "Github", pair[0]), credential(n, "Ens", pair[1]))

    await world.settle(crossed(n) for n in range(MANY))
    before = await world.photograph()
    outcomes = await world.score_all(address(n) for n in range(MANY))
    assert broken_promises(outcomes, await world.changes_since(before)) == []
    assert {status(outcome) for outcome in outcomes} == {200}


@pytest.mark.parametrize("known_before", [False, True], ids=["new", "known"])
async def test_one_address_scored_many_times_at_once_gets_one_answer(world: World, known_before: bool):
    await world.settle([person(1, credential(1, "Github"), credential(1, "Ens"))])
    await world.score_all([address(1)] * known_before)
    before = await world.photograph()
    outcomes = await world.score_all([address(1)] * MANY)
    assert broken_promises(outcomes, await world.changes_since(before)) == []
    assert {summary(outcome) for outcome in outcomes} == {"200 score=4.25000 error=None dedup=[]"}


@pytest.mark.parametrize("known_before", [False, True], ids=["new", "known"])
async def test_one_address_scored_many_times_at_once_has_each_row_once(world: World, known_before: bool):
    await world.settle([person(1, credential(1, "Github"), credential(1, "Ens"))])
    await world.score_all([address(1)] * known_before)
    await world.score_all([address(1)] * MANY)
    tables = ("registry_passport", "registry_score", "registry_stamp", "registry_hashscorerlink")
    assert [await world.count(table) for table in tables] == [1, 1, 2, 2]


async def test_every_scoring_of_a_race_leaves_its_event(world: World):
    await world.settle([person(1, credential(1, "Github"))])
    await world.score_all([address(1)] * MANY)
    assert await world.count("registry_event", "action = 'SCU'") == MANY


async def test_human_points_are_given_once_in_a_race(world: World):
    await world.settle([person(1, credential(1, "SelfStakingGold"), credential(1, "Ens"))])
    points = [world.score(address(1), community=2) for _ in range(MANY)]
    outcomes = await at_once(*points)
    assert {status(outcome) for outcome in outcomes} == {200}
    assert await world.count("registry_humanpointscommunityqualifiedusers") <= 1


async def test_two_communities_score_one_address_at_once(world: World):
    await world.settle([person(1, credential(1, "Github"), credential(1, "Ens"))])
    outcomes = await at_once(*(world.score(address(1), community=1 + n % 3) for n in range(MANY)))
    assert {status(outcome) for outcome in outcomes} == {200}
    assert await world.count("registry_score", "status = 'DONE'") == 3


async def test_same_stamps_added_many_times_at_once_are_there_once(world: World):
    await world.settle([person(1)])
    stamps = [credential(1, "Github"), credential(1, "Ens")]
    outcomes = await at_once(*(world.add(address(1), stamps) for _ in range(6)))
    assert {status(outcome) for outcome in outcomes} == {200}
    assert await world.count("ceramic_cache_ceramiccache", "deleted_at IS NULL") == 2


async def test_same_stamps_added_at_once_give_one_whole_score(world: World):
    await world.settle([person(1)])
    before = await world.photograph()
    outcomes = await at_once(*(world.add(address(1), [credential(1, "Github")]) for _ in range(6)))
    assert broken_promises((), await world.changes_since(before)) == []
    assert {document(outcome)["score"]["score"] for outcome in outcomes} == {"2.00000"}


async def test_stamps_added_during_scorings_tear_nothing(world: World):
    await world.settle([person(1, credential(1, "Github"))])
    before = await world.photograph()
    scorings = [world.score(address(1)) for _ in range(6)]
    addings = [world.add(address(1), [credential(1, "Ens")]) for _ in range(3)]
    outcomes = await at_once(*scorings, *addings)
    assert {status(outcome) for outcome in outcomes} == {200}
    assert broken_promises((), await world.changes_since(before)) == []
