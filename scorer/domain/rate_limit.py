"""Fixed-window rate limits, counted in the same counters as the legacy's.

Both systems serve one key at the same time, so the counter's name has to come out equal: the limit's text, the end of the window
and the client go into one hash. The window of a client starts at an offset of its own, so that not all windows end at once.
Observed of the legacy: limit n lets requests 1..n of a window pass; an empty or absent limit is no limit.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from enum import StrEnum

# The legacy's cache writes its names with this prefix.
_KEY_PREFIX = ":1:rl:"
# A counter outlives its window by this much, so that clocks may differ.
_GRACE_S = 5
_RATE = re.compile(r"(\d+)/(\d*)([smhd])?")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class RateGroup(StrEnum):
    """The endpoints that share one counter."""

    REGISTRY = "registry"
    ANALYSIS = "analysis"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` requests in a window of `period_s` seconds."""

    limit: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Window:
    """One counter: its name in the shared store and how long it lives there."""

    key: str
    ttl_s: int


def parse_rate(text: str | None) -> Rate | None:
    """Read a limit such as `125/15m`; nothing at all means unlimited.

    Raises:
        ValueError: the text is not of the form n/[count]unit with unit s, m, h or d.
    """
    if not text:
        return None
    found = _RATE.match(text)
    if found is None:
        raise ValueError(text)
    limit, multiple, unit = found.groups()
    period = _UNIT_S[(unit or "s").lower()] * (int(multiple) if multiple else 1)
    if period <= 0:
        raise ValueError(text)
    return Rate(int(limit), period)


def window_of(rate: Rate, group: RateGroup, *, client: str, now: int) -> Window:
    """The counter of `client` (the prefix of its API key) at `now` (Unix seconds)."""
    ends = now - now % rate.period_s + zlib.crc32(client.encode()) % rate.period_s
    if ends < now:
        ends += rate.period_s
    name = f"{group}{rate.limit}/{rate.period_s}s{client}{ends}"
    return Window(_KEY_PREFIX + hashlib.sha256(name.encode()).hexdigest(), rate.period_s + _GRACE_S)


def passes(rate: Rate, count: int) -> bool:
    """Whether the request that made the counter `count` may pass."""
    return count <= rate.limit
