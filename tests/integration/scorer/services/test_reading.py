"""Reads and writes of the endpoints around scoring, beyond the recorded cases."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jwt
import pytest
from yarl import URL

from scorer import platform_sync
from scorer.workflows.points import points_blocks
from tests.support import scoring
from tests.support.scoring import address

A, B = address(0xA), address(0xB)
THEN = datetime(2024, 1, 1, tzinfo=UTC)
SECRET = "a-secret-key-of-sufficient-length-for-tests"
INTERNAL = {"Authorization": scoring.INTERNAL_TOKEN}


def own(owner: str) -> dict[str, str]:
    claims = {"did": f"did:pkh:eip155:1:{owner}", "jti": "1", "token_type": "access", "exp": 4070908800}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}


async def answer(client, path: str | URL, headers: dict[str, str], **more: Any) -> tuple[int, Any]:
    async with client.request(more.pop("method", "GET"), path, headers=headers, **more) as response:
        text = await response.text()
        return response.status, json.loads(
            text
        ) if response.content_type == "application/json" else response.content_type


@pytest.fixture
async def app(serve, world, migrated):
    return await serve(scoring.settings(migrated, secret_key=SECRET, community_default="1"))


async def test_stakes_are_exact_whatever_their_size(app, world):
    await world.conn.execute(
        """INSERT INTO stake_stake (chain, lock_time, unlock_time, last_updated_in_block, staker, stakee, current_amount)
           VALUES (1, $1, $1, $2, $3, $4, $5)""",
        THEN,
        Decimal(2**70),
        A,
        B,
        Decimal("1234567890123456789012345.000000000000000001"),
    )
    _, body = await answer(app, f"/internal/stake/gtc/{B}", INTERNAL)
    (stake,) = body["items"]
    assert (stake["amount"], stake["last_updated_in_block"]) == ("1234567890123456789012345.000000000000000001", 2**70)


async def test_community_stake_shows_on_the_own_address(app):
    assert await answer(app, "/ceramic-cache/stake/gtc", own(A)) == (200, {"items": []})


async def test_unknown_list_and_malformed_address_are_not_members(app):
    assert await answer(app, "/internal/allow-list/%7Bx%7D/%F0%9F%A6%84", INTERNAL) == (200, {"is_member": False})


async def test_credential_is_found_however_its_name_is_encoded(app, world):
    await world.conn.execute(
        """INSERT INTO account_customcredentialruleset (credential_type, definition, name, provider_id)
           VALUES ('DVL', '{"b": 1, "a": [2]}', 'n', 'DeveloperList#a')"""
    )
    names = [URL(f"/internal/customization/credential/DeveloperList{sign}a", encoded=True) for sign in ("%23", "%2523")]
    found = [await answer(app, name, INTERNAL) for name in names]
    assert found == [(200, {"ruleset": {"b": 1, "a": [2]}})] * 2


async def test_unknown_credential_is_not_found(app):
    assert await answer(app, "/internal/customization/credential/x", INTERNAL) == (404, {"detail": "Not Found"})


async def test_weights_are_found_by_any_spelling_of_the_id(app):
    spellings = ["1", " 1", "+1", ""]
    found = [await answer(app, "/internal/embed/weights", {}, params={"community_id": one}) for one in spellings]
    assert found == [(200, {"Google": 1.0, "Twitter": 1.5, "Github": 2.0})] * 4


async def test_no_community_is_named_by_anything_else(app):
    spellings = ["x", "1.0", str(2**70), "-1"]
    found = [await answer(app, "/internal/embed/weights", {}, params={"community_id": one}) for one in spellings]
    detail = "Unable to retrieve configured scorer! settings.CERAMIC_CACHE_SCORER_ID=1"
    assert found == [(500, {"detail": detail})] * 4


async def test_malformed_weights_are_the_plain_error_page(app, world):
    await world.conn.execute("UPDATE scorer_weighted_binaryweightedscorer SET weights = 'null'")
    assert await answer(app, "/internal/embed/weights", {}) == (500, "text/html")


async def test_reports_change_own_pending_stamps_once(app, world):
    first, second = [await world.stored(A, provider, {}) for provider in ("Google", "Github")]
    other = await world.stored(B, "Google", {})
    report = [
        {"id": first, "compose_db_save_status": "saved", "compose_db_stream_id": "s1"},
        {"id": second, "compose_db_save_status": "failed", "compose_db_stream_id": None},
        {"id": other, "compose_db_save_status": "saved"},
        {"id": 2**70, "compose_db_save_status": "saved"},
    ]
    path = "/ceramic-cache/stamps/bulk/meta/compose-db"
    responses = [await answer(app, path, own(A), method="PATCH", json=report) for _ in range(2)]
    rows = await world.conn.fetch(
        "SELECT compose_db_save_status, compose_db_stream_id FROM ceramic_cache_ceramiccache ORDER BY id"
    )
    assert responses == [(200, {"updated": [first, second]}), (200, {"updated": []})]
    assert [tuple(row) for row in rows] == [("saved", "s1"), ("failed", ""), ("pending", "")]


async def test_stream_id_that_is_too_long_is_cut(app, world):
    stamp_id = await world.stored(A, "Google", {})
    report = [{"id": stamp_id, "compose_db_save_status": "saved", "compose_db_stream_id": "s" * 101}]
    path = "/ceramic-cache/stamps/bulk/meta/compose-db"
    assert await answer(app, path, own(A), method="PATCH", json=report) == (200, {"updated": [stamp_id]})
    stored = await world.conn.fetchval("SELECT compose_db_stream_id FROM ceramic_cache_ceramiccache")
    assert stored == "s" * 100


async def test_first_of_two_reports_of_one_stamp_counts(app, world):
    stamp_id = await world.stored(A, "Google", {})
    report = [
        {"id": stamp_id, "compose_db_save_status": "saved", "compose_db_stream_id": "first"},
        {"id": stamp_id, "compose_db_save_status": "failed", "compose_db_stream_id": "second"},
    ]
    path = "/ceramic-cache/stamps/bulk/meta/compose-db"
    assert await answer(app, path, own(A), method="PATCH", json=report) == (200, {"updated": [stamp_id]})
    row = await world.conn.fetchrow(
        "SELECT compose_db_save_status, compose_db_stream_id FROM ceramic_cache_ceramiccache"
    )
    assert tuple(row) == ("saved", "first")


@pytest.mark.parametrize("did", ["did:pkh:eip155:1:nothing", "did:x:", "nothing", "did:x:0x12", "did:x:\x00"])
async def test_token_of_no_address_has_no_stakes(app, did: str):
    claims = {"did": did, "jti": "1", "token_type": "access", "exp": 4070908800}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}
    assert await answer(app, "/ceramic-cache/stake/gtc", headers) == (200, {"items": []})


@pytest.mark.parametrize("audience", ["any", ["any", "other"]])
async def test_older_token_with_an_audience_is_accepted(app, audience):
    claims = {"did": f"did:x:{A}", "jti": "1", "token_type": "access", "exp": 4070908800, "aud": audience}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}
    assert await answer(app, "/ceramic-cache/stake/gtc", headers) == (200, {"items": []})


EVIDENCE = {
    None: ("0.00000", "20.00000", False),
    "{}": ("0.00000", "20.00000", False),
    '{"rawScore": "3"}': ("3.00000", "20.00000", False),
    '{"threshold": "2"}': ("0.00000", "2.00000", False),
    '{"rawScore": null, "threshold": null}': ("0.00000", "0.00000", True),
    '{"rawScore": null, "threshold": "2"}': ("0.00000", "2.00000", False),
    '{"rawScore": 2.5, "threshold": "2.5"}': ("2.50000", "2.50000", True),
}


async def store_score(world, evidence: str | None) -> None:
    await world.conn.execute("INSERT INTO registry_passport (id, address, community_id) VALUES (1, $1, 1)", A)
    await world.conn.execute(
        "INSERT INTO registry_score (passport_id, status, evidence) VALUES (1, 'DONE', $1::jsonb)", evidence
    )


@pytest.mark.parametrize("evidence", EVIDENCE)
async def test_missing_parts_of_stored_evidence_have_a_meaning(app, world, evidence: str | None):
    await store_score(world, evidence)
    status, body = await answer(app, f"/ceramic-cache/score/{A}", own(A))
    assert (status, (body["score"], body["threshold"], body["passing_score"])) == (200, EVIDENCE[evidence])


@pytest.mark.parametrize("evidence", ["[1]", '"text"', '{"rawScore": "x"}', '{"threshold": []}', '{"rawScore": "NaN"}'])
async def test_malformed_evidence_is_a_client_error(app, world, evidence: str):
    await store_score(world, evidence)
    expected = (400, {"detail": "Unable to get score for provided scorer."})
    assert await answer(app, f"/ceramic-cache/score/{A}", own(A)) == expected


@pytest.mark.parametrize("token", ["e30", "eyJpZCI6ICJ4In0", "eyJkIjogbnVsbH0", "eyJkIjogWyJuZXh0Il19"])
async def test_token_without_a_direction_is_the_first_page(app, world, token: str):
    await world.stored(A, "Google", {})
    status, body = await answer(app, f"/v2/stamps/{A}?token={token}", scoring.headers())
    assert (status, len(body["items"])) == (200, 1)


async def store_events(world) -> None:
    for day, score in ((1, "1"), (3, "3")):
        await world.conn.execute(
            "INSERT INTO registry_event (action, address, created_at, data, community_id) VALUES ('SCU', $1, $2, $3, 1)",
            A,
            datetime(2024, 1, day, tzinfo=UTC),
            json.dumps({"evidence": {"rawScore": score, "threshold": "2"}}),
        )


@pytest.mark.parametrize(
    ("created_at", "score"),
    [
        *(("2024-01-02", "1.00000"), ("+2024-01-02+", "1.00000"), ("2024-01-02T00:00:00Z+", "1.00000")),
        *(
            ("%092024-1-2+0:00%0A", "1.00000"),
            ("2024-01-03", "3.00000"),
            ("soon", "3.00000"),
            ("2024-01-02T00:00:00+00:00", "3.00000"),
        ),
    ],
)
async def test_time_of_the_history_is_trimmed_of_blanks(app, world, created_at: str, score: str):
    await store_events(world)
    url = URL(f"/v2/stamps/1/score/{A}/history?created_at={created_at}", encoded=True)
    status, body = await answer(app, url, scoring.headers())
    assert (status, body["score"]) == (200, score)


@pytest.mark.parametrize(
    ("path", "locations"),
    [
        ("/v2/stamps/x/score/y/history", [["path", "scorer_id"], ["query", "created_at"]]),
        (f"/v2/stamps/{A}?limit=x&include_metadata=maybe", [["query", "limit"], ["query", "include_metadata"]]),
        ("/v2/stamps/x/score/y", [["path", "scorer_id"]]),
    ],
)
async def test_all_errors_are_listed_in_order(app, path: str, locations: list[list[str]]):
    status, body = await answer(app, path, scoring.headers())
    assert (status, [item["loc"] for item in body["detail"]]) == (422, locations)


async def test_points_are_summed_by_action_and_chain(world):
    await world.conn.executemany(
        "INSERT INTO registry_humanpointsconfig (action, points, active) VALUES ($1, $2, $3)",
        [("PMT", 300, True), ("HKY", 100, True), ("HIM", 1000, True), ("ISB", 100, False)],
    )
    await world.conn.executemany(
        """INSERT INTO registry_humanpoints (address, action, timestamp, tx_hash, chain_id, provider)
           VALUES ($1, $2, $3, $4, $5, '')""",
        [(A, "PMT", THEN, "1", 1), (A, "PMT", THEN, "2", 1), (A, "PMT", THEN, "3", 10), (A, "HKY", THEN, "4", 0),
         (A, "HIM", THEN, "5", 1), (A, "ISB", THEN, "6", 0), (B, "HKY", THEN, "7", 0)],
    )  # fmt: skip
    await world.conn.execute("INSERT INTO registry_humanpointsmultiplier (address, multiplier) VALUES ($1, 2)", A)
    shown = await points_blocks(world.conn, A)
    assert shown.points_data.breakdown == {"PMT_1": 600, "PMT": 900, "PMT_10": 300, "HKY": 100}
    assert (shown.points_data.total_points, shown.points_data.multiplier, shown.points_data.is_eligible) == (
        1000,
        2,
        False,
    )
    assert shown.possible_points_data.breakdown == {"PMT": 300, "HKY": 100, "HIM": 1000}


def platform(identity: str, name: str, *providers: str) -> dict[str, Any]:
    stamps = [{"name": provider, "description": "", "hash": ""} for provider in providers]
    groups = [{"name": "g", "stamps": stamps}]
    return {"id": identity, "icon": "", "name": name, "description": "", "connectMessage": "", "groups": groups}


async def platforms(world) -> list[tuple[str, str]]:
    rows = await world.conn.fetch("SELECT platform_id, name FROM registry_platformmetadata ORDER BY platform_id")
    return [tuple(row) for row in rows]


async def test_platforms_are_taken_over_and_stamps_linked(world, migrated, upstream, capsys):
    await world.conn.execute(
        "INSERT INTO registry_stampmetadata (provider, is_beta) VALUES ('Google', false), ('Own', true)"
    )
    upstream.set_response(
        "/stampMetadata.json", [platform("G", "Google", "Google"), platform("H", "Github", "unknown")]
    )
    settings = scoring.settings(migrated, passport_public_url=upstream.url)
    await platform_sync.run(settings)
    upstream.set_response(
        "/stampMetadata.json", [platform("G", "Renamed", "Google"), platform("H", "Github", "unknown")]
    )
    await platform_sync.run(settings)
    await platform_sync.run(settings)
    assert capsys.readouterr().out.splitlines() == [
        "2 platforms created, 0 renamed, 1 stamps linked",
        "0 platforms created, 1 renamed, 0 stamps linked",
        "0 platforms created, 0 renamed, 0 stamps linked",
    ]
    assert await platforms(world) == [("G", "Renamed"), ("H", "Github")]


async def test_of_a_platform_listed_twice_the_last_counts(world, migrated, upstream):
    upstream.set_response("/stampMetadata.json", [platform("G", "first", "Google"), platform("G", "last", "Google")])
    await platform_sync.run(scoring.settings(migrated, passport_public_url=upstream.url))
    assert await platforms(world) == [("G", "last")]


async def test_description_is_served(app):
    status, body = await answer(app, "/openapi.json", {})
    assert (status, body["openapi"], "/internal/check-bans" in body["paths"]) == (200, "3.1.0", True)


UNSTORABLE = {
    ("GET", "/internal/allow-list/%00/x"): (None, (200, {"is_member": False})),
    ("GET", "/internal/allow-list/x/%00"): (None, (200, {"is_member": False})),
    ("GET", "/internal/customization/credential/%00"): (None, (404, {"detail": "Not Found"})),
    ("GET", "/account/customization/credential/%00"): (None, (404, {"detail": "Not Found"})),
    ("GET", "/internal/stake/gtc/%00"): (None, (400, {"detail": "Invalid address."})),
    ("GET", "/internal/stake/legacy-gtc/%00/1"): (None, (400, {"detail": "Invalid address."})),
    ("GET", "/internal/score/v2/1/%00"): (None, (400, {"detail": "Invalid address."})),
    ("GET", "/internal/embed/score/1/%00"): (None, (400, {"detail": "Invalid address."})),
    ("GET", "/ceramic-cache/stamp?address=%00"): (None, (400, {"detail": "Invalid address."})),
    ("POST", "/internal/check-revocations"): (
        {"proof_values": ["\x00"]},
        (500, {"detail": "Failed to check revocations"}),
    ),
    ("POST", "/internal/check-bans"): (
        [{"credentialSubject": {"hash": "\x00", "provider": None, "id": "x"}}],
        (500, {"detail": "Failed to check bans"}),
    ),
}


@pytest.mark.parametrize(("method", "path"), UNSTORABLE)
async def test_text_that_the_database_cannot_hold_is_found_nowhere(app, caplog, method: str, path: str):
    body, expected = UNSTORABLE[method, path]
    assert await answer(app, URL(path, encoded=True), INTERNAL, method=method, json=body) == expected
    assert "request_failed" not in [record.message for record in caplog.records]
