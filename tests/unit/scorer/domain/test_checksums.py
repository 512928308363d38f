import pytest
from eth_utils.crypto import keccak

from scorer.domain.checksums import is_address, keccak_256, with_checksum

CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    ],
)
def test_keccak_gives_the_published_digests(data: bytes, digest: str):
    assert keccak_256(data).hex() == digest


@pytest.mark.parametrize("length", [135, 136, 137, 272, 300])
def test_keccak_agrees_with_a_peer_at_block_edges(length: int):
    assert keccak_256(b"x" * length) == keccak(b"x" * length)


@pytest.mark.parametrize("spelling", [CHECKSUMMED.lower(), CHECKSUMMED[2:].upper(), CHECKSUMMED])
def test_every_spelling_gets_the_same_checksum(spelling: str):
    assert with_checksum(spelling) == CHECKSUMMED


def test_checksum_of_something_else_is_refused():
    with pytest.raises(ValueError, match="0x12"):
        with_checksum("0x12")


@pytest.mark.parametrize(
    "text",
    [CHECKSUMMED, CHECKSUMMED.lower(), CHECKSUMMED.lower()[2:], "0X" + CHECKSUMMED[2:].upper(), "0x" + "1" * 40],
)
def test_one_case_or_a_right_checksum_is_an_address(text: str):
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x12",
        "0x5AaEb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        CHECKSUMMED[2:],
        "0X" + CHECKSUMMED[2:],
        "0x" + "g" * 40,
    ],
)
def test_wrong_checksum_or_form_is_not_an_address(text: str):
    assert not is_address(text)
