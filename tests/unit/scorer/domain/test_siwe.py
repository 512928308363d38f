from datetime import UTC, datetime
from typing import Any

import pytest

from scorer.domain.siwe import domain_allowed, parse_address, parse_message, still_valid

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
FIELDS = {
    "domain": "app.example.test",
    "address": ADDRESS,
    "statement": "Sign in",
    "uri": "https://app.example.test/login",
    "version": "1",
    "chainId": 1,
    "nonce": "abcdefgh1",
    "issuedAt": "2024-01-01T00:00:00.000Z",
}


def text(**changes: Any) -> str:
    return parse_message({**FIELDS, **changes}, address=ADDRESS).text()


def test_text_follows_the_standard():
    assert text() == (
        "app.example.test wants you to sign in with your Ethereum account:\n"
        f"{ADDRESS}\n"
        "\n"
        "Sign in\n"
        "\n"
        "URI: https://app.example.test/login\n"
        "Version: 1\n"
        "Chain ID: 1\n"
        "Nonce: abcdefgh1\n"
        "Issued At: 2024-01-01T00:00:00.000Z"
    )


def test_without_statement_its_line_stays_empty():
    assert f"{ADDRESS}\n\n\nURI:" in text(statement=None)


def test_optional_fields_follow_in_the_order_of_the_standard():
    message = text(
        expirationTime="2099-01-01T00:00:00Z",
        notBefore="2024-01-01T00:00:00Z",
        requestId="r",
        resources=["https://a.example"],
    )
    assert message.endswith(
        "\nExpiration Time: 2099-01-01T00:00:00Z\nNot Before: 2024-01-01T00:00:00Z\nRequest ID: r\nResources:\n- https://a.example"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "2"},
        {"version": 1},
        {"domain": None},
        {"domain": "a/b"},
        {"uri": "nothing"},
        {"uri": ""},
        {"chainId": -1},
        {"chainId": "one"},
        {"chainId": 1.5},
        {"chainId": None},
        {"uri": "https://"},
        {"uri": "https://two words/"},
        {"uri": 5},
        {"nonce": "short"},
        {"issuedAt": "yesterday"},
        {"issuedAt": None},
        {"statement": "two\nlines"},
        {"notBefore": "soon"},
        {"requestId": 5},
        {"resources": "https://a.example"},
        {"resources": [1]},
    ],
)
def test_field_of_another_form_is_refused(changes: dict):
    with pytest.raises(ValueError):
        text(**changes)


@pytest.mark.parametrize(("chain", "shown"), [(10, 10), ("10", 10), (10.0, 10), (0, 1)])
def test_whole_number_of_any_type_names_the_chain(chain: Any, shown: int):
    assert f"\nChain ID: {shown}\n" in text(chainId=chain)


@pytest.mark.parametrize("moment", ["2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00:00.123456+02:00"])
def test_time_is_shown_as_it_was_written(moment: str):
    assert text(issuedAt=moment).endswith(f"\nIssued At: {moment}")


@pytest.mark.parametrize("domain", ["app.example.test", "APP.example.test"])
def test_listed_domain_is_allowed_in_any_case(domain: str):
    assert domain_allowed(domain, ["App.example.test"])


@pytest.mark.parametrize("domain", ["evil.example", "", None, 0, False, [], {}])
def test_other_domains_are_not(domain: Any):
    assert not domain_allowed(domain, ["app.example.test"])


def test_empty_list_refuses_all():
    assert not domain_allowed("app.example.test", [])


@pytest.mark.parametrize("fields", [{}, {"expirationTime": None}, {"expirationTime": "2026-01-01T00:00:01Z"}])
def test_message_without_expiry_or_before_it_is_valid(fields: dict):
    assert still_valid(fields, now=NOW)


@pytest.mark.parametrize("value", ["", "garbage", "2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 5])
def test_expired_or_unreadable_one_is_not(value: Any):
    assert not still_valid({"expirationTime": value}, now=NOW)


@pytest.mark.parametrize("domain", [5, True, 1.5, ["app.example.test"], {"a": 1}])
def test_domain_that_is_not_a_text_is_an_error_of_its_own(domain: Any):
    with pytest.raises(TypeError):
        domain_allowed(domain, ["app.example.test"])


@pytest.mark.parametrize(
    "value",
    ["2099-01-01", "2099-W01-1", "2099-01-01T00:00:00", "2099-01-01 00:00", "20990101", 4_102_444_800, True, [], {}],
)
def test_expiry_without_an_offset_counts_as_expired(value: Any):
    assert not still_valid({"expirationTime": value}, now=NOW)


@pytest.mark.parametrize("value", ["2099-01-01T00:00:00Z", "2026-01-01T02:00:01+02:00", "2099-W01-1T00:00Z"])
def test_expiry_with_an_offset_after_now_is_valid(value: str):
    assert still_valid({"expirationTime": value}, now=NOW)


@pytest.mark.parametrize("moment", ["2024-01-01", "2024-W01-1", "2024-01-01T00:00:00", "2024-01-01T00:00:00.000Z"])
def test_time_of_issue_needs_no_offset(moment: str):
    assert f"Issued At: {moment}" in text(issuedAt=moment)


@pytest.mark.parametrize("chain", ["1", " 1 ", "1.0", "+1", "0_1", True, 1.0])
def test_chain_is_read_as_pydantic_reads_it(chain: Any):
    assert "Chain ID: 1\n" in text(chainId=chain)


@pytest.mark.parametrize("chain", ["", "x", "1.5", "1__0", "-1", 1.5, -1, [], {}, None])
def test_chain_of_another_form_is_refused(chain: Any):
    with pytest.raises(ValueError, match="chainId"):
        text(chainId=chain)


@pytest.mark.parametrize("given", [ADDRESS, ADDRESS.lower(), ADDRESS.upper(), ADDRESS[2:], int(ADDRESS, 16)])
def test_address_is_read_in_any_spelling(given: Any):
    assert parse_address(given) == ADDRESS


@pytest.mark.parametrize("given", ["0x12", "x", 5, True, ADDRESS + "0"])
def test_malformed_address_is_refused(given: Any):
    with pytest.raises(ValueError, match=r".*"):
        parse_address(given)


@pytest.mark.parametrize("given", [["0x"], {"a": 1}, 1.5])
def test_address_of_another_type_is_an_error_of_its_own(given: Any):
    with pytest.raises(TypeError):
        parse_address(given)
