"""Sessions: sealed cookies, roles, and tokens that stop being accepted."""

import time
from typing import Any

import jwt
import pytest

from proxy.config.listen import AdminSettings
from proxy.config.rollout import AccessSettings, RolloutSettings
from proxy.config.settings import Settings
from proxy.errors import AccessDeniedError, ForbiddenError
from proxy.rollout.auth import AccessRole, Authorizer
from proxy.ui.sessions import Sessions, session_key

SECRET = "s" * 32
NOW = 1_800_000_000.0


def sessions(access: AccessSettings, *, admin_token: str = "", now: float = NOW, key: bytes = b"k" * 32) -> Sessions:
    authorizer = Authorizer(access, admin_token, now=time.monotonic)
    return Sessions(authorizer, key=key, lifetime_s=60.0, default_name="root", now=lambda: now)


def token(**claims: Any) -> str:
    return jwt.encode({"exp": time.time() + 60, **claims}, SECRET, algorithm="HS256")


def test_admin_token_signs_in_an_operator_with_the_given_name() -> None:
    given = sessions(AccessSettings(), admin_token="secret")
    session = given.open(given.sign_in("secret", " ada ", "1.2.3.4"), "1.2.3.4")
    assert session is not None
    assert (session.name, session.role, session.token) == ("ada", AccessRole.OPERATOR, "secret")


@pytest.mark.parametrize(
    ("role", "expected"), [("viewer", AccessRole.VIEWER), (["x", "operator"], AccessRole.OPERATOR)]
)
def test_jwt_signs_in_its_person_with_its_role(role: object, expected: AccessRole) -> None:
    given = sessions(AccessSettings(jwt_secret=SECRET))
    session = given.open(given.sign_in(token(sub="ada", role=role), "other name", ""), "")
    assert session is not None
    assert (session.name, session.role) == ("ada", expected)


@pytest.mark.parametrize("claims", [{"sub": "ada"}, {"sub": "ada", "role": "admin"}, {"role": "viewer"}])
def test_jwt_without_a_role_or_a_name_is_refused(claims: dict[str, str]) -> None:
    with pytest.raises(ForbiddenError):
        sessions(AccessSettings(jwt_secret=SECRET)).sign_in(token(**claims), "", "")


@pytest.mark.parametrize("wrong", ["", "guess", token(sub="ada", role="viewer", exp=1.0)])
def test_wrong_token_is_refused(wrong: str) -> None:
    with pytest.raises(AccessDeniedError):
        sessions(AccessSettings(jwt_secret=SECRET), admin_token="secret").sign_in(wrong, "", "")


def test_cookie_of_another_key_or_from_long_ago_is_no_session() -> None:
    given = sessions(AccessSettings(), admin_token="secret")
    cookie = given.sign_in("secret", "", "")
    assert sessions(AccessSettings(), admin_token="secret", key=b"x" * 32).open(cookie, "") is None
    assert sessions(AccessSettings(), admin_token="secret", now=NOW + 61).open(cookie, "") is None
    assert given.open(cookie[:-4] + "AAAA", "") is None
    assert given.open("é", "") is None


def test_cookie_whose_token_was_changed_is_no_session() -> None:
    cookie = sessions(AccessSettings(), admin_token="secret").sign_in("secret", "", "")
    assert sessions(AccessSettings(), admin_token="another").open(cookie, "") is None


def test_cookie_does_not_show_the_token() -> None:
    assert "secret" not in sessions(AccessSettings(), admin_token="secret").sign_in("secret", "", "")


def test_every_one_is_an_operator_where_nothing_is_configured() -> None:
    given = sessions(AccessSettings())
    session = given.open(given.sign_in("", "", ""), "")
    assert given.open_to_all
    assert session is not None
    assert (session.name, session.may_operate) == ("root", True)


def test_two_sessions_have_different_form_tokens() -> None:
    given = sessions(AccessSettings())
    first, second = (given.open(given.sign_in("", "", ""), "") for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.form_token != second.form_token


def test_key_depends_on_the_secrets_only() -> None:
    configured = Settings(
        admin=AdminSettings(token="a"), rollout=RolloutSettings(access=AccessSettings(jwt_secret="b"))
    )
    other = Settings(admin=AdminSettings(token="a"))
    assert session_key(configured) == session_key(configured)
    assert session_key(configured) != session_key(other)
    assert session_key(Settings()) != session_key(Settings())
