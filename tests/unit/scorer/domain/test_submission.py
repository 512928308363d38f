"""Credentials handed in, taken apart for storing."""

from datetime import UTC, datetime

import pytest

from scorer.domain.submission import all_different, provider_of, submitted
from scorer.errors import UnanswerableError

PROOF = {"proof": {"proofValue": "0x1"}}


def test_provider_is_the_subject_s():
    assert provider_of({"credentialSubject": {"provider": "Github"}}) == "Github"


@pytest.mark.parametrize(
    "value", [None, "text", [], {}, {"credentialSubject": None}, {"credentialSubject": {"provider": None}}]
)
def test_credential_without_provider_cannot_be_stored(value):
    with pytest.raises(UnanswerableError):
        provider_of(value)


@pytest.mark.parametrize(
    "value", [None, {}, {"proof": {}}, {"proof": {"jws": "x"}}, {"proof": {"proofValue": "x" * 257}}]
)
def test_credential_without_a_proof_value_cannot_be_stored(value):
    with pytest.raises(UnanswerableError):
        submitted("Github", value)


def test_dates_may_be_missing():
    stamp = submitted("Github", PROOF)
    assert (stamp.issued_at, stamp.expires_at) == (None, None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2099-12-31T23:59:59Z", datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2099-12-31", datetime(2099, 12, 31, tzinfo=UTC)),
        ("2099-12-31T01:00:00", datetime(2099, 12, 31, 1, tzinfo=UTC)),
    ],
)
def test_dates_without_offset_are_utc(text, moment):
    assert submitted("Github", {**PROOF, "expirationDate": text}).expires_at == moment


@pytest.mark.parametrize("value", ["soon", 5, "", []])
def test_unreadable_date_breaks_the_request(value):
    with pytest.raises(UnanswerableError):
        submitted("Github", {**PROOF, "issuanceDate": value})


def test_provider_wider_than_its_column_breaks_the_request():
    with pytest.raises(UnanswerableError):
        submitted("x" * 257, PROOF)


def test_provider_twice_breaks_the_request():
    with pytest.raises(UnanswerableError):
        all_different([submitted("Github", PROOF)] * 2)
