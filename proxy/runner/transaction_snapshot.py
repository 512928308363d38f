"""The set of transactions that one reading of a database has seen.

Pure. A resync compares live and shadow as its snapshots see them. Live's transactions arrive through the capture as well, before or
after the resync, and each must reach the shadow exactly once: `covers` tells those that the resync copied from those still to be applied.
"""

from dataclasses import dataclass

XIDS = 2**32
"""Number of transaction ids: the log carries 32 bits, so ids repeat and are ordered on a circle."""


@dataclass(frozen=True, slots=True)
class TransactionSnapshot:
    """A `pg_current_snapshot()`, reduced to 32-bit transaction ids.

    `100:110:104` reads: every transaction before 100 has ended, none from 110 on had begun, and 104 was still running. So the
    snapshot covers 99, 103 and 109, and neither 104 nor 110.

    Attributes:
        ended_below: every transaction before this id has ended.
        begun_below: no transaction from this id on had begun.
        running: the ids between both that had not ended.
    """

    ended_below: int
    begun_below: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "TransactionSnapshot":
        """Parse PostgreSQL's text, e.g. `10:20:10,14`. Its ids have 64 bits; the upper half counts rounds and is dropped."""
        low, high, running = text.split(":")
        return cls(_short(low), _short(high), frozenset(_short(xid) for xid in running.split(",") if xid))

    def covers(self, xid: int) -> bool:
        """Return whether the reading saw the changes of this committed transaction."""
        if not self.begun_below:
            return False
        if _before(xid, self.ended_below):
            return True
        return _before(xid, self.begun_below) and xid not in self.running


NOTHING_SEEN = TransactionSnapshot(0, 0, frozenset())
"""Covers no transaction."""


def _short(xid: str) -> int:
    return int(xid) % XIDS


def _before(xid: int, other: int) -> bool:
    """Compare transaction ids on their circle, as PostgreSQL does: the nearer half of it is the past."""
    return 0 < (other - xid) % XIDS < XIDS // 2
