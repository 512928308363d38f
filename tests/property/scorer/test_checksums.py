"""Checksums are stable, and every address that carries its own is taken."""

from hypothesis import given
from hypothesis import strategies as st

from scorer.domain.checksums import has_address_form, is_address, keccak_256, with_checksum

digits = st.text("0123456789abcdef", min_size=40, max_size=40)
texts = st.text("0123456789abcdefABCDEFxXg", max_size=44)


@given(digits)
def test_address_with_its_checksum_is_an_address(text: str):
    assert is_address(with_checksum(text))


@given(digits)
def test_checksum_changes_case_alone_and_once(text: str):
    checked = with_checksum(text)
    assert (checked.lower(), with_checksum(checked)) == (f"0x{text}", checked)


@given(texts)
def test_no_address_lacks_the_form_of_one(text: str):
    assert has_address_form(text) or not is_address(text)


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_different_data_have_different_digests(one: bytes, other: bytes):
    assert (keccak_256(one) == keccak_256(other)) == (one == other)
