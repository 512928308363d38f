"""Secrets are found in text, by the name before them and by their looks, and nothing else is changed."""

import time

import pytest

from comparator.exchanges.secret_names import SecretNames
from comparator.exchanges.secret_text import SecretKind, SecretText, is_card_number

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJkaWQiOiJ4In0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc==\n-----END RSA PRIVATE KEY-----"
MULTIPART = '--b\r\nContent-Disposition: form-data; name="{}"\r\nContent-Type: text/plain\r\n\r\n{}\r\n--b--\r\n'

CLEANED = [
    ("a=1&password=hunter2&b=2", "a=1&password=<>&b=2"),
    ("password=hun%20ter2&b=2", "password=<>&b=2"),
    ("user%5Bpassword%5D=hunter2", "user%5Bpassword%5D=<>"),
    ("/reset;token=abc;x=1", "/reset;token=<>;x=1"),
    ("https://h/p?x=1&api_key=k1#top", "https://h/p?x=1&api_key=<>#top"),
    ("next=https%3A%2F%2Fh%2F%3Fapi_key%3Dk1%26x%3D1", "next=https%3A%2F%2Fh%2F%3Fapi_key%3D<>%26x%3D1"),
    ('{"user":{"password": "hun\\"ter2", "id": 1', '{"user":{"password": "<>", "id": 1'),
    ('{"user":{"password":"hunt', '{"user":{"password":"<>'),
    ('"{\\"secret\\":\\"s1\\",\\"x\\":1}"', '"{\\"secret\\":\\"<>\\",\\"x\\":1}"'),
    ("token: abc", "token: <>"),
    ("run --token=abc -x", "run --token=<> -x"),
    ("[password]=abc", "[password]=<>"),
    ("x.y.password=abc", "x.y.password=<>"),
    ("Authorization: Digest username=a, response=b\r\nX: 1", "Authorization: <>\r\nX: 1"),
    ("Cookie: a=b; c=d\r\nX: 1", "Cookie: <>\r\nX: 1"),
    ("<a><Password>hunter2</Password><b>x</b></a>", "<a><Password><></Password><b>x</b></a>"),
    ("<soap:ApiKey t='x'>k1</soap:ApiKey>", "<soap:ApiKey t='x'><></soap:ApiKey>"),
    (f"x {TOKEN} y", "x <> y"),
    (f"key\n{PEM}\nend", "key\n<>\nend"),
    (PEM[:-30], "<>"),
    (PEM.replace("\n", "\\n"), "<>"),
    ("Bearer abc123def", "Bearer <>"),
    ("auth is Basic dXNlcjpwYXNz now", "auth is Basic <> now"),
    ("postgres://u:pa55@db/x", "postgres://u:<>@db/x"),
    ("at ghp_abcdefghijklmnopqrstuv0123 x", "at <> x"),
    ("AKIAIOSFODNN7EXAMPLE", "<>"),
    ("card 4111 1111 1111 1111.", "card <>."),
    ("n=4111111111111111&m=378282246310005", "n=<>&m=<>"),
]
UNCHANGED = [
    "",
    "a=1&b=2",
    "https://h/p?x=1&page_token=abc",
    '{"token_address": "0xabc", "score": 1.5}',
    "password=",
    "password=null",
    "Basic authentication is required",
    "the bearer of this letter",
    "4111111111111112",
    "1700000000000000000",
    "0.4111111111111111",
    "0x4111111111111111",
    "password=redacted:9f86d081884c7d659f86d081884c7d65",
    "postgres://u@db/x",
    "eyJhbGciOiJFZERTQSJ9..c2lnbmF0dXJl",
    "<password></password>",
]


def text_of(*, recognize: bool = True) -> SecretText:
    return SecretText(SecretNames(recognize=recognize), lambda *_: "<>", values=recognize)


@pytest.mark.parametrize(("text", "clean"), CLEANED)
def test_secret_is_replaced_and_the_rest_stays(text: str, clean: str) -> None:
    assert text_of().clean(text) == clean


@pytest.mark.parametrize("text", UNCHANGED)
def test_text_without_secret_is_the_same_object(text: str) -> None:
    assert text_of().clean(text) is text


def test_text_that_was_seen_before_is_judged_alike() -> None:
    texts = [text for text, _ in CLEANED] + list(UNCHANGED)
    seen = text_of()
    assert [seen.clean(text) for text in texts * 2] == [text_of().clean(text) for text in texts] * 2


@pytest.mark.parametrize(("text", "_"), CLEANED)
def test_nothing_is_replaced_where_nothing_is_recognised(text: str, _: str) -> None:
    assert text_of(recognize=False).clean(text) is text


def test_parts_of_a_multipart_body() -> None:
    text = text_of()
    assert text.clean_multipart(MULTIPART.format("password", "hunter2")) == MULTIPART.format("password", "<>")
    assert text.clean_multipart(MULTIPART.format("note", f"x {TOKEN}")) == MULTIPART.format("note", "x <>")
    plain = MULTIPART.format("note", "hello")
    assert text.clean_multipart(plain) is plain


def test_kind_and_name_of_what_was_found() -> None:
    found: list[tuple[str, SecretKind, str]] = []

    def note(value: str, kind: SecretKind, name: str) -> str:
        found.append((value, kind, name))
        return ""

    SecretText(SecretNames(), note).clean(f"api_key=k%31&x={TOKEN} 4111111111111111")
    named = ("k1", SecretKind.NAMED, "api_key")
    assert found == [named, (TOKEN, SecretKind.TOKEN, ""), ("4111111111111111", SecretKind.CARD, "")]


@pytest.mark.parametrize("number", ["4111111111111111", "4111-1111-1111-1111", "378282246310005", "6011111111111117"])
def test_card_numbers(number: str) -> None:
    assert is_card_number(number)


@pytest.mark.parametrize("number", ["4111111111111112", "1111111111111117", "0000000000000000", "4242"])
def test_other_numbers(number: str) -> None:
    assert not is_card_number(number)


@pytest.mark.parametrize(
    "text",
    [
        "password" * 20_000,
        "a-" * 50_000,
        "token=" * 20_000,
        "<a " * 30_000,
        "4" * 100_000,
        "4 " * 50_000,
        "eyJ" * 30_000,
        "Content-Disposition: form-data; name=a\r\n" * 2_000,
        "-----BEGIN PRIVATE KEY-----" * 4_000,
        "bearer " * 20_000,
        "://a:" * 20_000,
        '"\\' * 50_000,
        "a%3D" * 30_000,
        '"password":"' * 10_000,
    ],
    ids=range(14),
)
def test_hostile_text_takes_time_in_proportion(text: str) -> None:
    cleaner = text_of()
    began = time.process_time()
    cleaner.clean(text)
    cleaner.clean_multipart(text)
    # A hang takes minutes; what is linear takes a fraction of a second.
    assert time.process_time() - began < 30
