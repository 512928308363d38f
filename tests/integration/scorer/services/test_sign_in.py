"""Signing in and signing terms over HTTP, with really signed messages."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from eth_abi.abi import encode
from eth_account import Account

from scorer.signatures import ContractSignatures, personal_message_hash, recover_signer
from tests.support import scoring
from tests.support.wallet import WALLET, sign_in, signed

CONTRACT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
YES = "0x1626ba7e" + "00" * 28
NO = "0x" + "ff" * 32


@pytest.fixture
async def app(serve, world, migrated, token_keys):
    return await serve(
        scoring.settings(
            migrated,
            siwe_domains=frozenset({"app.example.test"}),
            siwe_jwt_private_key=token_keys.private,
            siwe_jwt_public_key=token_keys.public,
        )
    )


async def fresh_nonce(app) -> str:
    async with app.get("/account/nonce") as response:
        return (await response.json())["nonce"]


async def authenticate(app, body: Any) -> tuple[int, Any]:
    async with app.post("/ceramic-cache/authenticate/v2", json=body) as response:
        return response.status, await response.json()


async def token(app) -> dict[str, str]:
    _, body = await authenticate(app, sign_in(await fresh_nonce(app)))
    return {"Authorization": f"Bearer {body['access']}"}


async def test_token_from_a_signed_message_opens_the_own_endpoints(app):
    async with app.get("/ceramic-cache/stake/gtc", headers=await token(app)) as response:
        assert (response.status, await response.json()) == (200, {"items": []})


async def test_of_many_sign_ins_with_one_nonce_one_succeeds(app):
    body = sign_in(await fresh_nonce(app))
    statuses = [status for status, _ in await asyncio.gather(*(authenticate(app, body) for _ in range(8)))]
    assert sorted(statuses) == [200] + [400] * 7


ODD_FIELDS = [
    ({"address": {}}, "Missing address or nonce!"),
    ({"address": 5}, "Invalid address format!"),
    ({"address": [1]}, "Authentication failed!"),
    ({"domain": 5}, "Authentication failed!"),
    ({"domain": ["app.example.test"]}, "Authentication failed!"),
    ({"domain": None}, "Verification failed!"),
    ({"domain": []}, "Verification failed!"),
    ({"nonce": 5}, "Invalid nonce!"),
    ({"nonce": "nul\x00nonce"}, "Invalid nonce!"),
]


async def test_odd_fields_are_refused(app):
    body = sign_in("unknownnonce1")
    bodies = [{**body, "message": {**body["message"], **changes}} for changes, _ in ODD_FIELDS]
    responses = [await authenticate(app, one) for one in bodies]
    assert responses == [(400, {"detail": detail}) for _, detail in ODD_FIELDS]


@pytest.mark.parametrize("expiry", ["2099-01-01", "2099-W01-1", "2099-01-01T00:00:00", "", "soon", 5, False, []])
async def test_expiry_that_is_not_a_moment_keeps_the_nonce(app, expiry: Any):
    body = sign_in(await fresh_nonce(app))
    broken = {**body, "message": {**body["message"], "expirationTime": expiry}}
    assert await authenticate(app, broken) == (400, {"detail": "Verification failed!"})
    status, _ = await authenticate(app, body)
    assert status == 200


async def test_fields_that_make_no_message_fail_after_the_nonce(app):
    body = sign_in(await fresh_nonce(app))
    broken = {**body, "message": {**body["message"], "uri": "nothing"}}
    responses = [await authenticate(app, broken), await authenticate(app, body)]
    assert [response["detail"] for _, response in responses] == ["Authentication failed!", "Invalid nonce!"]


async def test_malformed_signature_is_refused(app):
    signatures = ["", "0x12", "no hex", "0x" + "11" * 65]
    responses = [await authenticate(app, {**sign_in(await fresh_nonce(app)), "signature": one}) for one in signatures]
    assert responses == [(400, {"detail": "Invalid signature!"})] * 4


async def test_sign_in_needs_a_private_key(serve, world, migrated):
    app = await serve(scoring.settings(migrated, siwe_domains=frozenset({"app.example.test"})))
    assert await authenticate(app, sign_in(await fresh_nonce(app))) == (400, {"detail": "Authentication failed!"})


async def sign_terms(app, headers: dict[str, str]) -> tuple[int, str]:
    where = f"IST/{WALLET.address}"
    async with app.get(f"/ceramic-cache/tos/message-to-sign/{where}", headers=headers) as response:
        terms = await response.json()
    body = {"tos_type": "IST", "nonce": terms["nonce"], "signature": signed(terms["text"])}
    async with app.post(f"/ceramic-cache/tos/signed-message/{where}", json=body, headers=headers) as response:
        return response.status, await response.text()


async def test_terms_are_signed_once_and_stay_signed(app, world):
    await world.conn.execute(
        "INSERT INTO tos_tos (created_at, modified_at, type, active, content, final) VALUES ($1, $1, 'IST', true, 'Be fair.', true)",
        datetime(2024, 1, 1, tzinfo=UTC),
    )
    headers = await token(app)
    accepted = [await sign_terms(app, headers), await sign_terms(app, headers)]
    async with app.get(f"/ceramic-cache/tos/accepted/IST/{WALLET.address}", headers=headers) as response:
        accepted.append((response.status, await response.text()))
    proofs = await world.conn.fetch("SELECT address FROM tos_tosacceptanceproof")
    assert accepted == [(200, ""), (200, ""), (200, '{"accepted": true}')]
    assert [row["address"] for row in proofs] == [WALLET.address.lower()]


async def test_terms_with_an_unknown_nonce_are_refused(app):
    body = {"tos_type": "IST", "nonce": "unknown", "signature": "0x"}
    path = f"/ceramic-cache/tos/signed-message/IST/{WALLET.address}"
    async with app.post(path, json=body, headers=await token(app)) as response:
        found = (response.status, await response.json())
    assert found == (400, {"detail": "Failed to process the tos acceptance proof"})


async def test_terms_that_do_not_exist_are_the_plain_error_page(app):
    async with app.get(
        f"/ceramic-cache/tos/message-to-sign/IST/{WALLET.address}", headers=await token(app)
    ) as response:
        assert (response.status, response.content_type) == (500, "text/html")


def test_hash_is_the_one_that_wallets_sign():
    text = "a message"
    assert Account._recover_hash(personal_message_hash(text), signature=signed(text)) == WALLET.address


def test_signer_is_recovered():
    assert recover_signer("a message", signed("a message")) == WALLET.address.lower()


@pytest.fixture
async def contracts(upstream, metrics):
    async with aiohttp.ClientSession() as session:
        yield ContractSignatures(session, f"{upstream.url}rpc", metrics, timeout_s=0.5)


@pytest.mark.parametrize(
    ("result", "accepted"), [(YES, True), (NO, False), ("0x", False), ("0x1626ba7e", False), (7, False)]
)
async def test_contract_wallet_verifies_its_signature(contracts, upstream, result, accepted: bool):
    upstream.set_response("/rpc", {"jsonrpc": "2.0", "id": 1, "result": result})
    assert await contracts.accepts(CONTRACT, "text", "0x1234") is accepted
    assert upstream.requests[0].body["params"][0]["to"] == CONTRACT


async def test_node_that_answers_with_an_error_says_no(contracts, upstream):
    upstream.set_response("/rpc", {"jsonrpc": "2.0", "id": 1, "error": {"code": 3, "message": "execution reverted"}})
    assert not await contracts.accepts(CONTRACT, "text", "0x1234")


async def test_node_that_hangs_says_no(contracts, upstream):
    upstream.hold()
    async with asyncio.timeout(60):
        assert not await contracts.accepts(CONTRACT, "text", "0x1234")


def wrapped(inner: bytes) -> str:
    factory = "0x" + "22" * 20
    return (
        "0x" + (encode(["address", "bytes", "bytes"], [factory, b"deploy", inner]) + bytes.fromhex("6492" * 16)).hex()
    )


def multicall(*results: tuple[bool, str]) -> str:
    return "0x" + encode(["(bool,bytes)[]"], [[(ok, bytes.fromhex(data[2:])) for ok, data in results]]).hex()


@pytest.mark.parametrize(
    ("result", "accepted"),
    [
        (multicall((True, "0x"), (True, YES)), True),
        # Deployed meanwhile: deploying again fails, and the wallet answers all the same.
        (multicall((False, "0x"), (True, YES)), True),
        (multicall((True, "0x"), (False, YES)), False),
        (multicall((True, "0x"), (True, NO)), False),
        ("0x1234", False),
    ],
)
async def test_wallet_that_is_not_deployed_is_deployed_in_the_question(contracts, upstream, result, accepted: bool):
    upstream.set_response("/rpc", {"jsonrpc": "2.0", "id": 1, "result": result})
    assert await contracts.accepts(CONTRACT, "text", wrapped(b"inner")) is accepted


@pytest.mark.parametrize("signature", ["no hex", "0x" + "6492" * 16, "0x" + "00" * 20_001])
async def test_malformed_signature_makes_no_call(contracts, upstream, signature: str):
    assert not await contracts.accepts(CONTRACT, "text", signature)
    assert upstream.requests == []
