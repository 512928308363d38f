"""Names of secrets are recognised by their meaning."""

import pytest

from comparator.exchanges.secret_names import (
    NAME_MAX,
    NAMES_MAX,
    Certainty,
    SecretNames,
    certainty_of,
    looks_random,
    words_of,
)

SURE = [
    "X_Api_Key",
    "Api-Key",
    "apiKey",
    "APIKey",
    "api%5Fkey",
    "X-Api-Key",
    "x-access-token",
    "X-Auth-Token",
    "access_token",
    "refreshToken",
    "id_token",
    "password",
    "passwd",
    "PWD",
    "userPassword1",
    "user[password]",
    "password_hash",
    "passphrase",
    "client_secret",
    "secret",
    "webhook_secret",
    "private_key",
    "privateKeyPem",
    "Cookie",
    "Set-Cookie",
    "Authorization",
    "Proxy-Authorization",
    "X-Forwarded-Authorization",
    "session_id",
    "JSESSIONID",
    "PHPSESSID",
    "X-CSRF-Token",
    "csrfmiddlewaretoken",
    "AWS_SECRET_ACCESS_KEY",
    "X-Amz-Security-Token",
    "card_number",
    "cvv",
    "cvv2",
    "otp",
    "user_pin",
    "ssn",
    "connectionString",
    "Ocp-Apim-Subscription-Key",
    "x-functions-key",
    "backup_codes",
]
LIKELY = ["token", "Token", "X-Vault-Token", "device_token", "credential", "credentials", "db_pass", "X-Auth"]
POSSIBLE = ["key", "sid", "code", "X-Amz-Signature", "sig", "tokens", "session", "nonce"]
NONE = [
    "token_type",
    "token_address",
    "tokenId",
    "next_page_token",
    "password_changed_at",
    "access_token_expires_at",
    "token_url",
    "apikey_name",
    "public_key",
    "primary_key",
    "Idempotency-Key",
    "Sec-WebSocket-Key",
    "WWW-Authenticate",
    "address",
    "score",
    "passport",
    "stamps",
    "Content-Type",
    "X-Request-Id",
    "traceparent",
    "ETag",
    "compass",
    "monkey",
    "keyboard",
    "secretary",
    "123",
    "-",
    "é",
]


@pytest.mark.parametrize(
    ("name", "certainty"),
    [(name, level) for level, names in zip(Certainty, (NONE, POSSIBLE, LIKELY, SURE), strict=True) for name in names],
)
def test_certainty_of_a_name(name: str, certainty: Certainty) -> None:
    assert certainty_of(name) is certainty


@pytest.mark.parametrize("name", ["my-key-ring", "My_Key_Ring", "myKeyRing", "MY_KEY_RING", "my%5Fkey%2Dring"])
def test_declared_name_is_sure_in_every_notation(name: str) -> None:
    assert SecretNames(("my_key_ring",))[name] is Certainty.SURE


def test_exempt_name_is_no_secret_and_a_declared_one_is_in_spite_of_it() -> None:
    names = SecretNames(("password",), ("Token", "password"))
    assert not names.is_secret("token", "abc")
    assert names.is_exempt("TOKEN")
    assert names.is_secret("password", "abc")


def test_only_declared_names_count_where_names_are_not_recognised() -> None:
    names = SecretNames(("x-key",), recognize=False)
    assert names.is_secret("X_Key", "a")
    assert not names.is_secret("password", "a")


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("password", {"old": "x"}, True),
        ("password", "", False),
        ("password", None, False),
        ("password", True, False),
        ("token", "abc", True),
        ("token", 7, True),
        ("token", {"symbol": "ETH"}, False),
        ("key", "0x8bec73369d1fb96f3a2b1c0d9e8f7a6b5c4d3e2f", False),
        ("key", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", False),
        ("key", "Zm9vYmFyMTIzNDU2Nzg5MA", True),
        ("code", "insufficient_funds", False),
        ("code", "2024-01-01T00:00:00", False),
    ],
)
def test_value_decides_under_names_that_are_not_sure(name: str, value: object, secret: bool) -> None:
    assert SecretNames().is_secret(name, value) is secret


@pytest.mark.parametrize("text", ["aaaaaaaaaaaaaaaaaaaa1", "short1", "a sentence of 4 words", "12345678901234567890"])
def test_text_that_does_not_look_random(text: str) -> None:
    assert not looks_random(text)


def test_memory_of_names_is_bounded() -> None:
    names = SecretNames()
    assert all(names[f"name-{number}"] is Certainty.NONE for number in range(NAMES_MAX + 10))
    assert len(names) <= NAMES_MAX
    assert names["password-" + "x" * NAME_MAX] is Certainty.SURE
    assert all(len(name) <= NAME_MAX for name in names)


def test_words_of_a_name() -> None:
    assert words_of("HTTPApiKey-v2") == ("http", "api", "key", "v", "2")
