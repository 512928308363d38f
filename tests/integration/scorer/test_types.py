"""Fields of another JSON type than they should have, in bodies and in stored credentials."""

from typing import Any

import jwt
import pytest

from tests.support import scoring
from tests.support.scoring import ISSUER, address

A = address(0xA)
SECRET = "a-secret-key-of-sufficient-length-for-tests"
BULK = "/ceramic-cache/stamps/bulk"
OTHER_TYPES = [True, 5, ["x"], {"a": 1}]
CREDENTIAL = ISSUER.issue(A, "Github", ["v0:1"], expires=scoring.FAR)


@pytest.fixture
async def app(serve, world, migrated):
    return await serve(scoring.settings(migrated, secret_key=SECRET, community_default="1"))


@pytest.fixture
async def lonely(serve, world, migrated):
    """Serve without a default community."""
    return await serve(scoring.settings(migrated, secret_key=SECRET))


def own() -> dict[str, str]:
    claims = {"did": f"did:pkh:eip155:1:{A}", "jti": "1", "token_type": "access", "exp": 4070908800}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}


async def change(app, method: str, body: Any) -> tuple[int, Any]:
    async with app.request(method, BULK, headers=own(), json=body) as response:
        return response.status, await response.json() if "json" in response.content_type else await response.text()


async def live(world) -> list[str]:
    rows = await world.conn.fetch(
        "SELECT provider FROM ceramic_cache_ceramiccache WHERE deleted_at IS NULL ORDER BY id"
    )
    return [row["provider"] for row in rows]


@pytest.mark.parametrize("value", OTHER_TYPES)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_address_that_is_not_a_text_is_refused_at_its_place(app, world, method: str, value: Any):
    await world.stored(A, "Github", CREDENTIAL)
    status, body = await change(app, method, [{"address": value, "provider": "Github", "stamp": CREDENTIAL}])
    assert (status, [item["loc"] for item in body["detail"]]) == (422, [["body", "payload", 0, "address"]])
    assert await live(world) == ["Github"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_errors_of_all_fields_are_listed(app, method: str):
    status, body = await change(app, method, [{"address": 5, "provider": 5}, {"provider": []}, 5])
    fields = [(item["loc"][2:], item["type"]) for item in body["detail"]]
    assert (status, fields) == (
        422,
        [
            ([0, "address"], "string_type"),
            ([0, "provider"], "string_type"),
            ([1, "provider"], "string_type"),
            ([2, "provider"], "missing"),
        ],
    )


@pytest.mark.parametrize("address_sent", [None, "", "anything"])
async def test_address_that_is_a_text_or_null_is_not_used(app, world, address_sent: str | None):
    status, _ = await change(app, "POST", [{"address": address_sent, "provider": "Github", "stamp": CREDENTIAL}])
    assert (status, await live(world)) == (201, ["Github"])


@pytest.mark.parametrize("value", OTHER_TYPES)
async def test_proof_value_that_is_not_a_text_is_not_stored(app, world, value: Any):
    credential = {**CREDENTIAL, "proof": {**CREDENTIAL["proof"], "proofValue": value}}
    status, _ = await change(app, "POST", [{"provider": "Github", "stamp": credential}])
    assert (status, await live(world)) == (500, [])


@pytest.mark.parametrize("value", [None, *OTHER_TYPES])
async def test_provider_that_is_not_a_text_is_not_stored(app, world, value: Any):
    subject = {**CREDENTIAL["credentialSubject"], "provider": value}
    body = {"scorer_id": 1, "stamps": [{**CREDENTIAL, "credentialSubject": subject}]}
    headers = {"Authorization": scoring.INTERNAL_TOKEN}
    async with app.post(f"/internal/embed/stamps/{A}", headers=headers, json=body) as response:
        assert (response.status, await live(world)) == (500, [])


PARTS = ["issuer", "expirationDate", "credentialSubject", "proof", "@context", "type", "issuanceDate"]
SUBJECT_PARTS = ["id", "provider", "nullifiers", "@context"]


async def errors_of(app, world, credentials: list[Any]) -> list[Any]:
    for number, credential in enumerate(credentials):
        await world.stored(A, f"Odd{number}", credential)
    await world.stored(A, "Github", CREDENTIAL)
    async with app.get(f"/v2/stamps/1/score/{A}", headers=scoring.headers()) as response:
        body = await response.json()
    return [response.status, body["error"], body["score"], list(body["stamps"])]


async def test_part_of_another_type_drops_its_stamp_alone(app, world, caplog):
    odd = [{**CREDENTIAL, part: value} for part in PARTS for value in [None, *OTHER_TYPES]]
    subject = CREDENTIAL["credentialSubject"]
    odd += [
        {**CREDENTIAL, "credentialSubject": {**subject, part: value}}
        for part in SUBJECT_PARTS
        for value in [None, *OTHER_TYPES, [5]]
    ]
    odd += [value for value in [None, *OTHER_TYPES, "text"] if value != {} and not isinstance(value, dict)]
    assert await errors_of(app, world, odd) == [200, None, "2.00000", ["Github"]]
    assert "request_failed" not in [record.message for record in caplog.records]


@pytest.mark.parametrize(
    "date", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2099-01-01T00:00:00+23:59"]
)
async def test_date_beyond_the_range_does_not_crash(app, world, caplog, date: str):
    await world.stored(A, "Google", ISSUER.issue(A, "Google", ["v0:2"], expires=date))
    async with app.get(f"/v2/stamps/1/score/{A}", headers=scoring.headers()) as response:
        assert response.status == 200
    status, _ = await change(app, "POST", [{"provider": "Github", "stamp": {**CREDENTIAL, "issuanceDate": date}}])
    assert status in {201, 500}
    assert "request_failed" not in [record.message for record in caplog.records]


async def test_deletion_lists_remaining_stamps_of_every_type(app, world):
    await world.stored(A, "Github", CREDENTIAL)
    await world.stored(A, "Google", {})
    await world.conn.execute("UPDATE ceramic_cache_ceramiccache SET type = 2 WHERE provider = 'Google'")
    status, body = await change(app, "DELETE", [{"provider": "Github"}])
    assert (status, [stamp["provider"] for stamp in body["stamps"]]) == (200, ["Google"])


async def test_other_changes_list_the_first_type(app, world):
    await world.stored(A, "Google", {})
    await world.conn.execute("UPDATE ceramic_cache_ceramiccache SET type = 2")
    status, body = await change(app, "POST", [{"provider": "Github", "stamp": CREDENTIAL}])
    assert (status, [stamp["provider"] for stamp in body["stamps"]]) == (201, ["Github"])


@pytest.mark.parametrize(
    ("method", "provider", "expected"),
    [
        ("DELETE", "Github", (500, {"detail": "Scorer ID not set"})),
        ("DELETE", "Other", (404, {"detail": "Unable to find stamp to delete."})),
        ("PATCH", "Github", (500, {"detail": "An internal server error has occurred."})),
    ],
)
async def test_without_a_default_community_nothing_changes(lonely, world, method, provider, expected):
    await world.stored(A, "Github", CREDENTIAL)
    assert await change(lonely, method, [{"provider": provider}]) == expected
    assert await live(world) == ["Github"]
