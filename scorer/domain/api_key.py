"""API keys ("<prefix>.<secret>") and their hashes: Django's PBKDF2 and SHA-256.

Observed of the legacy: the prefix is everything before the first dot; if a SHA-256 is stored, only that is compared; PBKDF2 is accepted
with any number of iterations.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

SHA256 = "sha256$"
PBKDF2 = "pbkdf2_sha256$"


@dataclass(frozen=True, slots=True)
class Pbkdf2:
    """One stored slow hash, parsed."""

    iterations: int
    salt: str
    digest: bytes

    def matches(self, key: str) -> bool:
        """Return True if this is the hash of the key; takes about a third of a second at Django's iteration count."""
        digest = hashlib.pbkdf2_hmac("sha256", key.encode(), self.salt.encode(), self.iterations)
        return hmac.compare_digest(digest, self.digest)


def prefix_of(key: str) -> str:
    """Return the text before the first dot."""
    return key.partition(".")[0]


def fast_hash(key: str) -> str:
    """Hash a key with SHA-256, in the stored format."""
    return SHA256 + hashlib.sha256(key.encode()).hexdigest()


def fast_match(key: str, stored: str) -> bool:
    """Return True if the stored SHA-256 is this key's; compares in constant time."""
    return hmac.compare_digest(fast_hash(key).encode(), stored.encode())


def parse_pbkdf2(stored: str) -> Pbkdf2 | None:
    """Parse `pbkdf2_sha256$<iterations>$<salt>$<base64>`; None for any other format."""
    if not stored.startswith(PBKDF2):
        return None
    parts = stored.split("$")
    if len(parts) != 4 or not parts[1].isdecimal() or int(parts[1]) < 1:
        return None
    try:
        return Pbkdf2(int(parts[1]), parts[2], base64.b64decode(parts[3], validate=True))
    except (binascii.Error, ValueError):
        return None
