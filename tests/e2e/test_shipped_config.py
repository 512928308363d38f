"""The repository's config.yaml covers every endpoint of the scorer, and two correct implementations match on each of them.

Scorers stand on both sides, so what differs is what correct implementations differ in: ids, times, tokens, nonces, the order of rows,
and links to themselves.
"""

import asyncio
import base64
import datetime as dt
import json
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client.parser import text_string_to_metric_families

from comparator.store import queries
from comparator.store.rows import ComparisonRow
from proxy.config.loader import load
from proxy.demo.installation import Installation
from proxy.demo.summary import wait_for_outcomes
from proxy.serving.routing import compile_routes, match_route
from scorer.api.routes import ROUTES
from scorer.population.rows import KEY, PLAIN
from tests.e2e.systems import installation
from tests.support.matrix import sliced
from tests.support.paths import ROOT
from tests.support.wallet import DOMAIN, WALLET, sign_in, signed

UNROUTED = frozenset({"/health/", "/health", "/health/live", "/health/ready"})
"""Health checks: their responses are about the instance that answers, not about the service."""

SECRET = "the key of the older sign-in, long enough for HS256"
INTERNAL = "abc"
METADATA = [{"id": "Google", "icon": "g.svg", "name": "Google", "description": "", "connectMessage": "", "groups": []}]
MODEL = {"human_probability": 87, "n_transactions": 120}

pytestmark = pytest.mark.asyncio(loop_scope="module")


def routes_of_config() -> dict[str, str | None]:
    """Return the name of the route of each endpoint, None where no route has it."""
    routes = compile_routes(load((ROOT / "config.yaml").read_text(), os.environ).routes)
    return {
        f"{route.method} {route.path}": found.name if found else None
        for route in ROUTES
        for found, _ in [match_route(routes, route.method, re.sub(r"\{[^}]*\}", "1", route.path), lambda _: None)]
    }


async def test_every_endpoint_has_a_route_of_its_own() -> None:
    found = routes_of_config()
    missing = {endpoint.partition(" ")[2] for endpoint, name in found.items() if name is None}
    assert missing == UNROUTED
    paths: dict[str, set[str]] = defaultdict(set)
    for endpoint, name in found.items():
        if name is not None:
            paths[name].add(endpoint.partition(" ")[2])
    assert {name: sorted(one) for name, one in paths.items() if len(one) > 1} == {}


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """Run the services that the scorer calls; yield their base URL."""

    async def metadata(_: web.Request) -> web.Response:
        return web.json_response(METADATA)

    async def model(_: web.Request) -> web.Response:
        return web.json_response({"data": MODEL})

    app = web.Application()
    app.router.add_get("/stampMetadata.json", metadata)
    app.router.add_post("/{model}", model)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def environment(upstream_url: str, *, analytics: bool) -> dict[str, str]:
    """Return the settings of all four scorers."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    models = ("ETHEREUM", "NFT", "ZKSYNC", "POLYGON", "ARBITRUM", "OPTIMISM", "BASE", "AGGREGATE")
    return {
        "FF_API_ANALYTICS": "on" if analytics else "off",
        "CGRANTS_API_TOKEN": INTERNAL,
        "SECRET_KEY": SECRET,
        "ALLOWED_HOSTS": '["127.0.0.1"]',
        "PASSPORT_PUBLIC_URL": upstream_url,
        "SIWE_ALLOWED_DOMAINS_CERAMIC_CACHE": json.dumps([DOMAIN]),
        "SIWE_JWT_PRIVATE_KEY": base64.b64encode(pem).decode(),
        "SIWE_JWT_PUBLIC_KEY": public.decode(),
        **{f"{name}_MODEL_ENDPOINT": f"{upstream_url}{name.lower()}" for name in models},
    }


@dataclass(slots=True)
class Client:
    """Sends one request at a time, and the next one when the last has its verdict.

    The next request of a key within `post_response_wait_ms` would be skipped as `overlapped` on a side that does not name its requests.
    """

    session: aiohttp.ClientSession
    installation: Installation

    async def send(
        self, method: str, path: str, *, status: int = 200, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send a request; return the response's body, which must have this status."""
        async with self.session.request(method, self.installation.url + path, json=body, headers=headers) as response:
            text = await response.text()
        assert response.status == status, f"{method} {path}: {response.status} {text[:300]}"
        await wait_for_outcomes(self.installation)
        return json.loads(text) if text else None


