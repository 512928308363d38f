"""Why an exchange is not mirrored, as a closed set of causes. Pure."""

from enum import StrEnum

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


UNROUTED = "unrouted"


class Skip(StrEnum):
    """Why an exchange is not mirrored. The first group is journaled all the same, the second never is."""

    POLICY = "policy"
    WRITE = "write"
    TRUNCATED = "truncated"
    FALLBACK = "fallback"
    RATE_LIMITED = "rate_limited"

    UNROUTED = "unrouted"
    SAMPLE = "sample"
    RECORD_IF = "record_if"
    SHADOW = "shadow"
    UPGRADE = "upgrade"
    ABORTED = "aborted"
    DISABLED = "disabled"


JOURNALED = frozenset((Skip.POLICY, Skip.WRITE, Skip.TRUNCATED, Skip.FALLBACK, Skip.RATE_LIMITED))


def journaled(skip: Skip | None) -> bool:
    """Whether an exchange goes to the journal."""
    return skip is None or skip in JOURNALED
