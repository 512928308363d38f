"""The clock that requests, commits and outcomes are ordered by."""

import time


def now_us() -> int:
    """Return the time of this machine's clock in Unix microseconds, the unit of PostgreSQL's commit times."""
    return time.time_ns() // 1_000