async def visit_every_endpoint(client: Client, address: str, credentials: list[dict[str, Any]]) -> None:
    """Call every endpoint in the order in which people come by: sign in, hand stamps in, be scored, be looked up."""
    keyed, internal = {"X-API-Key": KEY.text}, {"Authorization": INTERNAL}
    claims = {
        "did": f"did:pkh:eip155:1:{address}",
        "iat": 1_704_067_200,
        "exp": 4_102_444_799,
        "jti": "1",
        "token_type": "access",
    }
    own = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}
    providers = [credential["credentialSubject"]["provider"] for credential in credentials]

    nonce = (await client.send("GET", "/account/nonce"))["nonce"]
    token = (await client.send("POST", "/ceramic-cache/authenticate/v2", body=sign_in(nonce)))["access"]
    signer = {"Authorization": f"Bearer {token}"}
    terms = f"/IST/{WALLET.address}"
    message = await client.send("GET", f"/ceramic-cache/tos/message-to-sign{terms}", headers=signer)
    accepted = {"tos_type": "IST", "nonce": message["nonce"], "signature": signed(message["text"])}
    await client.send("POST", f"/ceramic-cache/tos/signed-message{terms}", body=accepted, headers=signer)
    await client.send("GET", f"/ceramic-cache/tos/accepted{terms}", headers=signer)

    stamps = [{"address": address, "provider": p, "stamp": c} for p, c in zip(providers, credentials, strict=True)]
    bulk = "/ceramic-cache/stamps/bulk"
    stored = await client.send("POST", bulk, status=201, body=stamps, headers=own)
    await client.send("PATCH", bulk, body=stamps, headers=own)
    shown = await client.send("GET", f"/ceramic-cache/stamp?address={address}")
    report = [
        {"id": one["id"], "compose_db_save_status": "saved", "compose_db_stream_id": "s"} for one in shown["stamps"]
    ]
    assert stored["stamps"]
    await client.send("PATCH", f"{bulk}/meta/compose-db", body=report, headers=own)
    await client.send("DELETE", bulk, body=[{"provider": providers[0]}], headers=own)
    await client.send("POST", f"/ceramic-cache/score/{address}", body={"alternate_scorer_id": PLAIN.id}, headers=own)
    await client.send("GET", f"/ceramic-cache/score/{address}", headers=own)
    await client.send("GET", "/ceramic-cache/weights")
    await client.send("GET", "/ceramic-cache/stake/gtc", headers=own)

    embedded = {"scorer_id": PLAIN.id, "stamps": credentials}
    await client.send("POST", f"/internal/embed/stamps/{address}", body=embedded, headers=internal)
    await client.send("GET", f"/internal/embed/score/{PLAIN.id}/{address}")
    await client.send("GET", "/internal/embed/config?community_id=1")
    await client.send("GET", "/internal/embed/weights")
    await client.send("GET", "/internal/embed/validate-api-key", headers=keyed)

    score = f"/v2/stamps/{PLAIN.scorer_id}/score/{address}"
    await client.send("GET", score, headers=keyed)
    await client.send("GET", f"{score}/history?created_at=2099-01-01T00:00:00Z", headers=keyed)
    await client.send("GET", f"/v2/stamps/{address}?limit=1", headers=keyed)
    await client.send("GET", f"/registry/stamps/{address}?limit=1", headers=keyed)
    await client.send("GET", "/v2/stamps/metadata", headers=keyed)
    await client.send("GET", f"/v2/models/score/{address}?model=ethereum_activity", headers=keyed)

    await client.send("GET", f"/internal/score/v2/{PLAIN.id}/{address}", headers=internal)
    subject = {"hash": "v0:h", "provider": "Google", "id": f"did:pkh:eip155:1:{address}"}
    await client.send("POST", "/internal/check-bans", body=[{"credentialSubject": subject}], headers=internal)
    await client.send("POST", "/internal/check-revocations", body={"proof_values": ["0x1"]}, headers=internal)
    await client.send("GET", f"/internal/stake/gtc/{address}", headers=internal)
    await client.send("GET", f"/internal/stake/legacy-gtc/{address}/1", headers=internal)
    await client.send("GET", f"/registry/gtc-stake/{address}/1")
    checksummed = WALLET.address
    statistics = f"/internal/cgrants/contributor_statistics?address={checksummed}"
    await client.send("GET", statistics, headers=internal)
    await client.send("GET", f"/internal/allow-list/insiders/{address}", headers=internal)
    await client.send("GET", "/internal/customization/credential/none", status=404, headers=internal)
    await client.send("GET", "/account/customization/credential/none", status=404)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The stored comparisons, and the labels of the exchanges that were skipped."""

    compared: tuple[ComparisonRow, ...]
    skipped: list[str]


async def prepare(running: Installation) -> tuple[str, list[dict[str, Any]]]:
    """Put the terms of service into both databases, and a permission into live; return an address and its credentials."""
    live = await asyncpg.connect(running.addresses.live_dsn)
    shadow = await asyncpg.connect(running.addresses.shadow_dsn)
    try:
        for conn in (live, shadow):
            await conn.execute(
                "INSERT INTO tos_tos (id, created_at, modified_at, type, active, content, final) "
                "VALUES (1, now(), now(), 'IST', true, 'I accept.', true)"
            )
        await live.execute("UPDATE account_accountapikey SET historical_endpoint = true")
        without = "SELECT count(*) FROM account_accountapikey WHERE NOT historical_endpoint"
        async with asyncio.timeout(60):
            while await shadow.fetchval(without):
                await asyncio.sleep(0.1)
        held = await live.fetch("SELECT address, stamp::text FROM ceramic_cache_ceramiccache ORDER BY id")
    finally:
        await live.close()
        await shadow.close()
    by_address: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for address, stamp in held:
        by_address[address].append(json.loads(stamp))
    return max(by_address.items(), key=lambda item: len(item[1]))


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=sliced([("candidate", True), ("legacy", False)], 1),
    ids=lambda one: str(one[0]),
)
async def outcomes(request: pytest.FixtureRequest, postgres_dsn: str) -> AsyncIterator[Outcomes]:
    side, analytics = request.param
    async with (
        upstream() as url,
        installation(
            postgres_dsn,
            addresses=12,
            twin=True,
            environment=environment(url, analytics=analytics),
            serve={"side": side},
            runner={"claim_wait_ms": 8_000},  # a busy machine may take longer than the default
        ) as running,
        aiohttp.ClientSession() as session,
    ):
        address, credentials = await prepare(running)
        await visit_every_endpoint(Client(session, running), address, credentials)
        conn = await asyncpg.connect(running.addresses.store_dsn)
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        rows = await queries.comparisons(conn, since=since, limit=1_000)
        await conn.close()
        async with session.get(f"{running.runner_url}/metrics") as page:
            samples = [
                sample for family in text_string_to_metric_families(await page.text()) for sample in family.samples
            ]
        skipped = [str(one.labels) for one in samples if one.name == "shadow_skipped_total" and one.value]
    yield Outcomes(rows, skipped)


async def test_every_route_is_compared_and_matches(outcomes: Outcomes) -> None:
    assert outcomes.skipped == []
    differing = [
        f"{row.route}: {row.verdict} ({row.cause}) {one.kind} {one.place}: {one.served} {one.mirrored}"
        for row in outcomes.compared
        if row.verdict != "match"
        for one in row.detail.differences
    ]
    assert not differing, "\n".join(differing)
    assert {row.route for row in outcomes.compared} == {name for name in routes_of_config().values() if name}
