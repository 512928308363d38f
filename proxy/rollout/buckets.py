"""Assign clients to 10,000 buckets, and buckets to a percentage. Pure.

The hash is keyed and stable: a key is in the same bucket in every process and release while the salt stays. A percentage covers the
lowest buckets (5 % are the buckets 0 to 499), so widening it only adds buckets and moves no client back to the other side.
"""

from hashlib import blake2b

BUCKETS = 10_000


def bucket_of(key: str, salt: bytes) -> int:
    """Return the bucket of a key, 0 to 9,999. `salt` is at most 64 bytes."""
    return (
        int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=salt).digest(), "big") % BUCKETS
    )


def salt_of(text: str) -> bytes:
    """Derive the key of the hash from a salt of any length."""
    return blake2b(text.encode(), digest_size=32, person=b"buckets").digest()


def threshold_of(percent: float) -> int:
    """Return the number of buckets that a percentage covers; the smallest step is 0.01 %."""
    return round(percent * BUCKETS / 100)
