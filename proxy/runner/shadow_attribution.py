"""Attribute the transactions of the shadow to the mirrored requests that made them.

Pure; times are arguments in Unix microseconds of this machine's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from comparator.capture.attribution import Attributor, Claim, KeyedTransaction, RequestWindow
from comparator.capture.attribution_keys import Keys
from proxy.runner.row_sql import is_alignment
from proxy.runner.transaction_snapshot import TransactionSnapshot

_EVER_US = 2**63


@dataclass(slots=True)
class ShadowAttribution:
    """The transactions of the shadow that no mirrored request has claimed, and the requests that run.

    Attributes:
        clock_skew_us: how far this clock and the database's may differ.
    """

    clock_skew_us: int
    _attributor: Attributor = field(default_factory=Attributor)
    _open: dict[str, int] = field(default_factory=dict[str, int])

    def deliver(self, keyed: KeyedTransaction) -> None:
        """Add the next transaction of the shadow; those of alignments are dropped."""
        if not is_alignment(keyed.transaction):
            self._attributor.add(keyed)

    def open(self, run_id: str, keys: Keys, *, tagged: bool, now_us: int) -> None:
        """Open the window of a mirrored request; call before it is sent.

        Args:
            run_id: the X-Request-Id that it is sent with.
            keys: of the exchange that it mirrors.
            tagged: whether the side names the request in its transactions.
            now_us: the time.
        """
        opened_us = now_us - self.clock_skew_us
        self._open[run_id] = opened_us
        self._attributor.open(RequestWindow(run_id, set(keys), opened_us, None, tagged))

    def collect(self, run_id: str) -> Claim:
        """Return the transactions of a request, and close its window; call when a fence after its response has passed."""
        claim = self._attributor.claim(run_id)
        assert claim is not None, "every mirrored request is opened before it is sent"
        self._attributor.close(run_id)
        del self._open[run_id]
        return claim

    def discard(self, seen: TransactionSnapshot) -> None:
        """Drop the transactions that a resync has seen, and so overwritten."""
        self._attributor.discard(lambda transaction: seen.covers(transaction.xid))

    def take_strays(self, *, now_us: int) -> Sequence[KeyedTransaction]:
        """Remove and return the transactions that no running request can have made: late writes, or those of other writers."""
        before_us = min(self._open.values(), default=now_us - self.clock_skew_us)
        return self._attributor.release(before_us=before_us)

    def take_unclaimed(self) -> Sequence[KeyedTransaction]:
        """Remove and return everything that no request has claimed."""
        return self._attributor.release(before_us=_EVER_US)
