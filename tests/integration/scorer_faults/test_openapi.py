"""Requests generated from the scorer's own description cause no unhandled error.

The plain 500 page that the legacy gives by rule is declared in the code (`UnanswerableError` and its like) and leaves no log line; an
unhandled error logs `request_failed`, which the tests look for.
"""

import asyncio
import base64
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import jwt
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import Case

from scorer.api.openapi import OPENAPI_ROUTE, document
from scorer.api.routes import ROUTES
from scorer.db import migrate
from scorer.population import rows as population_rows
from scorer.population.writing import write
from tests.golden.serving import serving, signing_key
from tests.integration.scorer_faults.world import KEY, TOKEN, address, credential, environment, person
from tests.support.postgres import temporary_database

EXAMPLES = 16
START_TIMEOUT_S = 60.0
KNOWN = {"address": address(1), "scorer_id": "1", "round_id": "1"}
NOWHERE = "http://127.0.0.1:9/"
SCHEMA = schemathesis.openapi.from_dict(document((*ROUTES, OPENAPI_ROUTE)))
OPERATIONS = {one.label: one for one in (result.ok() for result in SCHEMA.get_all_operations())}  # pyright: ignore[reportAttributeAccessIssue] (an error here would be one of the document)


@dataclass(slots=True)
class Background:
    """A scorer on a thread of its own, for clients that block."""

    dsn: str
    port: int = 0

    def run(self, ready: threading.Event, stop: threading.Event) -> None:
        """Serve until `stop`."""
        asyncio.run(self._serve(ready, stop))

    async def _serve(self, ready: threading.Event, stop: threading.Event) -> None:
        async with temporary_database(self.dsn) as dsn:
            await _fill(dsn)
            more = {"SIWE_JWT_PUBLIC_KEY": signing_key()[1], "PASSPORT_PUBLIC_URL": NOWHERE}
            async with serving(environment(dsn, **more)) as self.port:
                ready.set()
                await asyncio.to_thread(stop.wait)


async def _fill(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await migrate.migrate(conn)
        people = [person(n, credential(n, "Github"), credential(n, "Ens")) for n in range(1, 4)]
        await write(conn, population_rows.rows(people))
        await conn.execute("UPDATE account_accountapikey SET historical_endpoint = TRUE")
    finally:
        await conn.close()


@pytest.fixture(scope="module")
def base_url(postgres_dsn: str) -> Iterator[str]:
    """Return the URL of the scorer."""
    background = Background(postgres_dsn)
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=background.run, args=(ready, stop), name="scorer")
    thread.start()
    try:
        assert ready.wait(START_TIMEOUT_S)
        yield f"http://127.0.0.1:{background.port}"
    finally:
        stop.set()
        thread.join()


def names_known_to(case: Case) -> dict[str, str]:
    """Path parameters that name what is there."""
    return {name: value for name, value in KNOWN.items() if name in (case.path_parameters or {})}


def credentials_of(operation: schemathesis.APIOperation) -> dict[str, str]:
    """Headers that the operation lets in."""
    [scheme] = [*(name for entry in operation.definition.raw.get("security", []) for name in entry), ""][:1]
    claims = {"did": f"did:pkh:eip155:1:{address(1)}", "iss": "passport-scorer"}
    match scheme:
        case "apiKey":
            return {"X-API-Key": KEY}
        case "internalToken":
            return {"Authorization": TOKEN}
        case "bearer":
            return {"Authorization": f"Bearer {_token(claims)}"}
        case _:
            return {}


def _token(claims: dict[str, str]) -> str:
    return jwt.encode(claims, base64.b64decode(signing_key()[0]), algorithm="RS256")


@pytest.mark.parametrize("label", OPERATIONS)
def test_no_generated_request_finds_an_unhandled_error(
    label: str, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    operation = OPERATIONS[label]
    headers = credentials_of(operation)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy(), known=strategies.booleans())
    def ask(case: Case, known: bool) -> None:
        case.path_parameters = {**(case.path_parameters or {}), **(names_known_to(case) if known else {})}
        response = case.call(base_url=base_url, headers=headers)
        assert response.status_code <= 500
        assert response.headers["x-frame-options"] == ["DENY"]

    with caplog.at_level(logging.ERROR):
        ask()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_description_is_served_as_it_was_used(base_url: str) -> None:
    assert schemathesis.openapi.from_url(f"{base_url}/openapi.json").raw_schema == SCHEMA.raw_schema
