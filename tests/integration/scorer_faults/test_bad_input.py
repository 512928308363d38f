"""Whatever is sent is answered: the client's fault is a 4xx, the legacy's plain 500 page only where that is the rule."""

import json
from datetime import UTC, datetime

import pytest

from comparator.exchanges.model import Response
from scorer.population import rows as population_rows
from scorer.population.people import HeldStamp, Person, PersonCase
from tests.golden.serving import serving
from tests.golden.wire import exchange
from tests.integration.scorer_faults.world import (
    TOKEN,
    World,
    address,
    credential,
    document,
    environment,
    person,
    status,
)

POSTS = ["/internal/embed/stamps/" + address(1), "/internal/check-bans", "/internal/check-revocations"]


def with_proof(one: dict, **proof: object) -> dict:
    return {**one, "proof": {**one["proof"], **proof}}


@pytest.mark.parametrize("target", POSTS)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{not json", 400),
        (b"", 422),
        (b"\xff\xfe\x00", 400),
        (b"null", 422),
        (b"42", 422),
        (b'"text"', 422),
        (b"[[[[[[", 400),
        (b"[" * 20_000 + b"]" * 20_000, 400),
        (b"NaN", 422),
        (b'{"a": 1}', 422),
    ],
    ids=["broken", "empty", "no-utf8", "null", "number", "text", "open", "deep", "nan", "other"],
)
async def test_bad_body_is_the_clients_fault(world: World, target: str, body: bytes, expected: int):
    await world.settle([person(1)])
    response = await world.ask("POST", target, body=body, Authorization=TOKEN)
    assert status(response) in {expected, 400, 422}


async def test_body_over_the_cap_is_refused(quiet_world: World):
    settings = environment(quiet_world.dsn, SCORER_BODY_MAX_BYTES="1000")
    async with serving(settings) as port:
        quiet_world.port = port
        response = await quiet_world.ask("POST", POSTS[0], body=b"x" * 1001, Authorization=TOKEN)
    assert status(response) == 413


async def test_body_over_the_legacys_own_cap_is_its_page_400(world: World):
    response = await world.ask("POST", POSTS[0], body=b"x" * 2_621_441, Authorization=TOKEN)
    assert status(response) == 400


async def test_body_that_ends_early_affects_no_other_request(world: World):
    await world.settle([person(1)])
    await exchange(
        world.port, b"POST /internal/check-bans HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n[]"
    )
    assert status(await world.score(address(1))) == 200


async def test_bytes_that_are_not_http_are_refused(world: World):
    response = await exchange(world.port, b"\x00\x01nonsense\r\n\r\n")
    assert status(response) == 400


@pytest.mark.parametrize(
    "text",
    [
        "0x",
        "0x0",
        "0x" + "g" * 40,
        "0x" + "0" * 39,
        "0x" + "0" * 41,
        "vitalik.eth",
        "%00",
        "0x%00" + "0" * 38,
        "%F0%9F%A6%84",
        "%ff%fe",
        "'; DROP TABLE registry_score; --".replace(" ", "%20"),
        "..%2f..%2fetc",
        "0x" + "0" * 5000,
    ],
)
async def test_odd_address_is_refused(world: World, text: str):
    await world.settle([person(1)])
    assert status(await world.score(text)) in {400, 404}


@pytest.mark.parametrize("text", ["0X" + "0" * 39 + "1", "0" * 39 + "1", "0x" + "0" * 38 + "aB"])
async def test_address_in_another_form_is_taken(world: World, text: str):
    await world.settle([person(1)])
    response = await world.score(text)
    assert (status(response), document(response)["address"]) == (200, text.lower())


@pytest.mark.parametrize("community", ["abc", "1e3", "9" * 40, "-5", "%00", "1.5"])
async def test_odd_scorer_id_is_the_clients_fault(world: World, community: str):
    await world.settle([person(1)])
    response = await world.ask("GET", f"/v2/stamps/{community}/score/{address(1)}", X_API_Key=population_rows.KEY.text)
    assert status(response) in {404, 422}


@pytest.mark.parametrize(
    "proof",
    [
        {"proofValue": "0x1"},
        {"proofValue": ""},
        {"proofValue": 7},
        {"eip712Domain": {}},
        {"eip712Domain": {"domain": {}, "primaryType": "Document", "types": {}}},
        {"type": "Unknown"},
        {"verificationMethod": None},
        {"created": "soon"},
    ],
    ids=["short", "empty", "number", "no-types", "empty-types", "unknown-suite", "no-method", "no-time"],
)
async def test_proof_that_makes_didkit_fail_only_drops_its_stamp(world: World, proof: dict):
    broken = with_proof(credential(1, "Ens"), **proof)
    held = (HeldStamp("Github", credential(1, "Github")), HeldStamp("Ens", broken))
    whole = Person(
        address(1),
        PersonCase.PASS,
        tuple(one for one in held if isinstance(one.credential["proof"]["proofValue"], str)),
    )
    await world.settle([whole])
    assert document(await world.score(address(1)))["stamps"].keys() == {"Github"}


