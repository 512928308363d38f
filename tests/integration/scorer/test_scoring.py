"""Scoring one address over HTTP on a real database."""

from datetime import UTC, datetime, timedelta

import pytest

from scorer.population.issuer import tampered
from tests.support import scoring
from tests.support.scoring import FAR, address, headers

A, B = address(0xA), address(0xB)


def path(owner: str, scorer_id: str = "1") -> str:
    return f"/v2/stamps/{scorer_id}/score/{owner}"


async def score(client, owner: str, **more: str):
    async with client.get(path(owner), headers=headers(**more)) as response:
        assert response.status == 200
        return await response.json()


async def test_stamps_with_valid_proofs_are_summed(world, client):
    await world.stamp(A, "Google", ["v0:1"])
    await world.stamp(A, "Github", ["v0:2"])
    body = await score(client, A)
    assert (body["score"], body["passing_score"], list(body["stamps"])) == ("3.00000", True, ["Google", "Github"])


async def test_outcome_is_stored_with_its_event(world, client):
    await world.stamp(A, "Github", ["v0:2"])
    await score(client, A)
    row = await world.conn.fetchrow(
        "SELECT s.score, s.status, s.evidence->>'rawScore', e.data->>'pk' = s.id::text FROM registry_score s, registry_event e"
    )
    assert tuple(map(str, row)) == ("0E-9", "DONE", "2.0", "True")


async def test_second_scoring_replaces_the_first(world, client):
    await world.stamp(A, "Github", ["v0:2"])
    await score(client, A)
    await score(client, A)
    tables = ("registry_passport", "registry_score", "registry_stamp", "registry_hashscorerlink", "registry_event")
    assert [await world.count(table) for table in tables] == [1, 1, 1, 1, 2]


async def test_tampered_credential_is_left_out(world, client):
    await world.stored(A, "Github", tampered(scoring.ISSUER.issue(A, "Github", ["v0:1"], expires=FAR)))
    assert (await score(client, A))["stamps"] == {}


async def test_proof_that_makes_the_library_panic_is_left_out(world, client):
    credential = scoring.ISSUER.issue(A, "Github", ["v0:1"], expires=FAR)
    credential["proof"]["proofValue"] = "0x12"
    await world.stored(A, "Github", credential)
    assert (await score(client, A))["error"] is None


async def test_known_proof_still_expires(migrated, world, serve):
    times = [datetime(2030, 1, 1, tzinfo=UTC)]
    client = await serve(scoring.settings(migrated), clock=lambda: times[-1])
    await world.stamp(A, "Github", ["v0:1"], expires="2031-01-01T00:00:00Z")
    first = await score(client, A)
    times.append(datetime(2032, 1, 1, tzinfo=UTC))
    second = await score(client, A)
    assert (list(first["stamps"]), second["stamps"]) == (["Github"], {})


async def test_claimed_nullifier_counts_for_its_first_owner_only(world, client):
    await world.stamp(A, "Github", ["v0:1"])
    await world.stamp(B, "Github", ["v0:1"])
    await score(client, A)
    late = await score(client, B)
    assert late["stamps"] == {"Github": {"score": "0.00000", "dedup": True, "expiration_date": FAR}}


async def test_expired_claim_passes_to_the_newcomer(migrated, world, serve):
    times = [datetime(2030, 1, 1, tzinfo=UTC)]
    client = await serve(scoring.settings(migrated), clock=lambda: times[-1])
    await world.stamp(A, "Github", ["v0:1"], expires="2031-01-01T00:00:00Z")
    await world.stamp(B, "Github", ["v0:1"])
    await score(client, A)
    times.append(times[0] + timedelta(days=800))
    await score(client, B)
    assert await world.owners() == {"v0:1": B}


async def test_own_and_foreign_nullifiers_in_one_stamp_clash_without_error(world, client):
    await world.stamp(A, "Google", ["v0:foreign"])
    await world.stamp(B, "Twitter", ["v0:own"])
    await score(client, A)
    await score(client, B)
    await world.stamp(B, "Github", ["v0:own", "v0:foreign"])
    body = await score(client, B)
    assert (body["error"], body["stamps"]["Github"]["dedup"], body["stamps"]["Twitter"]["dedup"]) == (None, True, False)


async def test_one_nullifier_in_two_stamps_of_an_address_is_linked_once(world, client):
    await world.stamp(A, "Google", ["v0:same"], expires="2090-01-01T00:00:00Z")
    await world.stamp(A, "Github", ["v0:same"])
    body = await score(client, A)
    links = await world.conn.fetch("SELECT address, expires_at FROM registry_hashscorerlink")
    assert (body["score"], [tuple(row) for row in links]) == (
        "3.00000",
        [(A, datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC))],
    )


@pytest.mark.parametrize(
    ("weights", "text"),
    [(None, "'NoneType' object has no attribute 'get'"), ({"Github": "x"}, "[<class 'decimal.ConversionSyntax'>]")],
)
async def test_broken_weights_are_an_error_of_the_score(world, client, weights, text):
    await world.community(2, weights=weights)
    await world.stamp(A, "Github", ["v0:1"])
    async with client.get(path(A, "2"), headers=headers()) as response:
        body = await response.json()
    assert (body["error"], body["threshold"], await world.count("registry_event")) == (text, "20.00000", 0)


async def test_failed_scoring_clears_the_former_score(world, client):
    await world.stamp(A, "Github", ["v0:1"])
    await score(client, A)
    await world.stored(A, "Google", {})
    await score(client, A)
    row = await world.conn.fetchrow("SELECT status, error, score, stamps, evidence FROM registry_score")
    assert tuple(row) == ("ERROR", "'expirationDate'", None, None, None)


async def test_points_are_beside_the_score_on_request(migrated, world, serve):
    await world.community(2, threshold="1", program=True)
    await world.conn.execute(
        "INSERT INTO registry_humanpointsconfig (action, points, active) VALUES ('HKY', 100, true)"
    )
    await world.stamp(A, "Github", ["v0:1"])
    client = await serve(scoring.settings(migrated, human_points=scoring.POINTS_ON))
    async with client.get(path(A, "2") + "?include_human_points=true", headers=headers()) as response:
        body = await response.json()
    assert (body["points_data"]["breakdown"], body["possible_points_data"]["breakdown"]) == ({"HKY": 100}, {"HKY": 100})


async def test_request_id_stands_first_in_the_log_of_its_transaction(migrated, world, client):
    await world.conn.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    await world.conn.execute("SELECT pg_create_logical_replication_slot('seen', 'pgoutput')")
    await score(client, A, **{"X-Request-Id": "it's request 1"})
    rows = await world.conn.fetch(
        """SELECT data FROM pg_logical_slot_get_binary_changes('seen', NULL, NULL,
                  'proto_version', '1', 'publication_names', 'everything', 'messages', 'true')"""
    )
    await world.conn.execute("SELECT pg_drop_replication_slot('seen')")
    await world.conn.execute("DROP PUBLICATION everything")
    kinds = b"".join(row["data"][:1] for row in rows)
    messages = [row["data"] for row in rows if row["data"].startswith(b"M")]
    assert kinds.startswith(b"BM")
    assert [message.endswith(b"it's request 1") for message in messages] == [True]
