"""Handing stamps in, replacing and deleting them, over HTTP on a real database."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from tests.support import scoring
from tests.support.scoring import FAR, INTERNAL_TOKEN, ISSUER, address

A = address(0xA)
SECRET = "a secret of the tests that is long enough"
LIVE = "SELECT provider FROM ceramic_cache_ceramiccache WHERE deleted_at IS NULL ORDER BY provider"


def token(owner: str = A) -> dict[str, str]:
    claims = {
        "did": f"did:pkh:eip155:1:{owner}",
        "exp": datetime.now(UTC) + timedelta(hours=1),
        "jti": "1",
        "token_type": "access",
    }
    return {"Authorization": "Bearer " + jwt.encode(claims, SECRET, algorithm="HS256")}


def credential(provider: str, *nullifiers: str, owner: str = A):
    return ISSUER.issue(owner, provider, nullifiers or (f"v0:{provider}",), expires=FAR)


@pytest.fixture
async def app(migrated, world, serve):
    return await serve(scoring.settings(migrated, secret_key=SECRET, community_default="1"))


async def call(app, method: str, path: str, body: object = None, **headers: str):
    async with app.request(method, path, data=json.dumps(body), headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def embed(app, *credentials, scorer_id: object = 1):
    body = {"scorer_id": scorer_id, "stamps": list(credentials)}
    return await call(app, "POST", f"/internal/embed/stamps/{A}", body, Authorization=INTERNAL_TOKEN)


async def ceramic(app, method: str, body: object, owner: str = A):
    return await call(app, method, "/ceramic-cache/stamps/bulk", body, **token(owner))


async def live(world) -> list[str]:
    return [row["provider"] for row in await world.conn.fetch(LIVE)]


async def test_handed_in_stamps_are_stored_and_scored(world, app):
    status, body = await embed(app, credential("Github"), credential("Google"))
    assert (status, [stamp["provider"] for stamp in body["stamps"]], body["score"]["score"]) == (
        200,
        ["Github", "Google"],
        "3.00000",
    )


async def test_stamp_of_the_same_provider_replaces_the_one_before(world, app):
    await embed(app, credential("Github", "v0:1"))
    _, body = await embed(app, credential("Github", "v0:2"))
    assert await live(world) == ["Github"]
    assert body["stamps"][0]["stamp"]["credentialSubject"]["nullifiers"] == ["v0:2"]


async def test_provider_twice_stores_nothing_and_loses_nothing(world, app):
    await embed(app, credential("Github", "v0:1"))
    status, _ = await embed(app, credential("Github", "v0:2"), credential("Github", "v0:3"))
    held = await world.conn.fetchval(
        f"SELECT stamp->'credentialSubject'->>'nullifiers' FROM ({LIVE.replace('provider FROM', 'stamp, provider FROM')}) s"
    )
    assert (status, held) == (500, '["v0:1"]')


async def test_credential_the_database_refuses_loses_nothing(world, app):
    await embed(app, credential("Github"))
    refused = {**credential("Github"), "text": "\0"}
    status, _ = await embed(app, refused)
    assert (status, await live(world)) == (500, ["Github"])


async def test_stamps_stay_when_only_their_scoring_is_impossible(world, app):
    status, _ = await embed(app, credential("Github"), scorer_id=77)
    assert (status, await live(world), await world.count("registry_score")) == (500, ["Github"], 0)


async def test_same_stamp_added_at_once_is_stored_once(world, app):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(embed(app, credential("Github")), name=f"add-{n}") for n in range(4)]
    assert ([task.result()[0] for task in tasks], await live(world)) == ([200] * 4, ["Github"])


async def test_score_for_the_widget_lists_the_stamps(world, app):
    await world.stamp(A, "Github", ["v0:1"])
    status, body = await call(app, "GET", f"/internal/embed/score/1/{A}")
    assert (status, len(body["stamps"]), body["score"]["score"]) == (200, 1, "2.00000")


async def test_unknown_community_of_the_widget_is_named(app):
    assert await call(app, "GET", "/internal/embed/score/77/0x12") == (400, {"detail": "Invalid scorer_id"})


async def test_passport_app_s_stamps_know_where_they_came_from(world, app):
    status, body = await ceramic(app, "POST", [{"provider": "Github", "stamp": credential("Github")}])
    sources = await world.conn.fetchrow("SELECT source_app, source_scorer_id, type FROM ceramic_cache_ceramiccache")
    assert (status, body["score"]["score"], tuple(sources)) == (201, "2.00000", (1, 1, 1))


async def test_patch_deletes_entries_without_stamp_and_stores_the_others(world, app):
    await world.stamp(A, "Github", ["v0:1"])
    status, body = await ceramic(
        app, "PATCH", [{"provider": "Github"}, {"provider": "Google", "stamp": credential("Google")}]
    )
    assert (status, await live(world), body["score"]["score"]) == (200, ["Google"], "1.00000")


async def test_failed_patch_deletes_nothing(world, app):
    await world.stamp(A, "Github", ["v0:1"])
    answer = await ceramic(app, "PATCH", [{"provider": "Github", "stamp": {"a": 1}}])
    assert answer == (500, {"detail": "An internal server error has occurred."})
    assert await live(world) == ["Github"]


async def test_deletion_returns_the_remaining_stamps(world, app):
    await world.stamp(A, "Github", ["v0:1"])
    await world.stamp(A, "Google", ["v0:2"])
    status, body = await ceramic(app, "DELETE", [{"provider": "Github"}])
    assert (status, [stamp["provider"] for stamp in body["stamps"]], "score" in body) == (200, ["Google"], False)


async def test_deleting_missing_stamps_is_not_found(app):
    assert await ceramic(app, "DELETE", []) == (404, {"detail": "Unable to find stamp to delete."})


async def test_token_whose_address_is_none_stores_and_does_not_score(world, app):
    answer = await ceramic(app, "POST", [{"provider": "Github", "stamp": credential("Github")}], owner="nobody")
    assert (answer, await world.count("ceramic_cache_ceramiccache")) == ((400, {"detail": "Invalid address."}), 1)


async def test_stored_score_is_shown_until_it_expires(world, app):
    await world.stamp(A, "Github", ["v0:1"])
    path = f"/ceramic-cache/score/{A}"
    await call(app, "GET", path, **token())
    await world.conn.execute("UPDATE registry_score SET evidence = jsonb_set(evidence, '{rawScore}', '\"7\"')")
    _, stored = await call(app, "GET", path, **token())
    await world.conn.execute("UPDATE registry_score SET expiration_date = '2020-01-01Z'")
    _, fresh = await call(app, "GET", path, **token())
    assert (stored["score"], fresh["score"]) == ("7.00000", "2.00000")


async def test_first_look_at_the_stamps_scores_them(world, app):
    await world.stamp(A, "Github", ["v0:1"])
    counts = []
    for _ in range(2):
        status, body = await call(app, "GET", f"/ceramic-cache/stamp?address={A}")
        counts.append((status, len(body["stamps"]), await world.count("registry_event")))
    assert counts == [(200, 1, 1)] * 2


@pytest.mark.parametrize("body", [{}, {"alternate_scorer_id": None}, {"alternate_scorer_id": 0}])
async def test_rescoring_needs_a_community(app, body):
    assert await call(app, "POST", f"/ceramic-cache/score/{A}", body, **token()) == (
        500,
        {"detail": "Scorer ID not set"},
    )


async def test_body_over_the_cap_is_refused(migrated, serve):
    small = scoring.settings(migrated)
    client = await serve(small)
    async with client.post(
        f"/internal/embed/stamps/{A}",
        data=io.BytesIO(b" " * (small.limits.body_max_bytes + 1)),
        headers={"Authorization": INTERNAL_TOKEN},
    ) as response:
        assert (response.status, response.content_type) == (400, "text/html")


async def test_malformed_body_differs_from_an_empty_one(app):
    statuses = []
    for raw in (b"{", b"", b"\xff", b"[" * 100_000):
        async with app.post(
            f"/internal/embed/stamps/{A}", data=raw, headers={"Authorization": INTERNAL_TOKEN}
        ) as response:
            statuses.append(response.status)
    assert statuses == [400, 422, 400, 400]
