"""Ties committed transactions to the request that made them, without guessing.

Pure. A transaction that names its request is that request's. Any other belongs to the one request whose keys it touches and
inside whose window it was committed; when several fit it is ambiguous, when none fits it is background.

A request starts with the ordering key of its route (`keys`) and gains the secondary keys (every kind but its own) of each
transaction that is surely its own, because a service may write rows that carry only such a key: the legacy's back-fill of hash
links writes rows with another address.
"""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from comparator.capture.attribution_keys import NO_KEYS, Key, Keys, RowId
from comparator.exchanges.model import EffectsOutcome
from comparator.exchanges.row_changes import Transaction
from comparator.tables import ROUTE_KIND


@dataclass(frozen=True, slots=True)
class KeyedTransaction:
    """A transaction with what attribution needs to know of it. `declared_background`: every row matches a rule."""

    transaction: Transaction
    keys: Keys
    rows: frozenset[RowId]
    declared_background: bool = False


@dataclass(slots=True)
class RequestWindow:
    """One request on one side: its id, its keys, when it could have written (Unix microseconds of the server's clock).

    `tagged`: this side names the request in its transactions, so an untagged transaction is never its own.
    `closed_us` None means the request is still running. `trace_id` is that of the traceparent it was sent with.
    """

    id: str
    keys: set[Key]
    opened_us: int
    closed_us: int | None
    tagged: bool = False
    overlapped: bool = False
    trace_id: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """How a transaction may call this request."""
        return (self.id, f"trace:{self.trace_id}") if self.trace_id else (self.id,)

    def contains(self, committed_us: int) -> bool:
        """Whether a commit at this time may be of this request."""
        return self.opened_us <= committed_us and (self.closed_us is None or committed_us <= self.closed_us)

    def overlaps(self, other: "RequestWindow") -> bool:
        """Whether both ran at the same time for a moment and share a key."""
        return _ran_concurrently(self, other) and not self.keys.isdisjoint(other.keys)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is attributed to a request: its transactions in commit order, how sure that is, and all keys they touch.

    With an outcome other than `attributed` the transactions are those that may be its own; they are taken all the same, so
    that an aligner applies them, but they are not compared.
    """

    outcome: EffectsOutcome
    transactions: tuple[KeyedTransaction, ...]
    keys: Keys


class _UnclaimedTransactions:
    """Transactions without an owner, found by key, by row, by the request they name, or by order."""

    def __init__(self) -> None:
        self.by_lsn: dict[int, KeyedTransaction] = {}
        self._by_key: dict[Key, dict[int, KeyedTransaction]] = {}
        self._by_name: dict[str, dict[int, KeyedTransaction]] = {}
        self._by_row: dict[RowId, dict[int, KeyedTransaction]] = {}

    def add(self, keyed: KeyedTransaction) -> None:
        lsn = keyed.transaction.end_lsn
        self.by_lsn[lsn] = keyed
        for index, names in self._indexes(keyed):
            for name in names:
                index.setdefault(name, {})[lsn] = keyed

    def remove(self, keyed: KeyedTransaction) -> None:
        lsn = keyed.transaction.end_lsn
        del self.by_lsn[lsn]
        for index, names in self._indexes(keyed):
            for name in names:
                holders = index[name]
                del holders[lsn]
                if not holders:
                    del index[name]

    def touching(self, keys: Iterable[Key], names: Iterable[str]) -> dict[int, KeyedTransaction]:
        found = {lsn: keyed for name in names for lsn, keyed in self._by_name.get(name, {}).items()}
        for key in keys:
            found.update(self._by_key.get(key, {}))
        return found

    def on_rows(self, rows: Iterable[RowId]) -> list[KeyedTransaction]:
        return [keyed for row in rows for keyed in self._by_row.get(row, {}).values()]

    def _indexes(
        self, keyed: KeyedTransaction
    ) -> tuple[tuple[dict[Any, dict[int, KeyedTransaction]], Iterable[Any]], ...]:
        return (
            (self._by_key, keyed.keys),
            (self._by_row, keyed.rows),
            (self._by_name, keyed.transaction.names),
        )


class Attributor:
    """The transactions of one side that no request has claimed yet, and the windows they may fall into.

    Feed it in commit order (`add`), announce windows as soon as they are known (`open`), `claim` a window when a fence says
    that everything committed before its end is in. `release` hands out what no known window can own.

    Args:
        primary_kind: the kind of the ordering key; a window gains keys of every other kind from its own transactions.
        background_remembered_max: how many declared background transactions are kept to recognise interference.
    """

    def __init__(self, *, primary_kind: str = ROUTE_KIND, background_remembered_max: int = 2_000) -> None:
        self._primary_kind = primary_kind
        self._pending = _UnclaimedTransactions()
        self._windows: dict[str, RequestWindow] = {}
        self._by_key: dict[Key, dict[str, RequestWindow]] = {}
        self._by_name: dict[str, dict[str, RequestWindow]] = {}
        self._background: deque[KeyedTransaction] = deque(maxlen=background_remembered_max)

    @property
    def pending(self) -> int:
        """How many transactions wait for an owner."""
        return len(self._pending.by_lsn)

    def add(self, keyed: KeyedTransaction) -> None:
        """Take in the next transaction of the stream; declared background is remembered, and owned by no request."""
        if keyed.declared_background:
            self._background.append(keyed)
        else:
            self._pending.add(keyed)

    def open(self, window: RequestWindow) -> None:
        """Make a window known; windows with a common key at a common time are marked overlapped unless both are tagged."""
        for other in self._neighbours(window.keys):
            if window.overlaps(other) and not (window.tagged and other.tagged):
                window.overlapped = other.overlapped = True
        self._windows[window.id] = window
        for name in window.names:
            self._by_name.setdefault(name, {})[window.id] = window
        self._index(window, window.keys)

    def claim(self, window_id: str, *, sure: bool = True) -> Claim | None:
        """Take the transactions of this window out of the pending ones.

        Args:
            window_id: an opened window.
            sure: whether every request that ran at the same time has been announced by now. If not, a transaction that
                carries another's primary key, and was found through a secondary key only, may be of a request that is
                still running: then nothing is taken and None is returned; ask again when it is sure.
        """
        window = self._windows[window_id]
        own, gained = self._matching(window)
        if not sure and any(self._may_belong_to_unannounced(window, keyed) for keyed in own.values()):
            return None
        self._add_keys(window, gained)
        taken = tuple(own[lsn] for lsn in sorted(own))
        rivals = [other for keyed in taken for other in self._others(window, keyed)]
        for other in rivals:
            # What is taken here may be the other's: neither has its effects for sure.
            other.overlapped = True
        for keyed in taken:
            self._pending.remove(keyed)
        return Claim(self._outcome(window, taken, ambiguous=bool(rivals)), taken, frozenset(window.keys))

    def close(self, window_id: str) -> None:
        """Forget a window; nothing is attributed to it any more."""
        window = self._windows.pop(window_id, None)
        if window is not None:
            _forget(self._by_key, window.keys, window_id)
            _forget(self._by_name, window.names, window_id)

    def release(self, *, before_us: int, key: Key | None = None) -> list[KeyedTransaction]:
        """Take out, as background, the transactions committed before this time that no known window may own.

        With `key` only those that touch it: a request that overlaps no other on its key proves that an earlier,
        unclaimed transaction on that key belongs to none.
        """
        scope = self._pending.by_lsn if key is None else self._pending.touching((key,), ())
        found = [
            keyed
            for keyed in scope.values()
            if keyed.transaction.committed_us < before_us
            and (key is None or not keyed.transaction.names)
            and not any(self._fits(window, keyed) for window in self._candidates(keyed))
        ]
        for keyed in found:
            self._pending.remove(keyed)
            self._background.append(keyed)
        return found

    def discard(self, dealt_with: Callable[[Transaction], bool]) -> None:
        """Drop the pending transactions of which this is true."""
        for keyed in [k for k in self._pending.by_lsn.values() if dealt_with(k.transaction)]:
            self._pending.remove(keyed)

    def _fits(self, window: RequestWindow, keyed: KeyedTransaction, *, more: AbstractSet[Key] = NO_KEYS) -> bool:
        if keyed.transaction.request_id:
            return keyed.transaction.request_id == window.id
        if keyed.transaction.names:
            return not set(window.names).isdisjoint(keyed.transaction.names) and window.contains(
                keyed.transaction.committed_us
            )
        if window.tagged or not window.contains(keyed.transaction.committed_us):
            return False
        return not window.keys.isdisjoint(keyed.keys) or not more.isdisjoint(keyed.keys)

    def _others(self, window: RequestWindow, keyed: KeyedTransaction) -> list[RequestWindow]:
        """Other windows that a transaction fits."""
        return [o for o in self._candidates(keyed) if o.id != window.id and self._fits(o, keyed)]

    def _candidates(self, keyed: KeyedTransaction) -> list[RequestWindow]:
        named = [w for name in keyed.transaction.names for w in self._by_name.get(name, {}).values()]
        return list({w.id: w for w in (*self._neighbours(keyed.keys), *named)}.values())

    def _neighbours(self, keys: Iterable[Key]) -> list[RequestWindow]:
        return list({id_: w for key in keys for id_, w in self._by_key.get(key, {}).items()}.values())

    def _index(self, window: RequestWindow, keys: Iterable[Key]) -> None:
        for key in keys:
            self._by_key.setdefault(key, {})[window.id] = window

    def _matching(self, window: RequestWindow) -> tuple[dict[int, KeyedTransaction], set[Key]]:
        """The pending transactions that fit the window, and the secondary keys that it gains from them."""
        own: dict[int, KeyedTransaction] = {}
        gained: set[Key] = set()
        if window.tagged or not window.keys:
            found = self._pending.touching((), window.names)
            own = {lsn: keyed for lsn, keyed in found.items() if self._fits(window, keyed)}
            return own, {key for keyed in own.values() for key in self._secondary(keyed)} - window.keys
        fresh = set(window.keys)
        while fresh:
            found = self._pending.touching(fresh, window.names)
            new = {lsn: k for lsn, k in found.items() if lsn not in own and self._fits(window, k, more=gained)}
            own |= new
            fresh = {key for keyed in new.values() for key in self._secondary(keyed)} - window.keys - gained
            gained |= fresh
        return own, gained

    def _secondary(self, keyed: KeyedTransaction) -> Iterable[Key]:
        return (key for key in keyed.keys if key[0] != self._primary_kind)

    def _may_belong_to_unannounced(self, window: RequestWindow, keyed: KeyedTransaction) -> bool:
        primary = {key for key in keyed.keys if key[0] == self._primary_kind}
        named = keyed.transaction.request_id
        return not named and bool(primary) and primary.isdisjoint(window.keys) and not self._others(window, keyed)

    def _add_keys(self, window: RequestWindow, gained: set[Key]) -> None:
        """Add secondary keys to a window; one that ran at the same time and shares them overlaps."""
        for other in self._neighbours(gained):
            if not (window.tagged and other.tagged) and other.id != window.id and _ran_concurrently(window, other):
                window.overlapped = other.overlapped = True
        window.keys |= gained
        self._index(window, gained)

    def _outcome(self, window: RequestWindow, own: tuple[KeyedTransaction, ...], *, ambiguous: bool) -> EffectsOutcome:
        if window.overlapped:
            return EffectsOutcome.OVERLAPPED
        if ambiguous:
            return EffectsOutcome.AMBIGUOUS
        rows = frozenset[RowId]().union(*(keyed.rows for keyed in own))
        strangers = [*self._pending.on_rows(rows), *(k for k in self._background if not k.rows.isdisjoint(rows))]
        if any(not k.transaction.names and window.contains(k.transaction.committed_us) for k in strangers):
            return EffectsOutcome.INTERFERED
        return EffectsOutcome.ATTRIBUTED


def _forget(index: dict[Any, dict[str, RequestWindow]], names: Iterable[Any], window_id: str) -> None:
    for name in names:
        holders = index.get(name, {})
        holders.pop(window_id, None)
        if not holders:
            index.pop(name, None)


def _ran_concurrently(window: RequestWindow, other: RequestWindow) -> bool:
    return (other.closed_us is None or window.opened_us <= other.closed_us) and (
        window.closed_us is None or other.opened_us <= window.closed_us
    )
