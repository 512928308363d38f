"""Define the causes for which an exchange is not mirrored, and which of these exchanges are journaled. Pure."""

from enum import StrEnum
from typing import Final

SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
"""Methods without side effects (RFC 9110, section 9.2.1)."""

UNROUTED: Final = "unrouted"
"""Route name of an exchange whose request matches no configured route."""


class Skip(StrEnum):
    """The cause for which an exchange is not mirrored.

    Attributes:
        POLICY: the route is configured with `mirror: skip`.
        WRITE: the method is not safe and the route does not mirror writes.
        TRUNCATED: the request's body was longer than what is recorded.
        FALLBACK: the other side served, because the chosen one was unhealthy, ejected or failed.
        RETRIED: the proxy sent it to its side twice, because a kept connection was closed: its rows may be there twice.
        RATE_LIMITED: the route's rate limit for mirroring is used up.
        UNROUTED: no route matches the request.
        SAMPLE: the request is outside of the route's sample.
        RECORD_IF: the route's `record_if` does not select the exchange.
        SHADOW: the request carries the shadow mark: it is a mirrored request itself.
        UPGRADE: the connection became a tunnel.
        ABORTED: the client went away before the response was complete.
        DISABLED: there is no journal.
        IMPORTED: `shadow journal import` stored a recording without `--mirror`.
    """

    POLICY = "policy"
    WRITE = "write"
    TRUNCATED = "truncated"
    FALLBACK = "fallback"
    RETRIED = "retried"
    RATE_LIMITED = "rate_limited"
    UNROUTED = "unrouted"
    SAMPLE = "sample"
    RECORD_IF = "record_if"
    SHADOW = "shadow"
    UPGRADE = "upgrade"
    ABORTED = "aborted"
    DISABLED = "disabled"
    IMPORTED = "imported"


JOURNALED: Final = frozenset((Skip.POLICY, Skip.WRITE, Skip.TRUNCATED, Skip.FALLBACK, Skip.RETRIED, Skip.RATE_LIMITED))
"""Causes of served exchanges that are journaled although they are not mirrored: they are evidence of what was served."""


def journaled(skip: Skip | None) -> bool:
    """Return whether an exchange with this cause, None for a mirrored one, goes to the journal."""
    return skip is None or skip in JOURNALED
