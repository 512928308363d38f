"""The permissions of each kind of token."""

import functools
import hmac
import json
import os
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from proxy.config.rollout import AccessSettings
from proxy.errors import AccessDeniedError
from proxy.rollout.auth import Authorizer, Credentials, Permission, bearer_token
from proxy.rollout.http_api import STATUS

SECRET = "an HS256 secret of more than 32 bytes"
GLASS = "break-me"


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def authorizer_of(access: AccessSettings | None = None, *, token: str = "", now: Clock | None = None) -> Authorizer:
    return Authorizer(access or AccessSettings(jwt_secret=SECRET, break_glass_token=GLASS), token, now=now or Clock())


def signed(*, key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any) -> str:
    values = {"sub": "ann", "role": "operator", "exp": time.time() + 600} | claims
    return jwt.encode(values, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def status(authorizer: Authorizer, token: str, permission: Permission, address: str = "10.0.0.9") -> int:
    with pytest.raises(AccessDeniedError) as caught:
        authorizer.authorize(Credentials(token, address, "eve"), permission)
    return STATUS[type(caught.value)]


def test_actor_is_the_name_in_the_token_not_the_claimed_one() -> None:
    assert authorizer_of().authorize(Credentials(signed(), "10.0.0.1", "bob"), Permission.OPERATE) == "ann"


def test_viewer_may_only_view() -> None:
    access = AccessSettings(jwt_secret=SECRET, protect_reads=True)
    token = signed(role="viewer")
    assert authorizer_of(access).authorize(Credentials(token, ""), Permission.VIEW) == "ann"
    assert status(authorizer_of(access), token, Permission.OPERATE) == 403
    assert status(authorizer_of(access), token, Permission.ROLL_BACK) == 403


def test_role_may_be_in_a_list() -> None:
    assert authorizer_of().authorize(Credentials(signed(role=["viewer", "operator"]), ""), Permission.OPERATE) == "ann"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        signed(key="another secret, also more than 32 bytes long"),
        signed(exp=1),
        jwt.encode({"sub": "ann", "role": "operator"}, SECRET),
        jwt.encode({"sub": "ann", "role": "operator", "exp": time.time() + 60}, "", algorithm="none"),
    ],
    ids=["none", "malformed", "wrong key", "expired", "without expiry", "unsigned"],
)
def test_invalid_token_is_refused(token: str) -> None:
    assert status(authorizer_of(), token, Permission.OPERATE) == 401


def test_token_without_an_actor_is_refused() -> None:
    assert status(authorizer_of(), signed(sub=""), Permission.OPERATE) == 403


def test_issuer_and_audience_are_checked_where_configured() -> None:
    authorizer = authorizer_of(AccessSettings(jwt_secret=SECRET, issuer="us", audience="shadow"))
    assert authorizer.authorize(Credentials(signed(iss="us", aud="shadow"), ""), Permission.OPERATE) == "ann"
    assert status(authorizer, signed(iss="them", aud="shadow"), Permission.OPERATE) == 401
    assert status(authorizer, signed(iss="us", aud="other"), Permission.OPERATE) == 401


def test_break_glass_token_only_rolls_back() -> None:
    assert authorizer_of().authorize(Credentials(GLASS, "10.0.0.1", "bob"), Permission.ROLL_BACK) == "bob (break glass)"
    assert status(authorizer_of(), GLASS, Permission.OPERATE) == 401


def test_right_token_works_however_many_wrong_ones_came_from_its_address() -> None:
    clock = Clock()
    access = AccessSettings(jwt_secret=SECRET, break_glass_token=GLASS, failures_max=3)
    authorizer = authorizer_of(access, token="static", now=clock)
    assert [status(authorizer, "x", Permission.OPERATE) for _ in range(4)] == [401, 401, 401, 429]
    for token in (GLASS, "static", signed()):
        assert authorizer.authorize(Credentials(token, "10.0.0.9"), Permission.ROLL_BACK)
        assert authorizer.recognizes(token)
    assert status(authorizer, "x", Permission.OPERATE, "10.0.0.8") == 401
    clock.seconds = 61.0
    assert status(authorizer, "x", Permission.OPERATE) == 401


def test_admin_token_is_an_operator_with_a_claimed_name() -> None:
    authorizer = authorizer_of(AccessSettings(), token="static")
    assert authorizer.authorize(Credentials("static", "10.0.0.1", "bob"), Permission.OPERATE) == "bob"
    assert status(authorizer, "other", Permission.ROLL_BACK) == 401


def test_every_sender_may_operate_without_credentials_configured() -> None:
    assert authorizer_of(AccessSettings()).authorize(Credentials("", "127.0.0.1"), Permission.OPERATE) == "127.0.0.1"


