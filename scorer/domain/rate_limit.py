"""Fixed-window rate limits, counted in the legacy's counters.

Both systems serve a key at the same time, so they must compute the same counter name: a hash of the limit's text, the end of the
window and the client. Each client's window has its own offset, so that not all windows end at once.
Observed of the legacy: with limit n, requests 1..n of a window pass; an empty or absent limit means unlimited.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from enum import StrEnum

# The prefix that Django's cache gives to its keys.
_KEY_PREFIX = ":1:rl:"
# A counter expires this long after its window, to tolerate clock skew.
_GRACE_S = 5
_RATE = re.compile(r"(\d+)/(\d*)([smhd])?")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class RateGroup(StrEnum):
    """Groups of endpoints that share one counter."""

    REGISTRY = "registry"
    ANALYSIS = "analysis"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` requests in a window of `period_s` seconds."""

    limit: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Window:
    """One counter: its name and TTL in the shared store."""

    key: str
    ttl_s: int


def parse_rate(text: str | None) -> Rate | None:
    """Parse a limit such as `125/15m`; an empty or absent text means unlimited.

    Raises:
        ValueError: the text is not of the form n/[count]unit with unit s, m, h or d.
    """
    if not text:
        return None
    match = _RATE.match(text)
    if match is None:
        raise ValueError(text)
    limit, multiple, unit = match.groups()
    period = _UNIT_S[(unit or "s").lower()] * (int(multiple) if multiple else 1)
    if period <= 0:
        raise ValueError(text)
    return Rate(int(limit), period)


def window_of(rate: Rate, group: RateGroup, *, client: str, now: int) -> Window:
    """Compute the counter of `client` (the prefix of its API key) at `now` (Unix seconds)."""
    ends = now - now % rate.period_s + zlib.crc32(client.encode()) % rate.period_s
    if ends < now:
        ends += rate.period_s
    name = f"{group}{rate.limit}/{rate.period_s}s{client}{ends}"
    return Window(_KEY_PREFIX + hashlib.sha256(name.encode()).hexdigest(), rate.period_s + _GRACE_S)


def passes(rate: Rate, count: int) -> bool:
    """Return True if the request that raised the counter to `count` is within the rate."""
    return count <= rate.limit
