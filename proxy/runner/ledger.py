"""Which committed changes of live belong to which exchange, and what is to be done on the shadow, in which order.

Pure: no I/O and no clock (times are Unix microseconds given by the client). Every live transaction takes its place in the
lanes when it is delivered and keeps it until it is known whose it is. An exchange whose effects are surely its own becomes a
`Run`; every other change becomes an `Apply`. So the shadow receives all of live's changes, in live's order, whatever happens to
the comparison.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from comparator.capture.attribution import Attributor, Claim, KeyedTransaction, RequestWindow
from comparator.capture.attribution_keys import Key, KeyIndex, Keys, RowId, RowReference, is_background, row_id
from comparator.exchanges.model import EffectsOutcome, Exchange
from comparator.exchanges.row_changes import RowChange, Transaction
from comparator.tables import BackgroundRule
from proxy.runner.key_scheduler import KeyScheduler

NS_PER_US = 1_000
PLACES_REMEMBERED = 20_000

Place = tuple[int, int]
"""When a live transaction was committed (Unix microseconds), and the LSN of its end."""


@dataclass(frozen=True, slots=True)
class MirrorRun:
    """An exchange to be mirrored: the other side does it against the shadow, from the state the served side started from."""

    number: int
    exchange: Exchange
    claim: Claim

    @property
    def lsn(self) -> int:
        """End of the first live transaction it stands for, 0 for none."""
        return self.claim.transactions[0].transaction.end_lsn if self.claim.transactions else 0


@dataclass(frozen=True, slots=True)
class BackgroundApply:
    """Live changes to be applied to the shadow as they are; `lsn` ends the transaction `xid` that they are of."""

    changes: tuple[RowChange, ...]
    xid: int
    lsn: int


@dataclass(frozen=True, slots=True)
class RowRepair:
    """Rows that somebody wrote on the shadow outside every mirrored request; they become live's again."""

    rows: frozenset[RowId]
    lsn: int = 0


Item = MirrorRun | BackgroundApply | RowRepair


def _rows_of(item: Item) -> int:
    match item:
        case MirrorRun():
            return sum(len(keyed.transaction.changes) for keyed in item.claim.transactions)
        case BackgroundApply():
            return len(item.changes)
        case RowRepair():
            return 0


