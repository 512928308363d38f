"""comparator.findings.redaction: values that nobody wants kept, wherever a comparison has them."""

import json

import pytest

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import Request, Response, Side
from comparator.exchanges.redacted_text import without_tokens
from comparator.findings.redaction import Redactor, keyed_digest

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJkaWQiOiJ4In0.c2lnbmF0dXJl"
DETACHED = "eyJhbGciOiJFZERTQSIsImI2NCI6ZmFsc2V9..c2lnbmF0dXJl"
REDACTOR = Redactor(("x-key", "user.password", "stamp.proof"), keyed_digest(b"salt"))


def request(target: str = "/", body: bytes = b"") -> Request:
    return Request("POST", target, (("X-Key", "secret"), ("X-Other", f"Bearer {TOKEN}")), body)


def test_named_headers_and_tokens_in_others_are_replaced() -> None:
    (_, named), (_, other) = REDACTOR.request(request()).headers
    assert named.startswith("redacted:")
    assert other.startswith("Bearer redacted:")


@pytest.mark.parametrize("target", ["/a?api_key=secret", "/a?x=1&API%5FKEY=secret", f"/a?next={TOKEN}", f"/{TOKEN}/a"])
def test_secrets_of_a_target_are_replaced(target: str) -> None:
    clean = REDACTOR.request(request(target)).target
    assert "redacted:" in clean
    assert "secret" not in clean
    assert TOKEN not in clean


@pytest.mark.parametrize("target", ["/a", "/a?", "/a?x", "/a?x=1&&y=&api_key=", "/a?x=eyJ"])
def test_target_without_secrets_stays_as_it_is(target: str) -> None:
    assert REDACTOR.request(request(target)).target == target


@pytest.mark.parametrize(
    "body",
    [
        b'{"user":{"password":"secret"}}',
        b'{"user":{"password":"secret"},',
        b'{"user":{"password":"x","password":"secret"}}',
        json.dumps({"deep": [{"jwt": TOKEN}]}).encode(),
        f"jwt={TOKEN}&x=1".encode(),
    ],
)
def test_secrets_of_a_body_are_replaced_and_invalid_json_as_a_whole(body: bytes) -> None:
    clean = REDACTOR.request(request(body=body)).body
    assert b"redacted:" in clean
    assert b"secret" not in clean
    assert TOKEN.encode() not in clean


def test_body_that_cannot_be_decoded_is_not_kept() -> None:
    response = REDACTOR.response(Response(200, (("Content-Encoding", "gzip"),), b"not gzip, but secret"))
    assert response.body.startswith(b"redacted:")


@pytest.mark.parametrize("body", [json.dumps({"jws": DETACHED}).encode(), b"<html>eyJ</html>", b""])
def test_body_without_secrets_stays_as_it_is(body: bytes) -> None:
    assert REDACTOR.request(request(body=body)).body == body


@pytest.mark.parametrize(
    "difference",
    [
        Difference(Kind.CHANGED, ("user", "password"), "secret", "secret too"),
        Difference(Kind.MISSING, ("user",), {"password": "secret"}),
        Difference(Kind.HEADER, ("x-key",), "secret", "secret too"),
        Difference(Kind.COLUMN, (), "secret", None, "stamp", (), "proof"),
        Difference(Kind.EXTRA_ROW, (), mirrored={"proof": "secret", "id": "1"}, table="stamp"),
        Difference(Kind.CHANGED, ("access",), f"secret {TOKEN}"[7:], TOKEN),
    ],
)
def test_secrets_of_a_difference_are_replaced(difference: Difference) -> None:
    comparison = Comparison(Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, differences=(difference,))
    [clean] = REDACTOR.comparison(comparison).differences
    assert "redacted:" in f"{clean.served} {clean.mirrored}"
    assert "secret" not in f"{clean.served} {clean.mirrored}"
    assert (clean.kind, clean.place) == (difference.kind, difference.place)


def test_difference_without_secrets_is_the_same_object() -> None:
    difference = Difference(Kind.CHANGED, ("score",), "1", {"a": [DETACHED]})
    assert REDACTOR.difference(difference) is difference


def test_detached_signature_is_not_a_token() -> None:
    assert without_tokens(DETACHED, lambda _: "gone") == DETACHED
