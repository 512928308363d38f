"""Who may do what with which token."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from proxy.config.rollout import AccessSettings
from proxy.errors import AccessDeniedError
from proxy.rollout.auth import Authorizer, Credentials, Permission

SECRET = "an HS256 secret of more than 32 bytes"
GLASS = "break-me"


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def guard(access: AccessSettings | None = None, *, token: str = "", now: Clock | None = None) -> Authorizer:
    return Authorizer(access or AccessSettings(jwt_secret=SECRET, break_glass_token=GLASS), token, now=now or Clock())


def signed(*, key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any) -> str:
    values = {"sub": "ann", "role": "operator", "exp": time.time() + 600} | claims
    return jwt.encode(values, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def status(checked: Authorizer, token: str, need: Permission, address: str = "10.0.0.9") -> int:
    with pytest.raises(AccessDeniedError) as caught:
        checked.authorize(Credentials(token, address, "eve"), need)
    return caught.value.status


def test_an_operator_is_known_by_the_token_and_not_by_what_it_claims() -> None:
    assert guard().authorize(Credentials(signed(), "10.0.0.1", "bob"), Permission.OPERATE) == "ann"


def test_a_viewer_may_look_and_not_touch() -> None:
    access = AccessSettings(jwt_secret=SECRET, protect_reads=True)
    token = signed(role="viewer")
    assert guard(access).authorize(Credentials(token, ""), Permission.VIEW) == "ann"
    assert status(guard(access), token, Permission.OPERATE) == 403
    assert status(guard(access), token, Permission.ROLL_BACK) == 403


def test_a_role_may_stand_in_a_list() -> None:
    assert guard().authorize(Credentials(signed(role=["viewer", "operator"]), ""), Permission.OPERATE) == "ann"


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
def test_a_token_that_does_not_hold_is_refused(token: str) -> None:
    assert status(guard(), token, Permission.OPERATE) == 401


def test_a_token_that_names_nobody_is_refused() -> None:
    assert status(guard(), signed(sub=""), Permission.OPERATE) == 403


def test_issuer_and_audience_are_checked_where_they_are_set() -> None:
    checked = guard(AccessSettings(jwt_secret=SECRET, issuer="us", audience="shadow"))
    assert checked.authorize(Credentials(signed(iss="us", aud="shadow"), ""), Permission.OPERATE) == "ann"
    assert status(checked, signed(iss="them", aud="shadow"), Permission.OPERATE) == 401
    assert status(checked, signed(iss="us", aud="other"), Permission.OPERATE) == 401


def test_the_break_glass_token_rolls_back_and_does_nothing_else() -> None:
    assert guard().authorize(Credentials(GLASS, "10.0.0.1", "bob"), Permission.ROLL_BACK) == "bob (break glass)"
    assert status(guard(), GLASS, Permission.OPERATE) == 401


def test_guessing_is_refused_without_a_look_and_break_glass_still_works() -> None:
    clock = Clock()
    checked = guard(AccessSettings(jwt_secret=SECRET, break_glass_token=GLASS, failures_max=3), now=clock)
    assert [status(checked, "x", Permission.OPERATE) for _ in range(4)] == [401, 401, 401, 429]
    assert status(checked, signed(), Permission.OPERATE) == 429
    assert checked.authorize(Credentials(GLASS, "10.0.0.9"), Permission.ROLL_BACK)
    assert checked.authorize(Credentials(signed(), "10.0.0.8"), Permission.OPERATE) == "ann"
    clock.seconds = 61.0
    assert checked.authorize(Credentials(signed(), "10.0.0.9"), Permission.OPERATE) == "ann"


def test_the_admin_token_is_an_operator_who_says_his_name() -> None:
    checked = guard(AccessSettings(), token="static")
    assert checked.authorize(Credentials("static", "10.0.0.1", "bob"), Permission.OPERATE) == "bob"
    assert status(checked, "other", Permission.ROLL_BACK) == 401


def test_with_nothing_configured_whoever_reaches_the_port_may() -> None:
    assert guard(AccessSettings()).authorize(Credentials("", "127.0.0.1"), Permission.OPERATE) == "127.0.0.1"


def test_public_keys_come_from_a_file_that_may_change(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    path.write_text(key_set(old, "old"))
    checked = guard(AccessSettings(jwks_file=str(path)))
    assert checked.authorize(Credentials(signed(key=old, algorithm="EdDSA", kid="old"), ""), Permission.OPERATE) == "ann"
    path.write_text(key_set(new, "new-key"))
    assert (
        checked.authorize(Credentials(signed(key=new, algorithm="EdDSA", kid="new-key"), ""), Permission.OPERATE) == "ann"
    )
    assert status(checked, signed(key=old, algorithm="EdDSA", kid="old"), Permission.OPERATE) == 401


def test_a_public_key_is_never_taken_for_a_shared_secret(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(key_set(Ed25519PrivateKey.generate(), "k"))
    head, body = (part(json.dumps(one)) for one in ({"alg": "HS256", "kid": "k"}, {"sub": "eve", "role": "operator"}))
    mac = hmac.digest(path.read_bytes(), f"{head}.{body}".encode(), "sha256")
    forged = f"{head}.{body}.{urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert status(guard(AccessSettings(jwks_file=str(path))), forged, Permission.OPERATE) == 401


def part(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def key_set(key: Ed25519PrivateKey, kid: str) -> str:
    public = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    return json.dumps({"keys": [{**public, "kid": kid, "use": "sig", "alg": "EdDSA"}]})
