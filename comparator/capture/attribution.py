"""Attribute committed transactions to the requests that made them, without guessing. Pure.

A transaction that names its request belongs to that request. Any other belongs to the one request whose window it was committed in and
with which it shares a key; if several requests match it is ambiguous, if none matches it is background.

    window of request r1, key (address, 0xA)   |-----------------------|
    window of request r2, key (address, 0xB)            |--------------------------|
    commits                                       t1        t2      t3          t4

    t1 writes a row with key (address, 0xA)                          -> r1
    t2 writes rows with keys (address, 0xA) and (address, 0xB)       -> ambiguous: it matches r1 and r2, so neither is compared
    t3 writes a row with key (address, 0xB)                          -> r2
    t4 writes a row with key (address, 0xC)                          -> background: no window has this key

A request starts with the ordering key of its route and gains the secondary keys (those of every other kind) of the transactions that
are certainly its own, because a service may write rows that carry only such a key. Example: t1 also contains (nullifier, v0:9); from
then on r1 owns a transaction that contains (nullifier, v0:9) alone. The legacy's back-fill of hash links writes such rows.

A transaction without any key (an audit row without an address) has nothing but its time. It belongs to the request in whose
window alone it was committed; if there are several, its tables are left out of the comparison of each (`Claim.left_out`).

    commits                                  t5               t6
    t5 writes a row without a key, in the window of r1 alone        -> r1
    t6 does so in the windows of r1 and r2                          -> neither: the table is left out of both comparisons

A table of which such a row was once committed in no window at all has another writer, so its rows are never attributed by time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

from comparator.capture.attribution_keys import NO_KEYS, Key, Keys, RowId
from comparator.capture.tag_belief import TagBelief
from comparator.exchanges.model import EffectsOutcome, LeftOutReason, Side
from comparator.exchanges.row_changes import Op, Transaction
from comparator.tables import ROUTE_KIND

NOTHING_LEFT_OUT: Final[Mapping[str, LeftOutReason]] = {}
XIDS: Final = 2**32
"""Transaction ids before they are used again; of two, the later one is ahead by less than half of them."""


@dataclass(frozen=True, slots=True)
class KeyedTransaction:
    """A transaction with the facts that attribution needs.

    Attributes:
        transaction: the committed transaction.
        keys: all attribution keys that its rows carry.
        rows: the rows that it changed.
        declared_background: every row matches a rule of `compare.background`.
    """

    transaction: Transaction
    keys: Keys
    rows: frozenset[RowId]
    declared_background: bool = False

    @property
    def tables(self) -> frozenset[str]:
        """Names of the tables that it changed."""
        return frozenset(change.table for change in self.transaction.changes)

    @property
    def is_keyless(self) -> bool:
        """True if nothing but its time ties it to a request."""
        return not self.keys and not self.transaction.names and bool(self.transaction.changes)


@dataclass(slots=True)
class RequestWindow:
    """The time in which one request could have written on one side, and its keys.

    Attributes:
        id: X-Request-Id.
        keys: attribution keys of the request; `claim` adds secondary keys.
        opened_us: start of the window in Unix microseconds of the server's clock.
        closed_us: end of the window; None while the request is running.
        tagged: this side names the request in its transactions, so an untagged transaction is never its own.
        overlapped: another request with a common key ran at the same time.
        trace_id: W3C trace id that the request was sent with, "" for none.
        side: the side that has the request.
        began_us, ended_us: when the request came and when the response had been sent, by the clock of the proxy; None where that is not
            known. A commit before or behind it may be of the last or the next request on the same key, which may not have been read.
        known_alone: no other request on its keys ran between these times. Only a proxy of one process knows that when the request ends.
        unjournaled: a request that is in no journal may have written on its keys in this window.
        after_xid: a transaction id that was in use before the request was sent, None where that is not known. Ids are given in order, so
            a transaction with this id or an earlier one was writing already, and is another's.
        clock_ahead: its proxy's clock is ahead of the database's. What it says of the order of requests is not to be trusted: others that
            began earlier may still be read.
    """

    id: str
    keys: set[Key]
    opened_us: int
    closed_us: int | None
    tagged: bool = False
    overlapped: bool = False
    trace_id: str = ""
    side: Side | None = None
    began_us: int | None = None
    ended_us: int | None = None
    known_alone: bool = True
    unjournaled: bool = False
    after_xid: int | None = None
    clock_ahead: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which a transaction may refer to this request."""
        return (self.id, f"trace:{self.trace_id}") if self.trace_id else (self.id,)

    def began_before(self, transaction: Transaction) -> bool:
        """Return whether this request was sent before a transaction wrote its first row, as far as that is known."""
        return self.after_xid is None or 0 < (transaction.xid - self.after_xid) % XIDS < XIDS // 2

    def contains(self, committed_us: int) -> bool:
        """Return whether a commit at this time may belong to this request."""
        return self.opened_us <= committed_us and (self.closed_us is None or committed_us <= self.closed_us)

    def surely_saw(self, committed_us: int) -> bool:
        """Return whether no other request on its keys can have committed at this time, as far as its proxy can tell at its end."""
        if self.began_us is None or self.ended_us is None:
            return True
        return self.known_alone and self.began_us <= committed_us <= self.ended_us

    def overlaps(self, other: "RequestWindow") -> bool:
        """Return whether both requests ran at the same time, however shortly, and share a key."""
        return _ran_concurrently(self, other) and not self.keys.isdisjoint(other.keys)


