"""The shadow database's side of the mirror: which of its committed changes a mirrored request made, and which are nobody's."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from comparator.capture.attribution import Attributor, Claim, KeyedTransaction, RequestWindow
from proxy.runner.resync import TransactionSnapshot
from proxy.runner.row_writer import is_own

US_PER_S = 1_000_000
_EVER_US = 2**63


def now_us() -> int:
    """Unix microseconds of this machine's clock."""
    return time.time_ns() // 1_000


@dataclass(slots=True)
class ShadowAttribution:
    """Attributes shadow transactions to the mirrored requests that are running.

    `clock_skew_us`: how far this clock and the database's may differ.
    """

    clock_skew_us: int
    _attributor: Attributor = field(default_factory=Attributor)
    _open: dict[str, int] = field(default_factory=dict[str, int])

    def deliver(self, keyed: KeyedTransaction) -> None:
        """Take in the next shadow transaction; the aligner's own are dropped."""
        if not is_own(keyed.transaction):
            self._attributor.add(keyed)

    def open(self, run_id: str, keys: frozenset[tuple[str, str]], *, tagged: bool) -> None:
        """A mirrored request is about to be sent."""
        opened_us = now_us() - self.clock_skew_us
        self._open[run_id] = opened_us
        self._attributor.open(RequestWindow(run_id, set(keys), opened_us, None, tagged))

    def collect(self, run_id: str) -> Claim:
        """What the request committed; call when a fence after its response has passed."""
        claim = self._attributor.claim(run_id)
        assert claim is not None, "every mirrored request is announced before it is sent"
        self._attributor.close(run_id)
        del self._open[run_id]
        return claim

    def forget(self, seen: TransactionSnapshot) -> None:
        """A resync has dealt with every transaction that it saw."""
        self._attributor.discard(lambda transaction: seen.covers(transaction.xid))

    def strays(self) -> Sequence[KeyedTransaction]:
        """Shadow transactions that no running request can have made: late writes, or somebody else's."""
        before_us = min(self._open.values(), default=now_us() - self.clock_skew_us)
        return self._attributor.release(before_us=before_us)

    def rest(self) -> Sequence[KeyedTransaction]:
        """Everything that no request has claimed."""
        return self._attributor.release(before_us=_EVER_US)