def test_changed_key_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    path.write_text(key_set(old, "old"))
    authorizer = authorizer_of(AccessSettings(jwks_file=str(path)))
    assert (
        authorizer.authorize(Credentials(signed(key=old, algorithm="EdDSA", kid="old"), ""), Permission.OPERATE)
        == "ann"
    )
    path.write_text(key_set(new, "new-key"))
    token = signed(key=new, algorithm="EdDSA", kid="new-key")
    # (a thread reads, and on a busy machine a request does not wait for its end)
    assert any(authorizer.recognizes(token) for _ in range(1_000))
    assert (
        authorizer.authorize(Credentials(signed(key=new, algorithm="EdDSA", kid="new-key"), ""), Permission.OPERATE)
        == "ann"
    )
    assert status(authorizer, signed(key=old, algorithm="EdDSA", kid="old"), Permission.OPERATE) == 401


def test_key_file_that_hangs_delays_no_second_request(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    key = Ed25519PrivateKey.generate()
    path.write_text(key_set(key, "k"))
    authorizer = authorizer_of(AccessSettings(jwks_file=str(path)))
    token = signed(key=key, algorithm="EdDSA", kid="k")
    assert authorizer.recognizes(token)
    path.unlink()
    # (reading a pipe that has no writer waits, as a network share that is gone does)
    os.mkfifo(path)
    assert [authorizer.recognizes(token) for _ in range(3)] == [True] * 3
    path.write_text("{}")


def test_public_key_is_not_accepted_as_shared_secret(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(key_set(Ed25519PrivateKey.generate(), "k"))
    head, body = (
        encoded(json.dumps(one)) for one in ({"alg": "HS256", "kid": "k"}, {"sub": "eve", "role": "operator"})
    )
    mac = hmac.digest(path.read_bytes(), f"{head}.{body}".encode(), "sha256")
    forged = f"{head}.{body}.{urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert status(authorizer_of(AccessSettings(jwks_file=str(path))), forged, Permission.OPERATE) == 401


def encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def crafted(head: Any, body: Any = None, signature: str = "AAAA") -> str:
    """Return a token with any header: the sender chooses it."""
    return ".".join((encoded(json.dumps(head)), encoded(json.dumps(body or {"sub": "eve"})), signature))


ODD_TOKENS = {
    "RS256 with the id of an EC key": crafted({"alg": "RS256", "kid": "ec"}),
    "PS256 with the id of an EdDSA key": crafted({"alg": "PS256", "kid": "ed"}),
    "ES256 with the id of an RSA key": crafted({"alg": "ES256", "kid": "rsa"}),
    "EdDSA with the id of an RSA key": crafted({"alg": "EdDSA", "kid": "rsa"}),
    "the id of no key": crafted({"alg": "ES256", "kid": "none"}),
    "an id that is a list": crafted({"alg": "ES256", "kid": ["ec"]}),
    "an id that is an object": crafted({"alg": "ES256", "kid": {}}),
    "an algorithm that is a list": crafted({"alg": ["RS256"], "kid": "rsa"}),
    "no algorithm": crafted({"kid": "rsa"}),
    "critical extensions": crafted({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": False}),
    "a header that is no object": crafted([1]),
    "claims that are no object": crafted({"alg": "HS256"}, [1]),
    "deeply nested claims": f"{encoded(json.dumps({'alg': 'HS256'}))}.{encoded('[' * 100_000)}.AAAA",
    "bytes that are not text": b"\xff\xfe.\xff.\xff".decode(errors="surrogateescape"),
    "a lone byte": b"\xff".decode(errors="surrogateescape"),
    "text that is not latin-1": "токен",
    "nulls": "\0.\0.\0",
    "dots": "..",
    "spaces": "a b c",
    "a long one": "a" * 15_000,
}


@pytest.mark.parametrize("token", ODD_TOKENS.values(), ids=ODD_TOKENS)
def test_odd_token_is_refused_and_counted(tmp_path: Path, token: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(key_set_of_all_kinds())
    access = AccessSettings(jwks_file=str(path), jwt_secret=SECRET, break_glass_token=GLASS, failures_max=2)
    authorizer = authorizer_of(access, token="static")
    assert not authorizer.recognizes(token)
    assert [status(authorizer, token, Permission.ROLL_BACK) for _ in range(3)] == [401, 401, 429]


@pytest.mark.parametrize(
    ("field", "token"), [("Bearer x", "x"), ("bearer x", "x"), ("BEARER  x ", "x"), ("Basic x", ""), ("x", "")]
)
def test_bearer_scheme_is_recognized_in_any_case(field: str, token: str) -> None:
    assert bearer_token(field) == token


@functools.cache
def key_set_of_all_kinds() -> str:
    keys = {
        "rsa": (RSAAlgorithm, rsa.generate_private_key(65537, 2048)),
        "ec": (ECAlgorithm, ec.generate_private_key(ec.SECP256R1())),
        "ed": (OKPAlgorithm, Ed25519PrivateKey.generate()),
    }
    jwks = [json.loads(kind.to_jwk(key.public_key())) | {"kid": kid} for kid, (kind, key) in keys.items()]
    return json.dumps({"keys": jwks})


def key_set(key: Ed25519PrivateKey, kid: str) -> str:
    public = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    return json.dumps({"keys": [{**public, "kid": kid, "use": "sig", "alg": "EdDSA"}]})
