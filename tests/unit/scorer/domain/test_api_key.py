"""API key texts and their hashes."""

import base64
import hashlib

import pytest

from scorer.domain.api_key import fast_hash, fast_match, parse_pbkdf2, prefix_of

KEY = "prefix12.secret.with.dots"


def pbkdf2(key: str, iterations: int, salt: str = "salt") -> str:
    digest = hashlib.pbkdf2_hmac("sha256", key.encode(), salt.encode(), iterations)
    return f"pbkdf2_sha256${iterations}${salt}${base64.b64encode(digest).decode()}"


def test_prefix_ends_at_the_first_dot():
    assert (prefix_of(KEY), prefix_of("nodot")) == ("prefix12", "nodot")


def test_fast_hash_is_of_the_whole_key():
    assert fast_hash(KEY) == "sha256$" + hashlib.sha256(KEY.encode()).hexdigest()
    assert (fast_match(KEY, fast_hash(KEY)), fast_match(KEY + "x", fast_hash(KEY))) == (True, False)


@pytest.mark.parametrize("iterations", [1, 1000])
def test_any_number_of_iterations_counts(iterations):
    stored = parse_pbkdf2(pbkdf2(KEY, iterations))
    assert stored is not None
    assert (stored.matches(KEY), stored.matches("other")) == (True, False)


@pytest.mark.parametrize(
    "stored",
    ["", "md5$1$s$x", "pbkdf2_sha256$x$s$eA==", "pbkdf2_sha256$0$s$eA==", "pbkdf2_sha256$1$s", "pbkdf2_sha256$1$s$§"],
)
def test_other_formats_are_refused(stored):
    assert parse_pbkdf2(stored) is None
