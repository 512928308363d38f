"""Which of 10,000 buckets a client is in, and what share of the buckets a percentage covers. Pure.

A keyed stable hash: the same key is in the same bucket in every process and release while the salt stays. Widening a percentage
only adds buckets, so nobody who was served by a side before is moved back.
"""

from hashlib import blake2b

BUCKETS = 10_000


def bucket_of(key: str, salt: bytes) -> int:
    """The bucket of a key, 0 to 9,999. `salt` is at most 64 bytes."""
    return (
        int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=salt).digest(), "big") % BUCKETS
    )


def salt_of(text: str) -> bytes:
    """A salt of any length as the hash's key."""
    return blake2b(text.encode(), digest_size=32, person=b"buckets").digest()


def threshold_of(percent: float) -> int:
    """How many buckets a percentage covers: 0.01 % is the smallest step."""
    return round(percent * BUCKETS / 100)