@dataclass(frozen=True, slots=True)
class Claim:
    """The transactions that were attributed to a request.

    Attributes:
        outcome: confidence of the attribution. Unless it is `attributed`, the transactions are those that may be its own: they are
            claimed all the same, so that they are applied to the shadow, but they are not compared.
        transactions: the claimed transactions in commit order.
        keys: the keys of the request, those gained from its transactions included.
        left_out: tables of which rows may be the request's or another's, because they carry no key; each with the reason.
    """

    outcome: EffectsOutcome
    transactions: tuple[KeyedTransaction, ...]
    keys: Keys
    left_out: Mapping[str, LeftOutReason] = field(default_factory=dict[str, LeftOutReason])


class _UnclaimedTransactions:
    """Transactions that no request has claimed, indexed by key, by row and by the request that they name."""

    def __init__(self) -> None:
        self.by_lsn: dict[int, KeyedTransaction] = {}
        self.keyless: dict[int, KeyedTransaction] = {}
        self._by_key: dict[Key, dict[int, KeyedTransaction]] = {}
        self._by_name: dict[str, dict[int, KeyedTransaction]] = {}
        # (a list only where several write one row: nearly every row is written by one)
        self._by_row: dict[RowId, KeyedTransaction | list[KeyedTransaction]] = {}

    def add(self, keyed: KeyedTransaction) -> None:
        lsn = keyed.transaction.end_lsn
        self.by_lsn[lsn] = keyed
        if keyed.is_keyless:
            self.keyless[lsn] = keyed
        for index, names in self._indexes(keyed):
            for name in names:
                index.setdefault(name, {})[lsn] = keyed
        for row in keyed.rows:
            others = self._by_row.setdefault(row, keyed)
            if isinstance(others, list):
                others.append(keyed)
            elif others is not keyed:
                self._by_row[row] = [others, keyed]

    def remove(self, keyed: KeyedTransaction) -> None:
        lsn = keyed.transaction.end_lsn
        del self.by_lsn[lsn]
        self.keyless.pop(lsn, None)
        for index, names in self._indexes(keyed):
            for name in names:
                holders = index[name]
                del holders[lsn]
                if not holders:
                    del index[name]
        for row in keyed.rows:
            others = self._by_row[row]
            if isinstance(others, list):
                left = [other for other in others if other.transaction.end_lsn != lsn]
                self._by_row[row] = left if len(left) > 1 else left[0]
            else:
                del self._by_row[row]

    def find(self, keys: Iterable[Key], names: Iterable[str]) -> dict[int, KeyedTransaction]:
        matching = {lsn: keyed for name in names for lsn, keyed in self._by_name.get(name, {}).items()}
        for key in keys:
            matching.update(self._by_key.get(key, {}))
        return matching

    def on_rows(self, rows: Iterable[RowId]) -> list[KeyedTransaction]:
        found: list[KeyedTransaction] = []
        for row in rows:
            writers = self._by_row.get(row)
            if isinstance(writers, list):
                found += writers
            elif writers is not None:
                found.append(writers)
        return found

    def _indexes(
        self, keyed: KeyedTransaction
    ) -> tuple[tuple[dict[Any, dict[int, KeyedTransaction]], Iterable[Any]], ...]:
        return (
            (self._by_key, keyed.keys),
            (self._by_name, keyed.transaction.names),
        )


