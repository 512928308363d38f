"""Digests of secrets in the journal."""

from proxy.journal.redaction import digest
from proxy.journal.sealing import key_of

KEYS = key_of(b"k" * 32)


def test_digest_of_a_secret_is_stable() -> None:
    assert digest("0xAB", KEYS) == "redacted:3277ee2453abb109c1049a04562cd412"


def test_text_and_its_bytes_have_the_same_digest() -> None:
    assert digest("é", KEYS) == digest("é".encode(), KEYS)


def test_digests_are_independent_of_each_other() -> None:
    assert digest("a", KEYS) != digest("b", KEYS)
    assert digest("a", KEYS) == digest("a", KEYS)
