"""Stored credentials that count, and those that do not."""

import pytest

from scorer.domain.stamp import DropCause, Stamp, examine, examine_all, nullifiers_of
from scorer.errors import ScoringError
from tests.support.stamps import ADDRESS, ISSUER, NOW, credential, stored

TRUSTED = frozenset({ISSUER})


def examined(value):
    return examine(stored(value), address=ADDRESS, trusted_issuers=TRUSTED, now=NOW)


def test_whole_credential_counts():
    assert isinstance(examined(credential()), Stamp)


def test_subject_s_address_may_be_in_any_case():
    subject = {"id": f"did:pkh:eip155:1:{ADDRESS.upper().replace('0X', '0x')}"}
    assert isinstance(examined(credential(subject=subject)), Stamp)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"issuer": "did:key:other"}, DropCause.ISSUER),
        ({"expirationDate": "2029-12-31T23:59:59Z"}, DropCause.EXPIRED),
        ({"subject": {"nullifiers": []}}, DropCause.SUBJECT),
        ({"subject": {"nullifiers": "v0:1"}}, DropCause.SUBJECT),
        ({"subject": {"nullifiers": None, "hash": "v0.0.0:1"}}, DropCause.SUBJECT),
        ({"subject": {"provider": ""}}, DropCause.SUBJECT),
        ({"subject": {"id": f"did:pkh:eip155:10:{ADDRESS}"}}, DropCause.SUBJECT),
        ({"credentialSubject": None}, DropCause.SUBJECT),
    ],
)
def test_credential_that_fails_a_check_is_left_out(changed, cause):
    assert examined(credential(**changed)) is cause


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "'expirationDate'"),
        (credential(expirationDate="soon"), "Invalid isoformat string: 'soon'"),
        (credential(expirationDate="2031-01-01"), "can't compare offset-naive and offset-aware datetimes"),
    ],
)
def test_unreadable_expiration_blocks_the_address(value, text):
    with pytest.raises(ScoringError, match=f"^{text.replace('(', '.').replace(')', '.')}$"):
        examined(value)


def test_malformed_date_of_untrusted_issuer_blocks_the_address():
    with pytest.raises(ScoringError):
        examined(credential(issuer="did:key:other", expirationDate="soon"))


OTHER_TYPES = [None, True, 5, 1.5, [], ["x"], {}, {"id": "did:key:trusted"}]


@pytest.mark.parametrize("value", [*OTHER_TYPES[:-2], "text", ["expirationDate"]])
def test_value_that_is_not_an_object_drops_the_stamp(value):
    assert examined(value) is DropCause.TYPE


@pytest.mark.parametrize("value", OTHER_TYPES)
def test_expiration_of_another_type_drops_the_stamp(value):
    assert examined(credential(expirationDate=value)) is DropCause.TYPE


@pytest.mark.parametrize("value", OTHER_TYPES)
def test_issuer_of_another_type_drops_the_stamp(value):
    assert examined(credential(issuer=value)) is DropCause.ISSUER


@pytest.mark.parametrize("value", [*OTHER_TYPES, "text"])
def test_subject_of_another_type_drops_the_stamp(value):
    assert examined(credential(credentialSubject=value)) is DropCause.SUBJECT


@pytest.mark.parametrize("value", OTHER_TYPES)
@pytest.mark.parametrize("name", ["id", "provider", "nullifiers"])
def test_part_of_the_subject_of_another_type_drops_the_stamp(name, value):
    subject = {name: [value] if name == "nullifiers" else value}
    assert examined(credential(subject=subject)) is DropCause.SUBJECT


def test_credential_s_own_offset_is_kept():
    found = examined(credential(expirationDate="2031-01-01T00:00:00+02:00"))
    assert isinstance(found, Stamp)
    assert found.expires_at.isoformat() == "2031-01-01T00:00:00+02:00"


def test_all_versions_of_nullifiers_are_taken():
    assert nullifiers_of({"nullifiers": ["v0:1", "v1:2"]}) == ("v0:1", "v1:2")


@pytest.mark.parametrize("entry", [5, None, [], {}])
def test_list_with_an_entry_that_is_not_a_text_has_no_nullifiers(entry):
    assert nullifiers_of({"nullifiers": ["v0:1", entry]}) == ()


def test_rows_keep_their_order_and_drops_have_causes():
    rows = [stored(credential(), f"P{n}", n) for n in range(3)] + [stored(credential(issuer="x"), "P3", 3)]
    kept, dropped = examine_all(rows, address=ADDRESS, trusted_issuers=TRUSTED, now=NOW)
    assert ([stamp.provider for stamp in kept], dropped) == (["P0", "P1", "P2"], [DropCause.ISSUER])
