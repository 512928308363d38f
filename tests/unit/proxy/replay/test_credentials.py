"""Replacement of digests and tokens, and refused settings."""

import jwt
import pytest

from comparator.exchanges.model import Request
from proxy.config.replay import ReplaySettings
from proxy.replay.credentials import PLACES_MAX, MissingCredentials, ReplayCredentials, credentials_of
from proxy.replay.errors import CredentialError

DIGEST = "redacted:" + "0" * 32
KEY = "a key of the tests that is long enough"


def recorded(**headers: str) -> Request:
    return Request("GET", f"/x?token={DIGEST}", tuple(headers.items()), b"\xff" + DIGEST.encode())


def test_digests_in_target_and_body_are_replaced_and_other_bytes_kept() -> None:
    result = ReplayCredentials({DIGEST: "v"}).rewrite(recorded(), now_s=0)
    assert (result.request.target, result.request.body, result.replaced) == ("/x?token=v", b"\xffv", 2)


def test_digest_without_a_value_is_kept_and_counted() -> None:
    result = ReplayCredentials({}).rewrite(recorded(), now_s=0)
    assert (result.request, result.unresolved) == (recorded(), 2)


@pytest.mark.parametrize(
    ("name", "value", "places"),
    [
        ("Authorization", "Bearer [REDACTED]", ("header authorization",)),
        ("authorization", "Basic ***", ("header authorization",)),
        ("Cookie", "<removed>", ("header cookie",)),
        ("X-Api-Key", "xxxxxxxx", ("header x-api-key",)),
        ("X-API-Key", f"k={DIGEST}; l={DIGEST}", ("header x-api-key",)),
        ("Authorization", "Bearer redacted-by-name", ()),
        ("Authorization", "", ()),
        ("Accept", "***", ()),
        ("X-Note", "removed", ()),
    ],
)
def test_places_of_missing_credentials_are_named_once(name: str, value: str, places: tuple[str, ...]) -> None:
    request = Request("GET", "/", ((name, value),), b"")
    result = ReplayCredentials({}).with_values(request)
    assert (result.request, result.missing) == (request, places)


def test_digest_in_path_query_and_body_are_places() -> None:
    request = Request("GET", f"/{DIGEST}?k={DIGEST}", (), DIGEST.encode())
    assert ReplayCredentials({}).with_values(request).missing == ("path", "query", "body")
    assert ReplayCredentials({DIGEST: "v"}).with_values(request).missing == ()


def test_digest_with_a_value_of_its_own_precedes_that_of_the_header() -> None:
    credentials = ReplayCredentials({DIGEST: "own"}, headers={"cookie": "any"})
    requests = [Request("GET", "/", (("Cookie", value),), b"") for value in (DIGEST, "redacted:" + "1" * 32, "plain")]
    values = [credentials.with_values(request).request.headers[0][1] for request in requests]
    assert values == ["own", "any", "plain"]


def test_missing_credentials_are_listed_by_route_and_place() -> None:
    missing = MissingCredentials()
    assert missing.lines() == []
    for number in range(30):
        missing.add(f"r{number}", ("query",))
    missing.add("", ())
    assert str(missing) == "30 requests without credentials"
    assert missing.lines()[1] == "       1  r0  query"
    assert missing.lines()[-2] == "  and 10 more places"
    for number in range(5_000):
        missing.add(f"other-{number}", ("query",))
    assert len(missing.places) == PLACES_MAX + 1


def test_tokens_are_unchanged_without_a_key() -> None:
    token = jwt.encode({"exp": 5}, KEY, algorithm="HS256")
    request = Request("GET", "/", (("Authorization", f"Bearer {token}"),), b"")
    assert ReplayCredentials({}).rewrite(request, now_s=9).request == request


def test_token_without_lifetime_gets_the_configured_one_and_keeps_its_key_id() -> None:
    token = jwt.encode({"sub": "s"}, KEY, algorithm="HS256", headers={"kid": "k1"})
    request = Request("GET", "/", (("authorization", f"bearer {token}"),), b"")
    result = ReplayCredentials({}, KEY, lifetime_s=60).rewrite(request, now_s=4_000_000_000)
    fresh = result.request.headers[0][1].partition(" ")[2]
    assert jwt.decode(fresh, KEY, algorithms=["HS256"]) == {"sub": "s", "exp": 4_000_000_060}
    assert jwt.get_unverified_header(fresh)["kid"] == "k1"


def test_text_that_is_not_a_token_is_unchanged() -> None:
    request = Request("GET", "/", (("Authorization", "Bearer opaque"),), b"")
    assert ReplayCredentials({}, KEY).rewrite(request, now_s=0).request == request


@pytest.mark.parametrize(
    "settings",
    [
        ReplaySettings(credentials={DIGEST: "NOT_SET"}),
        ReplaySettings(credentials={"key": "SET"}),
        ReplaySettings(jwt_key="NO"),
        ReplaySettings(headers={"Cookie": "NO"}),
    ],
)
def test_missing_variables_and_malformed_digests_are_refused(settings: ReplaySettings) -> None:
    with pytest.raises(CredentialError):
        credentials_of(settings, {"SET": "v"})
