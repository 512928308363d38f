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

from proxy.config.rollout import Access
from proxy.errors import AccessError
from proxy.rollout.auth import Guard, Need, Presented

SECRET = "an HS256 secret of more than 32 bytes"
GLASS = "break-me"


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def guard(access: Access | None = None, *, token: str = "", now: Clock | None = None) -> Guard:
    return Guard(access or Access(jwt_secret=SECRET, break_glass_token=GLASS), token, now=now or Clock())


def signed(*, key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any) -> str:
    values = {"sub": "ann", "role": "operator", "exp": time.time() + 600} | claims
    return jwt.encode(values, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def status(checked: Guard, token: str, need: Need, address: str = "10.0.0.9") -> int:
    with pytest.raises(AccessError) as caught:
        checked.check(Presented(token, address, "eve"), need)
    return caught.value.status


def test_an_operator_is_known_by_the_token_and_not_by_what_it_claims() -> None:
    assert guard().check(Presented(signed(), "10.0.0.1", "bob"), Need.OPERATE) == "ann"


def test_a_viewer_may_look_and_not_touch() -> None:
    access = Access(jwt_secret=SECRET, protect_reads=True)
    token = signed(role="viewer")
    assert guard(access).check(Presented(token, ""), Need.VIEW) == "ann"
    assert status(guard(access), token, Need.OPERATE) == 403
    assert status(guard(access), token, Need.ROLL_BACK) == 403


def test_a_role_may_stand_in_a_list() -> None:
    assert guard().check(Presented(signed(role=["viewer", "operator"]), ""), Need.OPERATE) == "ann"


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
    assert status(guard(), token, Need.OPERATE) == 401


def test_a_token_that_names_nobody_is_refused() -> None:
    assert status(guard(), signed(sub=""), Need.OPERATE) == 403


def test_issuer_and_audience_are_checked_where_they_are_set() -> None:
    checked = guard(Access(jwt_secret=SECRET, issuer="us", audience="shadow"))
    assert checked.check(Presented(signed(iss="us", aud="shadow"), ""), Need.OPERATE) == "ann"
    assert status(checked, signed(iss="them", aud="shadow"), Need.OPERATE) == 401
    assert status(checked, signed(iss="us", aud="other"), Need.OPERATE) == 401


def test_the_break_glass_token_rolls_back_and_does_nothing_else() -> None:
    assert guard().check(Presented(GLASS, "10.0.0.1", "bob"), Need.ROLL_BACK) == "bob (break glass)"
    assert status(guard(), GLASS, Need.OPERATE) == 401


def test_guessing_is_refused_without_a_look_and_break_glass_still_works() -> None:
    clock = Clock()
    checked = guard(Access(jwt_secret=SECRET, break_glass_token=GLASS, failures_max=3), now=clock)
    assert [status(checked, "x", Need.OPERATE) for _ in range(4)] == [401, 401, 401, 429]
    assert status(checked, signed(), Need.OPERATE) == 429
    assert checked.check(Presented(GLASS, "10.0.0.9"), Need.ROLL_BACK)
    assert checked.check(Presented(signed(), "10.0.0.8"), Need.OPERATE) == "ann"
    clock.seconds = 61.0
    assert checked.check(Presented(signed(), "10.0.0.9"), Need.OPERATE) == "ann"


def test_the_admin_token_is_an_operator_who_says_his_name() -> None:
    checked = guard(Access(), token="static")
    assert checked.check(Presented("static", "10.0.0.1", "bob"), Need.OPERATE) == "bob"
    assert status(checked, "other", Need.ROLL_BACK) == 401


def test_with_nothing_configured_whoever_reaches_the_port_may() -> None:
    assert guard(Access()).check(Presented("", "127.0.0.1"), Need.OPERATE) == "127.0.0.1"


def test_public_keys_come_from_a_file_that_may_change(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    path.write_text(key_set(old, "old"))
    checked = guard(Access(jwks_file=str(path)))
    assert checked.check(Presented(signed(key=old, algorithm="EdDSA", kid="old"), ""), Need.OPERATE) == "ann"
    path.write_text(key_set(new, "new-key"))
    assert checked.check(Presented(signed(key=new, algorithm="EdDSA", kid="new-key"), ""), Need.OPERATE) == "ann"
    assert status(checked, signed(key=old, algorithm="EdDSA", kid="old"), Need.OPERATE) == 401


def test_a_public_key_is_never_taken_for_a_shared_secret(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(key_set(Ed25519PrivateKey.generate(), "k"))
    head, body = (part(json.dumps(one)) for one in ({"alg": "HS256", "kid": "k"}, {"sub": "eve", "role": "operator"}))
    mac = hmac.digest(path.read_bytes(), f"{head}.{body}".encode(), "sha256")
    forged = f"{head}.{body}.{urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert status(guard(Access(jwks_file=str(path))), forged, Need.OPERATE) == 401


def part(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def key_set(key: Ed25519PrivateKey, kid: str) -> str:
    public = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    return json.dumps({"keys": [{**public, "kid": kid, "use": "sig", "alg": "EdDSA"}]})