class Ledger:
    """The live side of the mirror.

    Args:
        index: resolves keys of rows; its misses are the client's to look up before `deliver`.
        primary_keys: primary-key columns of the tables in the publication.
        background: rules that describe writers which are no requests.
        overlap_memory_us: how long a finished exchange is remembered to recognise one that overlapped it.
    """

    def __init__(
        self,
        index: KeyIndex,
        *,
        primary_keys: Mapping[str, Sequence[str]],
        background: Sequence[BackgroundRule] = (),
        overlap_memory_us: int = 5_000_000,
    ) -> None:
        self._index = index
        self._primary_keys = primary_keys
        self._background = background
        self._overlap_memory_us = overlap_memory_us
        self._attributor = Attributor(primary_kind=index.route_kind)
        self._lanes = KeyScheduler()
        self._items: dict[int, Item] = {}
        self._rows = 0
        self._held: dict[int, tuple[int, KeyedTransaction]] = {}
        self._numbers = count(1)
        self._places: deque[Place] = deque(maxlen=PLACES_REMEMBERED)
        self._closed: deque[tuple[int, str]] = deque()
        self._windows: dict[str, RequestWindow] = {}
        self._given_up_us = 0

    def route_keys(self, exchange: Exchange) -> Keys:
        """The attribution key of the exchange's route."""
        return self._index.of_route(exchange.key)

    @property
    def waiting(self) -> int:
        """Items that wait or run, held transactions included."""
        return len(self._lanes)

    @property
    def rows(self) -> int:
        """Changed rows of live in the items that wait or run."""
        return self._rows

    def dealt_with(self) -> int | None:
        """LSN up to which every live change is on the shadow; None when all that was delivered is."""
        waiting = [*self._held, *(item.lsn for item in self._items.values() if item.lsn)]
        return min(waiting) - 1 if waiting else None

    @property
    def last_place(self) -> Place | None:
        """The last live transaction that was delivered."""
        return self._places[-1] if self._places else None

    def dealt_with_before(self, before_us: int) -> Place | None:
        """The last live transaction committed before this time up to which every change is on the shadow."""
        limit = self.dealt_with()
        end = bisect_left(self._places, before_us, key=lambda place: place[0])
        if limit is not None:
            end = min(end, bisect_right(self._places, limit, key=lambda place: place[1]))
        return self._places[end - 1] if end else None

    def waiting_changes(self, wanted: Callable[[int], bool]) -> list[RowChange]:
        """The changes that wait for the shadow, in commit order, of the transactions of which this is true of their xid."""
        found = [(lsn, keyed.transaction.xid, keyed.transaction.changes) for lsn, (_, keyed) in self._held.items()]
        for item in self._items.values():
            if isinstance(item, BackgroundApply):
                found.append((item.lsn, item.xid, item.changes))
            elif isinstance(item, MirrorRun):
                mine = (keyed.transaction for keyed in item.claim.transactions)
                found += [(one.end_lsn, one.xid, one.changes) for one in mine]
        ordered = sorted(found, key=lambda one: one[0])
        return [change for _, xid, changes in ordered if wanted(xid) for change in changes]

    @property
    def unattributed(self) -> int:
        """Live transactions that no exchange has claimed yet."""
        return self._attributor.pending

    def keyed(self, transaction: Transaction) -> tuple[KeyedTransaction, tuple[RowReference, ...]]:
        """A transaction with its keys and rows, and the parent rows whose keys must be looked up first."""
        keys, missing = self._index.keys_of(transaction.changes)
        rows = frozenset(
            row_id(change, self._primary_keys[change.table])
            for change in transaction.changes
            if change.table in self._primary_keys
        )
        declared = bool(transaction.changes) and all(
            is_background(change, self._background, transaction.application) for change in transaction.changes
        )
        return KeyedTransaction(transaction, keys, rows, declared and not transaction.names), missing

    def deliver(self, keyed: KeyedTransaction) -> None:
        """Take in the next live transaction, in commit order."""
        transaction = keyed.transaction
        self._places.append((transaction.committed_us, transaction.end_lsn))
        self._attributor.add(keyed)
        if keyed.declared_background:
            self._apply_rows(keyed)
            return
        number = next(self._numbers)
        self._held[transaction.end_lsn] = (number, keyed)
        self._lanes.add(number, keys=keyed.keys | keyed.rows, position=(transaction.end_lsn, number), held=True)

    def knows(self, window_id: str) -> bool:
        """Whether a window of this id was opened and is still remembered; each id is opened once."""
        return window_id in self._windows

    def gave_up(self, window: RequestWindow) -> bool:
        """Whether changes committed in this window may have been let go as background before it was known."""
        return window.opened_us < self._given_up_us

    def open(self, exchange: Exchange, window: RequestWindow) -> None:
        """Make an exchange known, before any of its batch is settled, so that overlaps are seen."""
        if exchange.overlapped and not window.tagged:
            window.overlapped = True
        first = self._windows.get(exchange.id)
        if first is not None and first.tagged:
            # Two requests named alike: a transaction that carries the name may be of either.
            first.overlapped = True
        self._windows[window.id] = window
        self._attributor.open(window)

    def settle(self, exchange: Exchange, window: RequestWindow, *, admit: bool, sure: bool = True) -> Claim | None:
        """Claim the exchange's transactions: a `Run` when they are surely its own, and `admit` lets it; else `Apply`s.

        Call only when everything committed before `window.closed_us` has been delivered. The claim says which it was:
        a `Run` was made if `admit` and the outcome is `attributed`. None, and nothing is done, when a request that is not
        known yet may be the owner and the client is not `sure` that all that ran at the same time are known.
        """
        ordering_keys = tuple(window.keys)
        claim = self._attributor.claim(window.id, sure=sure)
        if claim is None:
            return None
        if admit and claim.outcome is EffectsOutcome.ATTRIBUTED:
            self._add_run(exchange, window, claim)
        else:
            for keyed in claim.transactions:
                self._unhold(keyed)
                self._apply_rows(keyed)
        if not window.overlapped:
            for key in ordering_keys:
                self._release(self._attributor.release(before_us=window.opened_us, key=key))
        self._let_go_of_name(exchange, window)
        self._closed.append((window.closed_us or 0, window.id))
        return claim

    def add_unattributed_run(self, exchange: Exchange, claim: Claim) -> None:
        """Add a `Run` for a side without capture: its place is the end, its keys are the ordering key."""
        self._add_run(exchange, None, claim)

    def repair(self, stray: KeyedTransaction) -> None:
        """Add the repair of what a stray transaction of the shadow touched, before all that waits for its keys."""
        self._add(lambda _: RowRepair(stray.rows), stray.keys | stray.rows, 0)

    def release(self, *, before_us: int) -> int:
        """Give up waiting for an owner of what was committed before this time; return how many were background."""
        self._given_up_us = max(self._given_up_us, before_us)
        released = self._attributor.release(before_us=before_us)
        self._release(released)
        while self._closed and self._closed[0][0] < before_us - self._overlap_memory_us:
            _, window_id = self._closed.popleft()
            self._attributor.close(window_id)
            del self._windows[window_id]
        return len(released)

    def take(self, limit: int) -> list[tuple[int, Item]]:
        """Items that may start now, with the number to give back to `done`."""
        return [(number, self._items[number]) for number in self._lanes.take(limit)]

    def done(self, number: int) -> None:
        """An item has been carried out; those behind it may move up."""
        self._rows -= _rows_of(self._items.pop(number))
        self._lanes.done(number)

    def shed(self) -> list[Exchange]:
        """Forget all items that wait, so that only a resync makes the shadow equal; return the exchanges among them."""
        shed = [(number, self._items[number]) for number in self._lanes.idle()]
        for number, _ in shed:
            self.done(number)
        return [item.exchange for _, item in shed if isinstance(item, MirrorRun)]

    def _add_run(self, exchange: Exchange, window: RequestWindow | None, claim: Claim) -> None:
        for keyed in claim.transactions:
            self._unhold(keyed)
        lsn = claim.transactions[-1].transaction.end_lsn if claim.transactions else self._place(window)
        rows = frozenset[object]().union(*(keyed.rows for keyed in claim.transactions))
        keys = claim.keys.union(*(keyed.keys for keyed in claim.transactions))
        self._add(lambda number: MirrorRun(number, exchange, claim), keys | rows, lsn)

    def _add(self, make: Callable[[int], Item], keys: Iterable[object], lsn: int) -> None:
        number = next(self._numbers)
        self._items[number] = item = make(number)
        self._rows += _rows_of(item)
        self._lanes.add(number, keys=keys, position=(lsn, number))

    def _place(self, window: RequestWindow | None) -> int:
        """Where an exchange without effects stands: behind the last live commit before its end."""
        closed_us = window.closed_us if window is not None else None
        if not self._places:
            return 0
        if closed_us is None or self._places[-1][0] <= closed_us:
            return self._places[-1][1]
        found = bisect_right(self._places, closed_us, key=lambda place: place[0])
        return self._places[found - 1][1] if found else self._places[0][1]

    def _release(self, released: Iterable[KeyedTransaction]) -> None:
        for keyed in released:
            self._unhold(keyed)
            self._apply_rows(keyed)

    def _let_go_of_name(self, exchange: Exchange, window: RequestWindow) -> None:
        """Apply the changes that name a second request of one id: nobody else may claim them."""
        first = self._windows.get(exchange.id, window)
        claim = self._attributor.claim(first.id) if first is not window and first.tagged else None
        if claim is not None:
            self._release(claim.transactions)

    def _unhold(self, keyed: KeyedTransaction) -> None:
        number, _ = self._held.pop(keyed.transaction.end_lsn)
        self._lanes.remove(number)

    def _apply_rows(self, keyed: KeyedTransaction) -> None:
        """Add the rows of a transaction, split by their keys so that one that touches many keys does not couple their lanes."""
        groups: dict[frozenset[Key], list[RowChange]] = {}
        for change in keyed.transaction.changes:
            keys, _ = self._index.keys_of((change,))
            groups.setdefault(keys, []).append(change)
        for keys, changes in groups.items():
            self._add_apply(keys, tuple(changes), keyed.transaction)

    def _add_apply(self, keys: Keys, changes: tuple[RowChange, ...], transaction: Transaction) -> None:
        rows = frozenset(row_id(c, self._primary_keys[c.table]) for c in changes if c.table in self._primary_keys)
        xid, lsn = transaction.xid, transaction.end_lsn
        self._add(lambda _: BackgroundApply(changes, xid, lsn), keys | rows, lsn)
