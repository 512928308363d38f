"""Answers to browsers and load balancers: preflights, origins, hosts, HEAD."""

import re

import pytest
from yarl import URL

from scorer.api.openapi import OPENAPI_ROUTE
from scorer.api.routes import ROUTES
from tests.support import scoring

ORIGIN = {"Origin": "https://app.example.test"}
REQUESTED = {"Access-Control-Request-Method": "GET"}
ALLOWED_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "authorization", "content-type", "dnt", "origin", "user-agent", "x-csrftoken"),
        *("x-requested-with", "x-api-key"),
    }
)
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "DELETE, GET, OPTIONS, PATCH, POST, PUT",
    "Access-Control-Max-Age": "86400",
}
PATHS = sorted({re.sub(r"\{[^}]*\}", "1", route.path) for route in (*ROUTES, OPENAPI_ROUTE)})


@pytest.fixture
async def client(migrated, world, serve):
    """Serve the hosts of the test client and testserver."""
    return await serve(scoring.settings(migrated, allowed_hosts=("testserver", "127.0.0.1")))


def cors_of(response) -> dict[str, str]:
    return {name: response.headers[name] for name in CORS if name in response.headers}


async def preflight(client, path: str) -> tuple[object, ...]:
    url = URL(path, encoded=True)
    async with client.options(url, headers={**ORIGIN, **REQUESTED}) as response:
        allowed = frozenset(response.headers["Access-Control-Allow-Headers"].split(", "))
        frame = response.headers.get("X-Frame-Options")
        return response.status, await response.text(), cors_of(response), allowed, frame, response.headers["Vary"]


async def test_preflight_of_every_path_is_the_same(client):
    paths = [*PATHS, "/nowhere", "/v2/stamps/1%2F2/score/0x1"]
    answers = {path: await preflight(client, path) for path in paths}
    assert answers == dict.fromkeys(paths, (200, "", CORS, ALLOWED_HEADERS, None, "origin"))


@pytest.mark.parametrize("headers", [{}, {"Origin": ""}])
async def test_preflight_without_origin_allows_nothing(client, headers):
    async with client.options("/v2/stamps/metadata", headers={**headers, **REQUESTED}) as response:
        assert (response.status, cors_of(response)) == (200, {})
        assert "Access-Control-Allow-Headers" not in response.headers


async def test_preflight_to_a_foreign_host_is_answered(client):
    async with client.options("/v2/stamps/metadata", headers={**ORIGIN, **REQUESTED, "Host": "evil"}) as response:
        assert (response.status, cors_of(response)) == (200, CORS)


async def test_options_without_a_requested_method_is_not_a_preflight(client):
    async with client.options("/v2/stamps/metadata", headers=ORIGIN) as response:
        assert (response.status, response.headers["Allow"], cors_of(response)) == (405, "GET", CORS)
        assert response.headers["X-Frame-Options"] == "DENY"


async def test_other_methods_allow_the_origin_only(client):
    async with client.get("/health/", headers=ORIGIN) as response:
        assert cors_of(response) == {"Access-Control-Allow-Origin": "*"}


@pytest.mark.parametrize("host", ["evil", "testserver:abc", "test_server", ""])
async def test_refused_host_is_a_bare_page(client, host: str):
    async with client.get("/health/", headers={"Host": host, **ORIGIN}) as response:
        assert (response.status, "X-Frame-Options" in response.headers) == (400, False)
        assert cors_of(response) == {"Access-Control-Allow-Origin": "*"}


@pytest.mark.parametrize("host", ["testserver", "TestServer.", "testserver.:8000"])
async def test_host_is_taken_in_any_spelling(client, host: str):
    async with client.get("/health/", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET"])
@pytest.mark.parametrize("path", ["/health/", "/health", "/health/live", "/health/ready"])
async def test_health_is_checked_by_any_method_of_a_load_balancer(client, method: str, path: str):
    async with client.request(method, path) as response:
        assert response.status == 200


async def test_custom_credential_is_public(client, world):
    ruleset = {"name": "Badge"}
    await world.conn.execute(
        "INSERT INTO account_customcredentialruleset (id, credential_type, definition, name, provider_id) "
        "VALUES (77, 'DEVEL', '{\"name\": \"Badge\"}', 'Badge', 'Custom#Public')"
    )
    async with client.get("/account/customization/credential/Custom%23Public") as response:
        assert (response.status, await response.json()) == (200, {"ruleset": ruleset})
    async with client.get("/account/customization/credential/none") as response:
        assert (response.status, await response.json()) == (404, {"detail": "Not Found"})