class Attributor:
    """Attribute the transactions of one side to windows.

    `add` transactions in commit order, `open` windows as soon as they are known, and `claim` a window when a fence guarantees that
    everything committed before its end has been added. `release` returns transactions that no known window can own.

    Args:
        primary_kind: kind of the ordering keys; a window gains keys of every other kind from its own transactions.
        background_remembered_max: number of declared background transactions that are remembered to detect interference.
    """

    def __init__(self, *, primary_kind: str = ROUTE_KIND, background_remembered_max: int = 2_000) -> None:
        self._primary_kind = primary_kind
        self._unclaimed = _UnclaimedTransactions()
        self._windows: dict[str, RequestWindow] = {}
        self._by_key: dict[Key, dict[str, RequestWindow]] = {}
        self._by_name: dict[str, dict[str, RequestWindow]] = {}
        self._background: deque[KeyedTransaction] = deque(maxlen=background_remembered_max)
        self._undecided: set[str] = set()
        self._shared: set[int] = set()
        self._written_by_others: set[str] = set()
        self._beliefs: dict[Side | None, TagBelief] = {}

    @property
    def untagged_sides(self) -> frozenset[Side]:
        """Sides whose windows are tagged although their writes carry no name."""
        return frozenset(side for side, belief in self._beliefs.items() if side is not None and belief.untagged)

    @property
    def unclaimed(self) -> int:
        """The number of unclaimed transactions."""
        return len(self._unclaimed.by_lsn)

    def add(self, keyed: KeyedTransaction) -> None:
        """Add the next transaction of the stream; declared background is remembered but never claimed."""
        if keyed.declared_background:
            self._background.append(keyed)
        else:
            self._unclaimed.add(keyed)

    def open(self, window: RequestWindow) -> None:
        """Announce a window. Concurrent windows with a common key are marked overlapped unless both are tagged."""
        for other in self._windows_with(window.keys):
            if window.overlaps(other) and not (window.tagged and other.tagged):
                window.overlapped = other.overlapped = True
        self._windows[window.id] = window
        self._undecided.add(window.id)
        for name in window.names:
            self._by_name.setdefault(name, {})[window.id] = window
        self._index(window, window.keys)

    def claim(self, window_id: str, *, all_announced: bool = True) -> Claim | None:
        """Claim the unclaimed transactions of this window.

        Args:
            window_id: id of an opened window.
            all_announced: every request that ran at the same time has been announced. Otherwise a transaction that matches by a secondary
                key only, and carries a foreign primary key, may belong to a request that is still running; so may one that was committed
                before the request or behind its response, any one without a name if others may have run on the keys (`known_alone`), one
                without any key, and one without a name in the window of a tagged request.

        Returns:
            The claim; None, with nothing claimed, when such a transaction was found: try again later.
        """
        window = self._windows[window_id]
        own, gained = self._matching(window)
        if not all_announced and any(self._may_belong_to_unannounced(window, keyed) for keyed in own.values()):
            return None
        # (rows without a name show nothing of a side while they may be those of a request that is in no journal)
        unnamed = [] if own or not window.tagged or window.unjournaled else self._unnamed(window)
        keyless = [] if window.tagged else self._keyless(window)
        if not all_announced and (keyless or (unnamed and not self._names_requests(window))):
            return None
        self._undecided.discard(window_id)
        if window.tagged and (own or unnamed):
            return self._claim_tagged(window, own, gained, unnamed)
        left_out: dict[str, LeftOutReason] = {}
        for keyed in keyless:
            reason = self._doubt(window, keyed)
            if reason is None:
                own[keyed.transaction.end_lsn] = keyed
            else:
                self._shared.add(keyed.transaction.end_lsn)
                left_out |= dict.fromkeys(keyed.tables, reason)
        return self._claim(window, own, gained, left_out=left_out)

    def _claim_tagged(
        self, window: RequestWindow, own: dict[int, KeyedTransaction], gained: set[Key], unnamed: list[KeyedTransaction]
    ) -> Claim:
        """Claim by name; without any name in a transaction, decide whether the side gives none."""
        belief = self._beliefs.setdefault(window.side, TagBelief())
        if own:
            belief.add_named()
            return self._claim(window, own, gained)
        belief.add_missed()
        if not belief.untagged:
            return self._claim(window, own, gained)
        claim = self._claim(window, {keyed.transaction.end_lsn: keyed for keyed in unnamed}, gained)
        return replace(claim, outcome=EffectsOutcome.UNTAGGED)

    def _claim(
        self,
        window: RequestWindow,
        own: dict[int, KeyedTransaction],
        gained: set[Key],
        *,
        left_out: Mapping[str, LeftOutReason] = NOTHING_LEFT_OUT,
    ) -> Claim:
        self._add_keys(window, gained)
        claimed = tuple(own[lsn] for lsn in sorted(own))
        rivals = [other for keyed in claimed for other in self._rivals(window, keyed)]
        for other in rivals:
            # The transaction may belong to the other window: the effects of neither are certain.
            other.overlapped = True
        for keyed in claimed:
            self._unclaimed.remove(keyed)
        outcome = self._outcome(window, claimed, ambiguous=bool(rivals))
        return Claim(outcome, claimed, frozenset(window.keys), left_out)

    def unclaimed_on(self, keys: Iterable[Key]) -> list[KeyedTransaction]:
        """Return the transactions with one of these keys that no request has claimed."""
        return list(self._unclaimed.find(keys, ()).values())

    def unnamed_within(self, keys: AbstractSet[Key], *, from_us: int, until_us: int) -> bool:
        """Return whether a transaction that names no request, and has one of these keys, was committed in this time."""
        return any(
            not keyed.transaction.names
            and from_us <= keyed.transaction.committed_us <= until_us
            and not keyed.keys.isdisjoint(keys)
            for keyed in chain(self._unclaimed.find(keys, ()).values(), self._background)
        )

    def close(self, window_id: str) -> None:
        """Remove a window; nothing is attributed to it any more."""
        window = self._windows.pop(window_id, None)
        self._undecided.discard(window_id)
        if window is not None:
            _forget(self._by_key, window.keys, window_id)
            _forget(self._by_name, window.names, window_id)

    def release(self, *, before_us: int, key: Key | None = None) -> list[KeyedTransaction]:
        """Remove and return, as background, the transactions that no known window may own.

        Args:
            before_us: only transactions committed before this time (Unix microseconds of the server's clock).
            key: only transactions that carry this key and name no request: once a request has run without overlapping another one on
                its key, an earlier unclaimed transaction on that key cannot belong to any request.
        """
        waiting = (self._windows[window_id] for window_id in self._undecided)
        undecided = [window for window in waiting if not (window.tagged and self._names_requests(window))]
        scope = self._unclaimed.by_lsn if key is None else self._unclaimed.find((key,), ())
        background = [
            keyed
            for keyed in scope.values()
            if keyed.transaction.committed_us < before_us
            and (key is None or not keyed.transaction.names)
            and not any(self._matches(window, keyed) for window in self._candidates(keyed))
            and not _is_evidence(keyed, undecided)
        ]
        for keyed in background:
            self._unclaimed.remove(keyed)
            if keyed.is_keyless and keyed.transaction.end_lsn not in self._shared:
                self._written_by_others |= keyed.tables
            self._shared.discard(keyed.transaction.end_lsn)
            self._background.append(keyed)
        return background

    def discard(self, dealt_with: Callable[[Transaction], bool]) -> None:
        """Drop the unclaimed transactions for which `dealt_with` is true."""
        for keyed in [k for k in self._unclaimed.by_lsn.values() if dealt_with(k.transaction)]:
            self._unclaimed.remove(keyed)
            self._shared.discard(keyed.transaction.end_lsn)

    def other_writers(self, window_id: str, *, running: Iterable[str]) -> bool:
        """Return whether an unclaimed transaction on this window's keys belongs neither to it nor to a running request.

        Args:
            window_id: id of an opened window.
            running: ids of the windows of requests that run.
        """
        windows = [self._windows[window_id], *(self._windows[other] for other in running)]
        on_keys = self._unclaimed.find(windows[0].keys, ()).values()
        return any(not any(self._matches(window, keyed) for window in windows) for keyed in on_keys)

    def _unnamed(self, window: RequestWindow) -> list[KeyedTransaction]:
        """Return the transactions without a name by which a tagged window's side shows that it gives none.

        Those are committed in the window on one of its keys, and by no untagged request.
        """
        on_keys = self._unclaimed.find(window.keys, ()).values()
        unnamed = [k for k in on_keys if self._is_nameless_in(window, k) and not self._rivals(window, k)]
        if self._names_requests(window):
            return unnamed
        return unnamed + [
            k
            for k in self._unclaimed.keyless.values()
            if window.contains(k.transaction.committed_us) and self._doubt(window, k) is None
        ]

    def _is_nameless_in(self, window: RequestWindow, keyed: KeyedTransaction) -> bool:
        return (
            not keyed.transaction.names
            and window.contains(keyed.transaction.committed_us)
            and window.began_before(keyed.transaction)
        )

    def _keyless(self, window: RequestWindow) -> list[KeyedTransaction]:
        """Return the transactions without a key that were committed in an untagged window."""
        return [k for k in self._unclaimed.keyless.values() if window.contains(k.transaction.committed_us)]

    def _doubt(self, window: RequestWindow, keyed: KeyedTransaction) -> LeftOutReason | None:
        """Return the reason for which a transaction without a key may be of another writer; None if no other request may have made it."""
        if any(change.op is Op.TRUNCATE for change in keyed.transaction.changes):
            return LeftOutReason.EMPTIED
        if not self._written_by_others.isdisjoint(keyed.tables) or not window.began_before(keyed.transaction):
            return LeftOutReason.OTHER_WRITER
        shared = (
            window.unjournaled
            or keyed.transaction.end_lsn in self._shared
            or any(
                other.id != window.id
                and other.contains(keyed.transaction.committed_us)
                and not (other.tagged and self._names_requests(other))
                for other in self._windows.values()
            )
        )
        return LeftOutReason.SHARED if shared else None

    def _names_requests(self, window: RequestWindow) -> bool:
        """Return whether the window's side has shown that it names its requests."""
        return self._beliefs.get(window.side, TagBelief()).confirmed

    def _matches(self, window: RequestWindow, keyed: KeyedTransaction, *, more: AbstractSet[Key] = NO_KEYS) -> bool:
        if not window.began_before(keyed.transaction):
            return False
        if keyed.transaction.request_id:
            return keyed.transaction.request_id == window.id
        if keyed.transaction.names:
            return not set(window.names).isdisjoint(keyed.transaction.names) and window.contains(
                keyed.transaction.committed_us
            )
        if window.tagged or not window.contains(keyed.transaction.committed_us):
            return False
        return not window.keys.isdisjoint(keyed.keys) or not more.isdisjoint(keyed.keys)

    def _rivals(self, window: RequestWindow, keyed: KeyedTransaction) -> list[RequestWindow]:
        """Return the other windows that a transaction matches."""
        return [o for o in self._candidates(keyed) if o.id != window.id and self._matches(o, keyed)]

    def _candidates(self, keyed: KeyedTransaction) -> list[RequestWindow]:
        named = [w for name in keyed.transaction.names for w in self._by_name.get(name, {}).values()]
        return list({w.id: w for w in (*self._windows_with(keyed.keys), *named)}.values())

    def _windows_with(self, keys: Iterable[Key]) -> list[RequestWindow]:
        return list({id_: w for key in keys for id_, w in self._by_key.get(key, {}).items()}.values())

    def _index(self, window: RequestWindow, keys: Iterable[Key]) -> None:
        for key in keys:
            self._by_key.setdefault(key, {})[window.id] = window

    def _matching(self, window: RequestWindow) -> tuple[dict[int, KeyedTransaction], set[Key]]:
        """Return the unclaimed transactions that match the window, by position, and the secondary keys that it gains from them.

        Each round looks for transactions with the keys gained in the round before, until no new key appears.
        """
        own: dict[int, KeyedTransaction] = {}
        gained: set[Key] = set()
        if window.tagged or not window.keys:
            candidates = self._unclaimed.find((), window.names)
            own = {lsn: keyed for lsn, keyed in candidates.items() if self._matches(window, keyed)}
            return own, {key for keyed in own.values() for key in self._secondary(keyed)} - window.keys
        fresh = set(window.keys)
        while fresh:
            candidates = self._unclaimed.find(fresh, window.names)
            new = {lsn: k for lsn, k in candidates.items() if lsn not in own and self._matches(window, k, more=gained)}
            own |= new
            fresh = {key for keyed in new.values() for key in self._secondary(keyed)} - window.keys - gained
            gained |= fresh
        return own, gained

    def _secondary(self, keyed: KeyedTransaction) -> Iterable[Key]:
        return (key for key in keyed.keys if key[0] != self._primary_kind)

    def _may_belong_to_unannounced(self, window: RequestWindow, keyed: KeyedTransaction) -> bool:
        primary = {key for key in keyed.keys if key[0] == self._primary_kind}
        named = keyed.transaction.request_id
        if not keyed.transaction.names and not window.surely_saw(keyed.transaction.committed_us):
            return True
        return not named and bool(primary) and primary.isdisjoint(window.keys) and not self._rivals(window, keyed)

    def _add_keys(self, window: RequestWindow, gained: set[Key]) -> None:
        """Add secondary keys to a window; concurrent windows that share one of them overlap."""
        for other in self._windows_with(gained):
            if not (window.tagged and other.tagged) and other.id != window.id and _ran_concurrently(window, other):
                window.overlapped = other.overlapped = True
        window.keys |= gained
        self._index(window, gained)

    def _outcome(self, window: RequestWindow, own: tuple[KeyedTransaction, ...], *, ambiguous: bool) -> EffectsOutcome:
        if window.overlapped:
            return EffectsOutcome.OVERLAPPED
        if ambiguous:
            return EffectsOutcome.AMBIGUOUS
        if window.unjournaled and self._may_be_unjournaled(window, own):
            return EffectsOutcome.UNJOURNALED
        rows = frozenset[RowId]().union(*(keyed.rows for keyed in own))
        foreign = [*self._unclaimed.on_rows(rows), *(k for k in self._background if not k.rows.isdisjoint(rows))]
        if any(not k.transaction.names and window.contains(k.transaction.committed_us) for k in foreign):
            return EffectsOutcome.INTERFERED
        return EffectsOutcome.ATTRIBUTED

    def _may_be_unjournaled(self, window: RequestWindow, own: tuple[KeyedTransaction, ...]) -> bool:
        """Return whether a request that is in no journal may have made one of these transactions, or another on the window's keys.

        Those that name the request are no exception: many a client whose connection breaks sends its request once more with the same id.
        """
        if own:
            return True
        return window.closed_us is not None and self.unnamed_within(
            window.keys, from_us=window.opened_us, until_us=window.closed_us
        )


def _is_evidence(keyed: KeyedTransaction, undecided: Iterable[RequestWindow]) -> bool:
    """Return whether one of these requests may claim a transaction by its time, or show by it that its side gives no names."""
    return not keyed.transaction.names and any(
        (keyed.is_keyless or (window.tagged and not window.keys.isdisjoint(keyed.keys)))
        and window.contains(keyed.transaction.committed_us)
        for window in undecided
    )


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
