"""Rules observed of the legacy for which there is no recording, proven on people with really signed stamps."""

import json
from datetime import UTC, datetime

from scorer.population.people import ForeignLink
from tests.integration.scorer_faults.world import World, address, at_once, credential, document, person, status

MINE, OTHER = address(1), address(999)
SOON = datetime(2098, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2021, 1, 1, tzinfo=UTC)
FAR = datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)


async def links(world: World) -> dict[str, tuple[str, datetime]]:
    rows = await world.conn.fetch(
        "SELECT hash, address, expires_at FROM registry_hashscorerlink WHERE community_id = 1"
    )
    return {row["hash"]: (row["address"], row["expires_at"]) for row in rows}


async def event(world: World, action: str) -> dict:
    query = "SELECT data FROM registry_event WHERE action = $1 ORDER BY id DESC LIMIT 1"
    return json.loads(await world.conn.fetchval(query, action))


async def weigh(world: World, weights: dict, threshold: str = "2.5") -> None:
    await world.conn.execute(
        "UPDATE scorer_weighted_binaryweightedscorer SET weights = $1, threshold = $2::text::numeric WHERE scorer_ptr_id = 11",
        json.dumps(weights),
        threshold,
    )


async def test_free_nullifiers_of_a_clashing_stamp_go_to_the_owner_until_its_link_ends(world: World):
    stamp = credential(1, "Ens", "v0:free", "v1:free", "v0:taken")
    await world.settle([person(1, stamp, links=(ForeignLink("v0:taken", OTHER, SOON),))])
    assert document(await world.score(MINE))["stamps"]["Ens"]["dedup"] is True
    assert await links(world) == dict.fromkeys(("v0:free", "v1:free", "v0:taken"), (OTHER, SOON))


async def test_first_clash_in_the_stamps_own_order_decides_whose_the_others_become(world: World):
    stamp = credential(1, "Ens", "v0:b", "v0:free", "v0:a")
    foreign = (ForeignLink("v0:a", address(998), FAR), ForeignLink("v0:b", OTHER, SOON))
    await world.settle([person(1, stamp, links=foreign)])
    await world.score(MINE)
    assert (await links(world))["v0:free"] == (OTHER, SOON)


async def test_clash_names_all_nullifiers_and_the_provider_in_its_event(world: World):
    stamp = credential(1, "Ens", "v0:free", "v0:taken")
    await world.settle([person(1, stamp, links=(ForeignLink("v0:taken", OTHER, SOON),))])
    await world.score(MINE)
    assert await event(world, "LDP") == {"nullifiers": ["v0:free", "v0:taken"], "provider": "Ens", "community_id": 1}


async def test_clash_is_recorded_at_every_scoring(world: World):
    await world.settle([person(1, credential(1, "Ens", "v0:taken"), links=(ForeignLink("v0:taken", OTHER, SOON),))])
    await world.score(MINE)
    await world.score(MINE)
    assert await world.count("registry_event", "action = 'LDP'") == 2


async def test_one_nullifier_repeated_in_a_stamp_is_linked_once(world: World):
    await world.settle([person(1, credential(1, "Ens", "v0:same", "v0:same"))])
    assert document(await world.score(MINE))["score"] == "2.25000"
    assert await links(world) == {"v0:same": (MINE, FAR)}


async def test_one_nullifier_in_two_stamps_of_a_passport_is_linked_once(world: World):
    await world.settle([person(1, credential(1, "Ens", "v0:same"), credential(1, "Github", "v0:same"))])
    assert document(await world.score(MINE))["score"] == "4.25000"
    assert await links(world) == {"v0:same": (MINE, FAR)}


async def test_one_nullifier_in_two_stamps_that_is_owned_already_counts_for_both(world: World):
    stamps = (credential(1, "Ens", "v0:same"), credential(1, "Github", "v0:same"))
    await world.settle([person(1, *stamps, links=(ForeignLink("v0:same", MINE, SOON),))])
    assert document(await world.score(MINE))["score"] == "4.25000"


async def test_own_and_a_foreign_nullifier_in_one_stamp_is_a_clash(world: World):
    stamp = credential(1, "Ens", "v0:mine", "v0:taken")
    await world.settle(
        [person(1, stamp, links=(ForeignLink("v0:mine", MINE, SOON), ForeignLink("v0:taken", OTHER, SOON)))]
    )
    response = document(await world.score(MINE))
    assert (response["error"], response["stamps"]["Ens"]["dedup"]) == (None, True)


async def test_own_link_of_a_clashing_stamp_stays_its_own(world: World):
    stamp = credential(1, "Ens", "v0:mine", "v0:taken")
    await world.settle(
        [person(1, stamp, links=(ForeignLink("v0:mine", MINE, SOON), ForeignLink("v0:taken", OTHER, SOON)))]
    )
    await world.score(MINE)
    assert (await links(world))["v0:mine"] == (MINE, SOON)


