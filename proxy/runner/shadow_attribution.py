"""Attribute the transactions of the shadow to the mirrored requests that made them.

Pure; times are arguments in Unix microseconds of this machine's clock.

Everything that writes to the shadow is a mirrored request or an alignment, and while a request runs nothing else runs on its keys. So a
transaction on its keys that is not its own came too late for its own request, which gave no response in time:

    request 1 on 0xa1    sent ------ given up              window stays open                      closed
    its commits                                  t1                       t2
    request 2 on 0xa1             unsettled: not sent       |  t1 is a stray and taken back, t2 too
    comparing on 0xa1    ---------------------|             not compared                          |-------

Nothing is compared on its keys until its late response has come and its late commits are taken back. Where its connection has broken, no
response can come: its keys stay unsettled until its late commits are seen and taken back, or for `runner.unsettled_s_max`; then its rows are
copied from live again.

A transaction that had its id before a request was sent is not that request's either, however late it commits (`RequestWindow.after_xid`):

    late transaction    xid 700: insert ...... waits for a lock ....................... commit
    alignment                  xid 712 committed
    request 2                                      sent (after_xid 712)  xid 713 commit       response: 700 interferes
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Protocol

from comparator.capture.attribution import Attributor, Claim, KeyedTransaction, RequestWindow
from comparator.capture.attribution_keys import Key, Keys, RowId
from comparator.exchanges.model import EffectsOutcome, Side
from comparator.exchanges.row_changes import Transaction
from proxy.runner.row_sql import is_alignment
from proxy.runner.transaction_snapshot import TransactionSnapshot

_EVER_US = 2**63
GIVEN_UP_MAX: Final = 1_000
"""Requests without a response that are waited for; beyond it the oldest is taken for lost."""
STRAYS_REMEMBERED_US: Final = 600_000_000


class GivenUpEnd(StrEnum):
    """The ways in which waiting for the late writes of a request ends; labels of `shadow_given_up_total`."""

    ANSWERED = "answered"
    """Its response came late; everything that it wrote was taken back."""
    SEEN = "seen"
    """They were seen and taken back, and nothing followed for a while."""
    LOST = "lost"
    """Nothing was seen in time: its rows are copied from live again."""


class AwaitedResponse(Protocol):
    """A response that is still awaited, although the request has failed by its timeout."""

    @property
    def has_come(self) -> bool | None:
        """True once it has come, False once its connection has broken, None before."""
        ...


@dataclass(slots=True, eq=False)
class GivenUp:
    """A request that gave no response in time, and may still be writing.

    Attributes:
        keys: its keys.
        rows: rows that its served side changed.
        waiting_since_us: when it was given up, lost its connection, or was last seen to have written.
        late: its response, while that is awaited; None where it cannot come.
        seen: it has been seen to write.
        is_answered: its response has come, and everything that it committed before has been delivered.
    """

    keys: Keys
    rows: frozenset[RowId]
    waiting_since_us: int
    late: AwaitedResponse | None = None
    seen: bool = False
    is_answered: bool = False


@dataclass(slots=True)
class ShadowAttribution:
    """The transactions of the shadow that no mirrored request has claimed, and the requests that run.

    Attributes:
        clock_skew_us: how far this clock and the database's may differ.
        quiet_us: time without a further write after which a request that was given up, and seen to write, is over.
        lost_after_us: time without any write after which one that was never seen is taken for lost.
    """

    clock_skew_us: int
    quiet_us: int = 0
    lost_after_us: int = 0
    _attributor: Attributor = field(default_factory=Attributor)
    _open: dict[str, int] = field(default_factory=dict[str, int])
    _given_up: dict[str, GivenUp] = field(default_factory=dict[str, GivenUp])
    _last_xid: int | None = None
    _late: list[KeyedTransaction] = field(default_factory=list[KeyedTransaction])
    _stray_us: dict[Key, int] = field(default_factory=dict[Key, int])

    @property
    def untagged_sides(self) -> frozenset[Side]:
        """Sides that are configured to name their requests, and do not."""
        return self._attributor.untagged_sides

    @property
    def unsettled(self) -> int:
        """Number of requests whose late writes are waited for."""
        return len(self._given_up)

    def deliver(self, keyed: KeyedTransaction) -> None:
        """Add the next transaction of the shadow; those of alignments are dropped."""
        self._last_xid = keyed.transaction.xid
        if not is_alignment(keyed.transaction):
            self._attributor.add(keyed)

    def open(self, run_id: str, keys: Keys, *, tagged: bool, now_us: int, side: Side | None = None) -> None:
        """Open the window of a mirrored request; call before it is sent.

        Args:
            run_id: the X-Request-Id that it is sent with.
            keys: of the exchange that it mirrors.
            tagged: whether the side names the request in its transactions.
            now_us: the time.
            side: that it is sent to.
        """
        opened_us = now_us - self.clock_skew_us
        self._open[run_id] = opened_us
        self._attributor.open(
            RequestWindow(run_id, set(keys), opened_us, None, tagged, side=side, after_xid=self._last_xid)
        )

    def collect(self, run_id: str, *, since_us: int | None = None) -> Claim:
        """Return the transactions of a request, and close its window; call when a fence after its response has passed.

        Args:
            run_id: of an opened window.
            since_us: the time at which its first run began; None: at which this one was opened.

        Returns:
            The claim. It is `interfered` when something else was written on its keys meanwhile: the request may have seen that.
        """
        claim = self._claim_open(run_id)
        since_us = self._open.pop(run_id) if since_us is None else min(since_us, self._open.pop(run_id))
        disturbed = self._attributor.other_writers(run_id, running=self._open) or any(
            self._stray_us.get(key, 0) >= since_us for key in claim.keys
        )
        self._attributor.close(run_id)
        if disturbed and claim.outcome is EffectsOutcome.ATTRIBUTED:
            return replace(claim, outcome=EffectsOutcome.INTERFERED)
        return claim

    def give_up(
        self, run_id: str, rows: Collection[RowId], *, now_us: int, late: AwaitedResponse | None = None
    ) -> Claim:
        """Return what a request without a response has committed, and keep its window open for what it still commits.

        Args:
            run_id: of an opened window.
            rows: rows that its served side changed.
            now_us: the time.
            late: its response, if that is still awaited.
        """
        claim = self._claim_open(run_id)
        del self._open[run_id]
        self._given_up[run_id] = GivenUp(claim.keys, frozenset(rows), now_us, late)
        return claim

    def note_broken(self, *, now_us: int) -> None:
        """Count the time from now on for requests whose late response cannot come any more."""
        for given_up in self._given_up.values():
            if given_up.late is not None and given_up.late.has_come is False:
                given_up.late, given_up.waiting_since_us = None, now_us

    def answered(self) -> list[GivenUp]:
        """Return the requests whose late response has come, and which wait for `end_answered`."""
        return [
            given_up
            for given_up in self._given_up.values()
            if given_up.late is not None and given_up.late.has_come and not given_up.is_answered
        ]

    def end_answered(self, answered: Iterable[GivenUp]) -> None:
        """Note that everything that these requests have committed has been delivered; call when a fence after their responses has passed."""
        for given_up in answered:
            given_up.is_answered = True

    def is_unsettled(self, keys: Keys) -> bool:
        """Return whether a request on one of these keys was given up, and may still be writing."""
        return any(not given_up.keys.isdisjoint(keys) for given_up in self._given_up.values())

    def discard(self, seen: TransactionSnapshot) -> None:
        """Drop the transactions that a resync has seen, and so overwritten."""
        late = self._claim_late()
        self._late = [keyed for keyed in (*self._late, *late) if not seen.covers(keyed.transaction.xid)]
        self._attributor.discard(lambda transaction: seen.covers(transaction.xid))

    def take_strays(self, *, now_us: int) -> Sequence[KeyedTransaction]:
        """Remove and return the transactions that no running request can have made: late writes, or those of other writers."""
        before_us = min(self._open.values(), default=now_us - self.clock_skew_us)
        strays = [*self._late, *self._claim_late(), *self._attributor.release(before_us=before_us)]
        self._late = []
        for key in {key for keyed in strays for key in keyed.keys}:
            self._stray_us.pop(key, None)
            self._stray_us[key] = now_us
        while self._stray_us and self._stray_us[oldest := next(iter(self._stray_us))] < now_us - STRAYS_REMEMBERED_US:
            del self._stray_us[oldest]
        return strays

    def end_given_up(self, *, now_us: int) -> list[tuple[GivenUpEnd, KeyedTransaction | None]]:
        """End waiting for the late writes of requests for which it is time; call after `take_strays`.

        Returns:
            How each ended; with `lost` a stand-in for its writes, whose rows are to be repaired.
        """
        self.note_broken(now_us=now_us)
        surplus = sum(given_up.late is None for given_up in self._given_up.values()) - GIVEN_UP_MAX
        ended: list[tuple[GivenUpEnd, KeyedTransaction | None]] = []
        for run_id, given_up in list(self._given_up.items()):
            surplus -= given_up.late is None
            if not given_up.is_answered and not self._is_over(given_up, now_us=now_us, surplus=surplus >= 0):
                continue
            del self._given_up[run_id]
            self._attributor.close(run_id)
            nothing = Transaction(0, 0, 0, 0, ())
            stand_in = KeyedTransaction(nothing, given_up.keys, given_up.rows)
            if given_up.is_answered:
                ended.append((GivenUpEnd.ANSWERED, None))
            else:
                ended.append((GivenUpEnd.SEEN, None) if given_up.seen else (GivenUpEnd.LOST, stand_in))
        return ended

    def _is_over(self, given_up: GivenUp, *, now_us: int, surplus: bool) -> bool:
        """Return whether a request without a connection is over by the time; or has to be taken for it, as there are too many."""
        if given_up.late is not None:
            return False
        limit_us = self.quiet_us if given_up.seen else self.lost_after_us
        return surplus or now_us - given_up.waiting_since_us >= limit_us

    def take_unclaimed(self) -> Sequence[KeyedTransaction]:
        """Remove and return everything that no request has claimed."""
        return self._attributor.release(before_us=_EVER_US)

    def _claim_open(self, run_id: str) -> Claim:
        claim = self._attributor.claim(run_id)
        assert claim is not None, "every mirrored request is opened before it is sent"
        return claim

    def _claim_late(self) -> list[KeyedTransaction]:
        """Return what requests that were given up have committed since."""
        late: list[KeyedTransaction] = []
        for run_id, given_up in self._given_up.items():
            claim = self._claim_open(run_id)
            if claim.transactions:
                given_up.seen = True
                given_up.waiting_since_us = max(
                    given_up.waiting_since_us, *(keyed.transaction.committed_us for keyed in claim.transactions)
                )
                late += claim.transactions
        return late
