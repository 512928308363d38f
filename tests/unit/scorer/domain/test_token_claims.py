from datetime import UTC, datetime

import pytest

from scorer.domain.token_claims import bearer_token, did_address, issued_claims, older_claims_flaw, refusal_text

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLDER = {"exp": 4070908800, "jti": "1", "token_type": "access"}


@pytest.mark.parametrize("header", ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c"])
def test_scheme_is_read_in_any_case(header: str):
    assert bearer_token(header) == "a.b.c"


@pytest.mark.parametrize("header", ["Bearer", "bearer "])
def test_scheme_alone_has_an_empty_token(header: str):
    assert bearer_token(header) == ""


@pytest.mark.parametrize("header", [None, "", "a.b.c", "Token a.b.c", "Bearers a.b.c"])
def test_another_scheme_has_no_token(header: str | None):
    assert bearer_token(header) is None


@pytest.mark.parametrize(
    ("claims", "flaw"),
    [
        (OLDER, None),
        ({}, "Token has no 'exp' claim"),
        ({"exp": 1704070800}, "Token 'exp' claim has expired"),
        ({"exp": 4070908800}, "Token has no id"),
        ({"exp": 4070908800, "jti": "1"}, "Token has no type"),
        ({**OLDER, "token_type": "refresh"}, "Token has wrong type"),
    ],
)
def test_older_token_needs_expiry_id_and_type(claims: dict, flaw: str | None):
    assert older_claims_flaw(claims, now=NOW) == flaw


def test_refusal_prints_the_errors_of_both_kinds():
    assert refusal_text("Not enough segments") == (
        "{'detail': ErrorDetail(string='Given token not valid for any token type', code='token_not_valid'), "
        "'code': ErrorDetail(string='token_not_valid', code='token_not_valid'), 'messages': ["
        "{'token_class': ErrorDetail(string='SIWE_RS256', code='token_not_valid'), "
        "'token_type': ErrorDetail(string='access', code='token_not_valid'), "
        "'message': ErrorDetail(string='Not enough segments', code='token_not_valid')}, "
        "{'token_class': ErrorDetail(string='AccessToken', code='token_not_valid'), "
        "'token_type': ErrorDetail(string='access', code='token_not_valid'), "
        "'message': ErrorDetail(string='Token is invalid or expired', code='token_not_valid')}]}"
    )


def test_quotes_are_printed_as_python_prints_them():
    assert """string='Token is missing the "iss" claim'""" in refusal_text('Token is missing the "iss" claim')


def test_without_a_public_key_only_the_older_kind_is_named():
    assert "SIWE_RS256" not in refusal_text(None)


@pytest.mark.parametrize(
    ("did", "address"), [("did:pkh:eip155:1:0xAB", "0xab"), ("0xab", "0xab"), ("did:pkh:eip155:1:nonsense", "nonsense")]
)
def test_address_is_the_last_part_of_the_did(did: str, address: str):
    assert did_address({"did": did}) == address


@pytest.mark.parametrize("claims", [{}, {"did": None}, {"did": 5}])
def test_token_without_did_has_no_address(claims: dict):
    assert did_address(claims) is None


def test_token_is_issued_for_a_week():
    assert issued_claims("0xAB", now=NOW, token_id="id") == {
        "did": "did:pkh:eip155:1:0xab",
        "iat": 1767225600,
        "exp": 1767225600 + 604800,
        "jti": "id",
        "iss": "passport-scorer",
        "token_type": "access",
    }