async def test_expired_claim_passes_to_the_newcomer(world: World):
    await world.settle(
        [person(1, credential(1, "Ens", "v0:lapsed"), links=(ForeignLink("v0:lapsed", OTHER, LONG_AGO),))]
    )
    assert document(await world.score(MINE))["score"] == "2.25000"
    assert await links(world) == {"v0:lapsed": (MINE, FAR)}


async def test_links_of_one_community_do_not_matter_in_another(world: World):
    await world.settle([person(1, credential(1, "Ens", "v0:one")), person(2, credential(2, "Ens", "v0:one"))])
    first, second = await at_once(world.score(MINE), world.score(address(2), community=3))
    assert [status(first), status(second)] == [200, 200]
    assert not document(second)["stamps"]["Ens"]["dedup"]


async def test_float_weights_are_summed_as_the_binary_numbers_they_are(world: World):
    await world.settle([person(1, credential(1, "Ens"), credential(1, "Github"), credential(1, "Google"))])
    await weigh(world, {"Ens": 1.531, "Github": 1.7, "Google": 0.3}, "3.531")
    response = document(await world.score(MINE))
    assert (response["score"], response["threshold"], response["passing_score"]) == ("3.53100", "3.53100", False)


async def test_text_weights_are_summed_as_they_are_written(world: World):
    await world.settle([person(1, credential(1, "Ens"), credential(1, "Github"), credential(1, "Google"))])
    await weigh(world, {"Ens": "1.531", "Github": "1.7", "Google": "0.3"}, "3.531")
    response = document(await world.score(MINE))
    assert (response["score"], response["passing_score"]) == ("3.53100", True)


async def test_tiny_float_weight_is_a_number_in_the_event(world: World):
    await world.settle([person(1, credential(1, "Ens"))])
    await weigh(world, {"Ens": 0.000001})
    response = document(await world.score(MINE))
    assert (response["stamps"]["Ens"]["score"], (await event(world, "SCU"))["fields"]["stamp_scores"]) == (
        "0.00000",
        {"Ens": 1e-06},
    )


async def test_expiry_keeps_its_offset_in_the_response(world: World):
    await world.settle([person(1, credential(1, "Ens", expires="2099-06-01T12:00:00+02:00"))])
    response = document(await world.score(MINE))
    assert (response["expiration_timestamp"], response["stamps"]["Ens"]["expiration_date"]) == (
        "2099-06-01T12:00:00+02:00",
        "2099-06-01T12:00:00+02:00",
    )


async def test_expiry_keeps_its_offset_in_the_event(world: World):
    await world.settle([person(1, credential(1, "Ens", expires="2099-06-01T12:00:00+02:00"))])
    await world.score(MINE)
    assert (await event(world, "SCU"))["fields"]["expiration_date"] == "2099-06-01T12:00:00+02:00"


async def test_expiry_is_stored_in_utc(world: World):
    await world.settle([person(1, credential(1, "Ens", expires="2099-06-01T12:00:00+02:00"))])
    await world.score(MINE)
    stored = await world.conn.fetchval("SELECT expiration_date FROM registry_score")
    assert stored == datetime(2099, 6, 1, 10, tzinfo=UTC)


async def test_milliseconds_of_an_expiry_are_written_as_microseconds(world: World):
    await world.settle([person(1, credential(1, "Ens", expires="2099-06-01T12:00:00.123Z"))])
    response = document(await world.score(MINE))
    assert response["stamps"]["Ens"]["expiration_date"] == "2099-06-01T12:00:00.123000+00:00"


async def test_deduplicated_stamp_shows_its_expiry_as_it_was_written(world: World):
    stamp = credential(1, "Ens", "v0:taken", expires="2099-06-01T12:00:00.500Z")
    await world.settle([person(1, stamp, links=(ForeignLink("v0:taken", OTHER, SOON),))])
    response = document(await world.score(MINE))
    assert response["stamps"]["Ens"] == {
        "score": "0.00000",
        "dedup": True,
        "expiration_date": "2099-06-01T12:00:00.500Z",
    }


async def test_links_outlive_their_stamps(world: World):
    await world.settle([person(1, credential(1, "Ens", "v0:one"))])
    await world.score(MINE)
    await world.conn.execute("UPDATE ceramic_cache_ceramiccache SET deleted_at = now()")
    assert document(await world.score(MINE))["stamps"] == {}
    assert await links(world) == {"v0:one": (MINE, FAR)}


async def test_null_weight_table_is_an_error_that_is_stored(world: World):
    await world.settle([person(1, credential(1, "Ens"))])
    await world.conn.execute("UPDATE scorer_weighted_binaryweightedscorer SET weights = NULL")
    assert document(await world.score(MINE))["error"] == "'NoneType' object has no attribute 'get'"
    assert await world.count("registry_score", "status = 'ERROR' AND evidence IS NULL") == 1


async def test_error_heals_with_the_next_scoring(world: World):
    await world.settle([person(1, credential(1, "Ens"))])
    await world.conn.execute("UPDATE account_community SET rule = 'FIFO'")
    assert document(await world.score(MINE))["error"] == "Invalid rule"
    await world.conn.execute("UPDATE account_community SET rule = 'LIFO'")
    assert document(await world.score(MINE))["score"] == "2.25000"