@pytest.mark.parametrize(
    "subject", [None, [], "text", {}, {"id": None}, {"id": [], "provider": {}, "nullifiers": 7}], ids=repr
)
async def test_subject_of_another_shape_only_drops_its_stamp(world: World, subject: object):
    broken = {**credential(1, "Ens"), "credentialSubject": subject}
    await world.settle([Person(address(1), PersonCase.PASS, (HeldStamp("Ens", broken),))])
    response = await world.score(address(1))
    assert (status(response), document(response)["stamps"]) == (200, {})


@pytest.mark.parametrize("nullifiers", [["v0:" + "x" * 200], [7], [None], [["v0:a"]], ["v0:\\u0000"]], ids=repr)
async def test_odd_nullifiers_are_answered_and_never_half_written(world: World, nullifiers: list):
    one = credential(1, "Ens", *[n for n in nullifiers if isinstance(n, str)] or ["v0:own"])
    one["credentialSubject"]["nullifiers"] = nullifiers
    await world.settle([Person(address(1), PersonCase.PASS, (HeldStamp("Ens", one),))])
    assert status(await world.score(address(1))) == 200


@pytest.mark.parametrize(
    "stamps",
    [[None], [1], ["x"], [{}], [{"credentialSubject": None}], [{"credentialSubject": {"provider": "A"}, "proof": 1}]],
    ids=repr,
)
async def test_added_stamps_without_a_shape_get_the_plain_page_and_store_nothing(world: World, stamps: list):
    await world.settle([person(1)])
    response = await world.add(address(1), stamps)
    assert status(response) in {422, 500}
    assert await world.count("ceramic_cache_ceramiccache") == 0


async def test_added_stamp_that_cannot_be_stored_loses_nothing(world: World):
    await world.settle([person(1, credential(1, "Ens"))])
    twice = [credential(1, "Ens"), credential(1, "Ens")]
    assert status(await world.add(address(1), twice)) == 500
    assert await world.count("ceramic_cache_ceramiccache", "deleted_at IS NULL") == 1


async def test_expired_stamp_does_not_count(world: World):
    await world.settle([person(1, credential(1, "Ens", expires="2024-01-01T00:00:00Z"), credential(1, "Github"))])
    assert document(await world.score(address(1)))["score"] == "2.00000"


async def test_revoked_key_is_refused_for_scores(world: World):
    await world.settle([person(1)])
    assert status(await world.score(address(1), key=population_rows.REVOKED_KEY.text)) == 401


async def test_revoked_key_still_lists_stamps_as_in_the_legacy(world: World):
    await world.settle([person(1)])
    response = await world.ask("GET", f"/v2/stamps/{address(1)}", X_API_Key=population_rows.REVOKED_KEY.text)
    assert status(response) == 200


async def test_expired_key_works_as_in_the_legacy(world: World):
    await world.settle([person(1)])
    await world.conn.execute("UPDATE account_accountapikey SET expiry_date = $1", datetime(2020, 1, 1, tzinfo=UTC))
    assert status(await world.score(address(1))) == 200


@pytest.mark.parametrize("key", ["", ".", "x", "popKey01", "popKey01.", "popKey01.wrong", "\u00e9.\u00e9", "a" * 5000])
async def test_key_that_is_none_is_refused(world: World, key: str):
    await world.settle([person(1)])
    assert status(await world.score(address(1), key=key)) == 401


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic abc", "Bearer " + "a" * 4000])
async def test_token_that_is_none_is_refused(world: World, token: str):
    response = await world.ask("POST", "/ceramic-cache/stamps/bulk", body=b"[]", Authorization=token)
    assert status(response) == 401


async def test_every_response_is_json_or_a_named_page(world: World):
    response = await world.ask("GET", "/nowhere")
    assert isinstance(response, Response)
    assert dict(response.headers)["Content-Type"] == "text/html; charset=utf-8"


async def test_validation_error_says_where(world: World):
    response = await world.ask("POST", POSTS[0], body=json.dumps({"stamps": []}).encode(), Authorization=TOKEN)
    assert document(response)["detail"][0]["loc"] == ["body", "payload", "scorer_id"]
