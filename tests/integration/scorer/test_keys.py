"""API keys: two ways to read them, a slow and a fast hash."""

import base64
import hashlib

import pytest

from scorer.settings import Demo
from tests.support import scoring
from tests.support.scoring import KEY, address

A = address(0xA)
SCORE = f"/v2/stamps/1/score/{A}"
LISTING = f"/v2/stamps/{A}"
SLOW = "slowKey1.secret"


def pbkdf2(key: str, iterations: int = 1000) -> str:
    digest = base64.b64encode(hashlib.pbkdf2_hmac("sha256", key.encode(), b"salt", iterations)).decode()
    return f"pbkdf2_sha256${iterations}$salt${digest}"


async def status(client, path: str, **headers: str) -> int:
    async with client.get(path, headers=headers) as response:
        return response.status


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"X-API-Key": KEY}, 200),
        ({"Authorization": f"Token {KEY}"}, 200),
        ({"Authorization": f"Anything {KEY}"}, 200),
        ({"Authorization": KEY}, 401),
        ({"X-API-Key": "", "Authorization": f"Bearer {KEY}"}, 200),
        ({"X-API-Key": "testKey1.wrong", "Authorization": f"Bearer {KEY}"}, 401),
        ({"X-API-Key": "unknown1.secret"}, 401),
        ({"X-API-Key": "no-dot"}, 401),
        ({}, 401),
    ],
)
@pytest.mark.parametrize("path", [SCORE, LISTING])
async def test_where_the_key_may_stand(client, path, headers, found):
    assert await status(client, path, **headers) == found


async def test_slow_hash_is_replaced_by_the_fast_one_when_it_was_right(world, client):
    await world.key(SLOW, hashed=pbkdf2(SLOW))
    assert await status(client, SCORE, **{"X-API-Key": SLOW}) == 200
    stored = await world.conn.fetchval("SELECT hashed_key_sha256 FROM account_accountapikey WHERE prefix = 'slowKey1'")
    assert stored == "sha256$" + hashlib.sha256(SLOW.encode()).hexdigest()


async def test_wrong_secret_leaves_the_slow_hash(world, client):
    await world.key(SLOW, hashed=pbkdf2(SLOW))
    assert await status(client, SCORE, **{"X-API-Key": "slowKey1.other"}) == 401
    assert await world.conn.fetchval("SELECT count(*) FROM account_accountapikey WHERE hashed_key_sha256 IS NULL") == 1


async def test_fast_hash_is_the_only_thing_compared(world, client):
    await world.key(SLOW, hashed=pbkdf2(SLOW), hashed_sha256="sha256$0")
    assert await status(client, SCORE, **{"X-API-Key": SLOW}) == 401


@pytest.mark.parametrize(("path", "found"), [(SCORE, 401), (LISTING, 200)])
async def test_only_one_of_the_two_ways_refuses_revoked_keys(world, client, path, found):
    await world.conn.execute("UPDATE account_accountapikey SET revoked = true")
    assert await status(client, path, **{"X-API-Key": KEY}) == found


@pytest.mark.parametrize(
    ("path", "header", "found"),
    [
        (SCORE, "X-API-Key", 200),
        (SCORE, "Authorization", 401),
        (LISTING, "X-API-Key", 200),
        (LISTING, "Authorization", 200),
    ],
)
async def test_where_an_alias_stands_for_the_demo_key(migrated, world, serve, path, header, found):
    client = await serve(scoring.settings(migrated, demo=Demo(KEY, frozenset({"alias"}), "1")))
    assert await status(client, path, **{header: "alias" if header == "X-API-Key" else "Bearer alias"}) == found


async def test_key_of_another_account_does_not_find_the_community(world, client):
    await world.conn.execute("UPDATE account_community SET external_scorer_id = '5'")
    found = [await status(client, f"/v2/stamps/{number}/score/{A}", **{"X-API-Key": KEY}) for number in (1, 5, 6)]
    assert found == [200, 200, 404]


async def test_authentication_comes_before_validation(client):
    assert await status(client, f"/v2/stamps/abc/score/{A}") == 401
    assert await status(client, f"/v2/stamps/abc/score/{A}", **{"X-API-Key": KEY}) == 422
