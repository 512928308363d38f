"""Route and key of a request, and the policy that decides whether it is mirrored."""

from base64 import urlsafe_b64encode

import pytest

from comparator.exchanges.skip import Skip, journaled
from proxy.config.routes import MirrorPolicy, RouteSettings, WritePolicy
from proxy.errors import SettingsError
from proxy.serving.routing import Route, compile_routes, key_from_body, match_route, policy_skip

METHODS = ("GET", "HEAD", "POST")
SCORE = RouteSettings(name="score", path="/v2/stamps/{id}/score/{address}", key="address")


def match(settings: RouteSettings, target: str, *, method: str = "GET", **fields: str) -> tuple[str, str]:
    route, key = match_route(compile_routes([settings]), method, target, fields.get)
    return (route.name if route else "", key)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v2/stamps/3/score/0xAb", ("score", "0xab")),
        ("/v2/stamps/3/score/0xAb?x=/", ("score", "0xab")),
        ("/v2/stamps/3/score/%30xab", ("score", "0xab")),
        ("/v2/stamps/3/score/a/b", ("", "")),
        ("/v2/stamps/3/score/", ("", "")),
        ("/v2/stamps/3/score/a/", ("", "")),
        ("//v2/stamps/3/score/a", ("", "")),
    ],
)
def test_path_determines_route_and_key(target: str, expected: tuple[str, str]) -> None:
    assert match(SCORE, target) == expected


def test_route_without_methods_matches_any() -> None:
    assert match(SCORE, "/v2/stamps/3/score/a", method="POST") == ("score", "a")
    assert match(SCORE, "/v2/stamps/3/score/a", method="PROPFIND") == ("score", "a")


def test_methods_are_part_of_the_route() -> None:
    reads = RouteSettings(name="reads", path="/a", methods=("get", "HEAD"))
    routes = compile_routes([reads, RouteSettings(name="others", path="/a")])
    names = [found.name if found else "" for found, _ in (match_route(routes, m, "/a", {}.get) for m in METHODS)]
    assert names == ["reads", "reads", "others"]
    assert match(reads, "/a", method="POST") == ("", "")


def test_path_parameter_matches_slashes() -> None:
    assert match(RouteSettings(name="all", path="/files/{rest:path}", key="rest"), "/files/a/b") == ("all", "a/b")


def test_characters_of_a_template_are_literal() -> None:
    assert match(RouteSettings(name="dot", path="/a.b"), "/axb") == ("", "")


def test_header_can_be_the_key() -> None:
    fields = {"x-tenant": "T1"}
    assert (
        match_route(compile_routes([RouteSettings(name="t", path="/", key="header:X-Tenant")]), "GET", "/", fields.get)[
            1
        ]
        == "t1"
    )


@pytest.mark.parametrize(
    ("query", "key"),
    [("address=0xAb", "0xab"), ("x=1&address=0xA&address=0x%42", "0xb"), ("Address=1", ""), ("", "")],
)
def test_query_parameter_can_be_the_key(query: str, key: str) -> None:
    assert match(RouteSettings(name="q", path="/", key="query:address"), f"/?{query}") == ("q", key)


def token(claims: bytes) -> str:
    return "e30." + urlsafe_b64encode(claims).decode().rstrip("=") + ".c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        ("Bearer " + token(b'{"did":"did:pkh:eip155:1:0xAb"}'), "0xab"),
        ("bearer " + token(b'{"did":"0xAb"}'), "0xab"),
        ("Bearer " + token(b'{"did":7}'), ""),
        ("Bearer " + token(b'{"sub":"0xAb"}'), ""),
        ("Bearer " + token(b'["did"]'), ""),
        ("Bearer " + token(b"[" * 100_000), ""),
        ("Bearer " + token(b"\xff"), ""),
        ("Bearer e30.!.x", ""),
        ("Bearer e30.é.x", ""),
        ("Bearer e30", ""),
        ("Basic " + token(b'{"did":"0xAb"}'), ""),
        ("", ""),
    ],
)
def test_claim_of_the_bearer_token_can_be_the_key(authorization: str, key: str) -> None:
    settings = RouteSettings(name="t", path="/", key="jwt:did")
    assert match(settings, "/", authorization=authorization) == ("t", key)


@pytest.mark.parametrize("key", ["jwt:", "cookie:sid", "address"])
def test_malformed_key_is_refused_with_its_location(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^routes\[0\] \(\w+\)\.key: "):
        compile_routes([RouteSettings(name="t", path="/", key=key)])


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"user":{"address":"0xAB"}}', "0xab"),
        (b'{"user":{"address":7}}', "7"),
        (b'{"user":{"address":true}}', ""),
        (b'{"user":[]}', ""),
        (b"[" * 100_000, ""),
        (b"nonsense", ""),
        (b"", ""),
    ],
)
def test_member_of_the_body_can_be_the_key(body: bytes, key: str) -> None:
    [route] = compile_routes([RouteSettings(name="b", path="/", key="json:user.address")])
    assert key_from_body(route, body) == key


def route(**changes: object) -> Route:
    return compile_routes([RouteSettings(name="r", path="/", **changes)])[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("matched", "method", "fields", "expected"),
    [
        (route(), "GET", {}, None),
        (route(), "POST", {}, None),
        (route(mirror=MirrorPolicy.SKIP), "GET", {}, Skip.POLICY),
        (route(writes=WritePolicy.SKIP), "GET", {}, None),
        (route(writes=WritePolicy.SKIP), "POST", {}, Skip.WRITE),
        (route(writes=WritePolicy.IDEMPOTENT), "POST", {}, Skip.WRITE),
        (route(writes=WritePolicy.IDEMPOTENT), "POST", {"idempotency-key": "k"}, None),
        (route(sample=0.5), "GET", {}, Skip.SAMPLE),
        (None, "GET", {}, Skip.UNROUTED),
    ],
)
def test_policy_decides_what_is_mirrored(
    matched: Route | None, method: str, fields: dict[str, str], expected: Skip | None
) -> None:
    assert policy_skip(matched, method, fields.get, shadow=False, bucket=5000) == expected


def test_shadow_mark_takes_precedence() -> None:
    assert policy_skip(None, "GET", {}.get, shadow=True, bucket=0) is Skip.SHADOW


def test_only_replayable_exchanges_are_journaled() -> None:
    skips = {skip for skip in Skip if journaled(skip)}
    assert skips == {Skip.POLICY, Skip.WRITE, Skip.TRUNCATED, Skip.FALLBACK, Skip.RETRIED, Skip.RATE_LIMITED}
    assert journaled(None)
