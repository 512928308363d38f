import base64
import hmac
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from scorer.errors import BearerTokenRefusedError, ScorerSettingsError, UnanswerableError
from scorer.tokens import Tokens

SECRET = "a-secret-key-of-sufficient-length-for-tests"
FAR = 4070908800
NEWER = {"did": "did:pkh:eip155:1:0xAb", "iss": "passport-scorer", "iat": 1704067200, "exp": FAR}
OLDER = {"did": "did:pkh:eip155:1:0xAb", "jti": "1", "token_type": "access", "exp": FAR}


def now() -> datetime:
    return datetime.now(UTC)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hmac_signed(claims: dict, *, key: bytes) -> str:
    text = f"{encoded(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"


@pytest.fixture(scope="module")
def private() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def public(private: str) -> str:
    key = serialization.load_pem_private_key(private.encode(), None).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def tokens(private: str, public: str) -> Tokens:
    return Tokens(public_key=public, private_key=private, secret_key=SECRET, clock=now)


def test_token_of_the_newer_kind_is_read(tokens: Tokens, private: str):
    assert tokens.address_of(jwt.encode(NEWER, private, algorithm="RS256")) == "0xab"


def test_token_of_the_older_kind_is_read(tokens: Tokens):
    assert tokens.address_of(jwt.encode(OLDER, SECRET, algorithm="HS256")) == "0xab"


def test_issued_token_is_read_back(tokens: Tokens):
    assert tokens.address_of(tokens.issue("0xAB", token_id="id")) == "0xab"


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"iss": "someone"}, "Invalid issuer"),
        ({"exp": 1704070800}, "Signature has expired"),
        ({"iat": FAR - 1}, "The token is not yet valid (iat)"),
    ],
)
def test_refusal_names_the_flaw_of_the_newer_kind(tokens: Tokens, private: str, changes: dict, flaw: str):
    with pytest.raises(BearerTokenRefusedError) as caught:
        tokens.address_of(jwt.encode({**NEWER, **changes}, private, algorithm="RS256"))
    assert f"string={flaw!r}" in str(caught.value)


def test_refusal_names_the_flaw_of_the_older_kind(tokens: Tokens):
    claims = {name: value for name, value in OLDER.items() if name != "jti"}
    with pytest.raises(BearerTokenRefusedError, match="Token has no id"):
        tokens.address_of(jwt.encode(claims, SECRET, algorithm="HS256"))


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c", "ü.ü.ü", "e30.e30.e30", "\x00"])
def test_malformed_token_is_refused(tokens: Tokens, token: str):
    with pytest.raises(BearerTokenRefusedError):
        tokens.address_of(token)


def test_public_key_does_not_verify_as_shared_secret(tokens: Tokens, public: str):
    signed = hmac_signed(NEWER, key=public.encode())
    with pytest.raises(BearerTokenRefusedError, match="The specified alg value is not allowed"):
        tokens.address_of(signed)


def test_without_a_public_key_only_the_older_kind_is_tried(private: str):
    older = Tokens(public_key="", private_key="", secret_key=SECRET, clock=now)
    with pytest.raises(BearerTokenRefusedError) as caught:
        older.address_of(jwt.encode(NEWER, private, algorithm="RS256"))
    assert "SIWE_RS256" not in str(caught.value)


def test_without_a_secret_no_older_token_is_taken(public: str):
    newer = Tokens(public_key=public, private_key="", secret_key="", clock=now)
    unsigned = hmac_signed(OLDER, key=b"")
    with pytest.raises(BearerTokenRefusedError):
        newer.address_of(unsigned)


def test_token_without_did_is_unanswerable(tokens: Tokens, private: str):
    with pytest.raises(UnanswerableError):
        tokens.address_of(jwt.encode({"iss": "passport-scorer"}, private, algorithm="RS256"))


@pytest.mark.parametrize("key", ["", "no key at all"])
def test_without_a_private_key_nothing_is_issued(key: str):
    tokens = Tokens(public_key="", private_key=key, secret_key="", clock=now)
    with pytest.raises(ScorerSettingsError, match="SIWE_JWT_PRIVATE_KEY"):
        tokens.issue("0xab", token_id="id")


def test_public_key_that_is_none_is_a_settings_error():
    tokens = Tokens(public_key="no key", private_key="", secret_key="", clock=now)
    with pytest.raises(ScorerSettingsError, match="SIWE_JWT_PUBLIC_KEY"):
        tokens.address_of("a.b.c")
