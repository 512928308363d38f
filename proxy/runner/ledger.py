"""Order what the shadow has to do: mirrored runs of exchanges, and live's other changes, in the order of live's commits.

Pure; times are arguments in Unix microseconds. A live transaction gets its position in the scheduler when it is delivered, before its
exchange is known. Then an exchange claims it and both become a `MirrorRun`, or no exchange does and it becomes a `BackgroundApply`. So
the shadow receives all changes of live, in live's order, whatever happens to a comparison.

Worked example. The legacy serves exchange x (key 0xa1), which commits two transactions; a clean-up job commits one in between:

    delivered                         scheduler                       unclaimed
    LSN 10  keys 0xa1, row link 7     item 1 at (10, 1), reserved     10
    LSN 20  keys 0xb2, row link 8     item 2 at (20, 2), reserved     10, 20
    LSN 30  keys 0xa1, row score 5    item 3 at (30, 3), reserved     10, 20, 30

    claim(x): 10 and 30 fit its window and its key. Items 1 and 3 are removed; item 4 = MirrorRun(x) is added at (30, 4) with the keys
              and rows of both. It runs behind every earlier item on 0xa1, link 7 and score 5, and before every later one.
    release_unclaimed(): nothing claims 20 within claim_wait_ms. Item 2 is replaced by item 5 = BackgroundApply at (20, 5).
"""

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Final, NamedTuple, TypeAlias

from comparator.capture.attribution import Attributor, Claim, KeyedTransaction, RequestWindow
from comparator.capture.attribution_keys import (
    NO_KEYS,
    Key,
    KeyIndex,
    Keys,
    RowId,
    RowReference,
    is_background,
    row_ids,
)
from comparator.exchanges.model import EffectsOutcome, Exchange, Side
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.tables import BackgroundRule
from proxy.runner.key_scheduler import KeyScheduler

COMMITS_MAX = 20_000
"""Live commits whose time and LSN are kept, to place exchanges without effects and checkpoints."""
CLOCK_SET_BACK_US: Final = 2_000_000
"""A commit whose time is earlier than another's before it by more than this tells that live's clock was set back."""


class LiveCommit(NamedTuple):
    """A commit of live, in the order of the log.

    A server takes the time of a commit before it writes the commit to the log, so on a busy machine times are not in the log's order:

        log         LSN 10 at 150    LSN 20 at 100 (its process was not running from 100 to 150)
        latest_us          150              150

    No request can have seen the commit at LSN 20 before 150. So a commit is placed by `latest_us`, which never decreases.

    Attributes:
        latest_us: the latest time of the commits up to this one, in Unix microseconds.
        end_lsn: the LSN of its end.
    """

    latest_us: int
    end_lsn: int


@dataclass(frozen=True, slots=True)
class MirrorRun:
    """An exchange to be mirrored: the other side runs it on the shadow, from the state that the served side started from."""

    number: int
    exchange: Exchange
    claim: Claim

    @property
    def lsn(self) -> int:
        """End of the first live transaction that it stands for; 0 for none."""
        return self.claim.transactions[0].transaction.end_lsn if self.claim.transactions else 0


@dataclass(frozen=True, slots=True)
class BackgroundApply:
    """Changes of live to be applied to the shadow as they are: of the transaction `xid`, which ends at `lsn`."""

    changes: tuple[RowChange, ...]
    xid: int
    lsn: int


@dataclass(frozen=True, slots=True)
class RowRepair:
    """Rows of the shadow that something other than a mirrored request wrote; they are copied from live again.

    Attributes:
        rows: rows of tables with a primary key, and others, which are not copied.
        changes: changes of tables without a primary key, which are undone instead: no key finds their rows on live.
        lsn: 0: it stands for no transaction of live.
    """

    rows: frozenset[RowId]
    changes: tuple[RowChange, ...] = ()
    lsn: int = 0


WorkItem: TypeAlias = MirrorRun | BackgroundApply | RowRepair


def _row_count(item: WorkItem) -> int:
    match item:
        case MirrorRun():
            return sum(len(keyed.transaction.changes) for keyed in item.claim.transactions)
        case BackgroundApply():
            return len(item.changes)
        case RowRepair():
            return 0


class Ledger:
    """The live transactions that the shadow does not have yet, and the exchanges that they belong to.

    Args:
        index: finds the keys of rows; `keyed` names the rows that it lacks, and the caller looks them up before `deliver`.
        primary_keys: primary-key columns of the captured tables.
        background: rules that describe writers other than requests.
        undivided: tables whose rows constrain one another; a transaction that writes one is applied as a whole.
        overlap_memory_us: time for which the window of a finished exchange is kept, so that one that overlapped it is found.
    """

    def __init__(
        self,
        index: KeyIndex,
        *,
        primary_keys: Mapping[str, Sequence[str]],
        background: Sequence[BackgroundRule] = (),
        undivided: Collection[str] = (),
        overlap_memory_us: int = 5_000_000,
    ) -> None:
        self._index = index
        self._primary_keys = primary_keys
        self._background = background
        self.undivided = frozenset(undivided)
        self._overlap_memory_us = overlap_memory_us
        self._attributor = Attributor(primary_kind=index.route_kind)
        self._scheduler = KeyScheduler()
        self._items: dict[int, WorkItem] = {}
        self._rows = 0
        self._unclaimed: dict[int, tuple[int, KeyedTransaction]] = {}
        self._numbers = count(1)
        self._commits: deque[LiveCommit] = deque(maxlen=COMMITS_MAX)
        self._finished_windows: list[tuple[int, str]] = []
        self._windows: dict[str, RequestWindow] = {}
        self._began_us: dict[str, int] = {}
        self._released_before_us = 0

    def route_keys(self, exchange: Exchange) -> Keys:
        """Return the attribution key of the exchange's route."""
        return self._index.of_route(exchange.key)

    @property
    def waiting(self) -> int:
        """Number of items that wait or run, unclaimed transactions included."""
        return len(self._scheduler)

    @property
    def rows(self) -> int:
        """Number of changed rows of live in the items that wait or run."""
        return self._rows

    def is_overfull(self, rows_max: int) -> bool:
        """Return whether more changed rows wait or run than allowed, those of the largest transaction left out.

        One transaction alone may be as large as the capture delivers it: dropping it would cost a resync, and gain nothing.
        """
        if self._rows <= rows_max:
            return False
        by_origin: Counter[tuple[str, int]] = Counter()
        for number, item in self._items.items():
            # A transaction that no request made is applied in parts.
            origin = ("transaction", item.xid) if isinstance(item, BackgroundApply) else ("item", number)
            by_origin[origin] += _row_count(item)
        return self._rows - max(by_origin.values()) > rows_max

    def applied_lsn(self) -> int | None:
        """Return the LSN up to which every change of live is on the shadow; None when all that was delivered is."""
        pending = [*self._unclaimed, *(item.lsn for item in self._items.values() if item.lsn)]
        return min(pending) - 1 if pending else None

    @property
    def last_commit(self) -> LiveCommit | None:
        """The last live transaction that was delivered."""
        return self._commits[-1] if self._commits else None

    def applied_commit(self, before_us: int) -> LiveCommit | None:
        """Return the last commit of live before this time up to which every change is on the shadow, none of them at or after it."""
        limit = self.applied_lsn()
        end = bisect_left(self._commits, before_us, key=lambda commit: commit.latest_us)
        if limit is not None:
            end = min(end, bisect_right(self._commits, limit, key=lambda commit: commit.end_lsn))
        return self._commits[end - 1] if end else None

    def pending_changes(
        self, is_seen: Callable[[int], bool], applicable: Callable[[Sequence[RowChange], int], Sequence[RowChange]]
    ) -> list[RowChange]:
        """Return the changes that wait for the shadow, in commit order.

        Args:
            is_seen: whether the changes of a transaction are wanted; gets its xid.
            applicable: picks the changes of a transaction that the shadow will get, as `SchemaAgreement.applicable` does.
        """
        pending = [
            (lsn, keyed.transaction.xid, keyed.transaction.changes) for lsn, (_, keyed) in self._unclaimed.items()
        ]
        for item in self._items.values():
            if isinstance(item, BackgroundApply):
                pending.append((item.lsn, item.xid, item.changes))
            elif isinstance(item, MirrorRun):
                own = (keyed.transaction for keyed in item.claim.transactions)
                pending += [(transaction.end_lsn, transaction.xid, transaction.changes) for transaction in own]
        pending.sort(key=lambda entry: entry[0])
        return [change for _, xid, changes in pending if is_seen(xid) for change in applicable(changes, xid)]

    @property
    def untagged_sides(self) -> frozenset[Side]:
        """Sides that are configured to name their requests, and do not."""
        return self._attributor.untagged_sides

    @property
    def unattributed(self) -> int:
        """Number of live transactions that no exchange has claimed yet."""
        return self._attributor.unclaimed

    def keyed(self, transaction: Transaction) -> tuple[KeyedTransaction, tuple[RowReference, ...]]:
        """Return a transaction with its keys and rows, and the parent rows whose keys must be looked up first."""
        keys, missing = self._index.keys_of(transaction.changes)
        rows = self.rows_of(transaction.changes)
        declared = bool(transaction.changes) and all(
            is_background(change, self._background, transaction.application) for change in transaction.changes
        )
        return KeyedTransaction(transaction, keys, rows, declared and not transaction.names), missing

    def deliver(self, keyed: KeyedTransaction) -> None:
        """Add the next live transaction, in commit order."""
        transaction = keyed.transaction
        self._add_commit(transaction)
        self._attributor.add(keyed)
        if keyed.declared_background:
            self._add_applies(keyed)
            return
        number = next(self._numbers)
        self._unclaimed[transaction.end_lsn] = (number, keyed)
        self._scheduler.add(
            number,
            keys=keyed.keys | keyed.rows,
            position=(transaction.end_lsn, number, number),
            reserved=True,
            barrier=_truncates(transaction.changes),
        )

    def _add_commit(self, transaction: Transaction) -> None:
        latest_us = transaction.committed_us
        if self._commits and self._commits[-1].latest_us - latest_us > CLOCK_SET_BACK_US:
            # Times of before say nothing about those from now on.
            self._commits.clear()
        elif self._commits:
            latest_us = max(latest_us, self._commits[-1].latest_us)
        self._commits.append(LiveCommit(latest_us, transaction.end_lsn))

    def has_window(self, window_id: str) -> bool:
        """Return whether a window of this id was opened and is still kept; an id is opened once."""
        return window_id in self._windows

    def was_released(self, window: RequestWindow) -> bool:
        """Return whether changes committed in this window may have been released as background already."""
        return window.opened_us < self._released_before_us

    def open(self, exchange: Exchange, window: RequestWindow) -> None:
        """Open the window of an exchange. Open those of a whole batch before any of it claims, so that overlaps are found."""
        if exchange.overlapped and not window.tagged:
            window.overlapped = True
        first = self._windows.get(exchange.id)
        if first is not None and first.tagged:
            # Two requests have one id: a transaction that carries it may be of either.
            first.overlapped = True
        self._windows[window.id] = window
        self._began_us[window.id] = exchange.started_ns // 1_000
        self._attributor.open(window)

    def claim(self, exchange: Exchange, window: RequestWindow, *, mirror: bool, complete: bool = True) -> Claim | None:
        """Claim the exchange's transactions: as a `MirrorRun` if they are surely its own, else as `BackgroundApply`s.

        Call only when everything committed before `window.closed_us` has been delivered.

        Args:
            exchange: whose transactions are claimed.
            window: opened for it.
            mirror: whether to mirror it; False only applies its changes.
            complete: whether every request that ran at the same time is known by now.

        Returns:
            The claim; a run was added if `mirror` and the outcome is `attributed`. None, and nothing is changed, when a request
            that is not known yet may own one of the transactions: call again once `complete`.
        """
        route_keys = tuple(window.keys)
        claim = self._attributor.claim(window.id, all_announced=complete)
        if claim is None:
            return None
        if claim.outcome is EffectsOutcome.ATTRIBUTED and self._carries_id_of_another(window, claim):
            claim = replace(claim, outcome=EffectsOutcome.AMBIGUOUS)
        if claim.outcome is EffectsOutcome.ATTRIBUTED and self._may_have_seen_others(exchange, window, claim):
            claim = replace(claim, outcome=EffectsOutcome.INTERFERED)
        if mirror and claim.outcome is EffectsOutcome.ATTRIBUTED:
            self._add_run(exchange, claim)
        else:
            # Behind what came before it on the route's key, as its run would have been: else an earlier request could find its rows.
            self._apply_released(claim.transactions, frozenset(route_keys))
        if not (window.overlapped or window.clock_ahead):
            for key in route_keys:
                self._apply_released(self._attributor.release(before_us=window.opened_us, key=key))
        self._apply_duplicates(exchange, window)
        heappush(self._finished_windows, (window.closed_us or 0, window.id))
        return claim

    def add_response_run(self, exchange: Exchange, keys: Keys) -> Claim:
        """Add a `MirrorRun` that is compared by its response alone, behind all that was delivered for its keys."""
        claim = Claim(EffectsOutcome.OFF, (), keys)
        self._add_run(exchange, claim)
        return claim

    def repair(self, stray: KeyedTransaction) -> None:
        """Add the repair of the rows that a stray transaction of the shadow touched, before all that waits for its keys."""
        changes = stray.transaction.changes
        whole_rows = tuple(change for change in changes if not self._primary_keys.get(change.table, ("",)))
        truncates = tuple(change for change in changes if change.op is Op.TRUNCATE and change not in whole_rows)
        self._add(
            lambda _: RowRepair(stray.rows, whole_rows + truncates),
            stray.keys | stray.rows,
            0,
            barrier=bool(truncates),
        )

    def keys_of_images(self, images: Iterable[tuple[str, Row]]) -> Keys:
        """Return the attribution keys of rows, as far as their parents are known."""
        return self._index.keys_of([RowChange(table, Op.INSERT, None, image) for table, image in images])[0]

    def repair_rows(self, rows: Collection[RowId], keys: Collection[Key]) -> None:
        """Add the repair of rows of tables with a primary key, and of these attribution keys, before all that waits for them."""
        repaired = frozenset(rows)
        self._add(lambda _: RowRepair(repaired), repaired.union(keys), 0)

    def running(self) -> frozenset[int]:
        """Return the numbers of the items that run."""
        return self._scheduler.running()

    def waits_for(self, rows: Collection[RowId]) -> frozenset[RowId]:
        """Return those of these rows that something that waits or runs will write or may write."""
        has_key = self._scheduler.has_key
        return frozenset(row for row in rows if has_key(row) or has_key((row[0], ())))

    def rows_of(self, changes: Iterable[RowChange]) -> frozenset[RowId]:
        """Return the identities of the changed rows of captured tables."""
        return frozenset(
            row
            for change in changes
            if change.table in self._primary_keys
            for row in row_ids(change, self._primary_keys[change.table])
        )

    def release_unclaimed(self, *, before_us: int) -> int:
        """Stop waiting for an owner of what was committed before this time; return how many transactions became background."""
        self._released_before_us = max(self._released_before_us, before_us)
        released = self._attributor.release(before_us=before_us)
        self._apply_released(released)
        while self._finished_windows and self._finished_windows[0][0] < before_us - self._overlap_memory_us:
            _, window_id = heappop(self._finished_windows)
            self._attributor.close(window_id)
            del self._windows[window_id], self._began_us[window_id]
        return len(released)

    def start_ready(self, limit: int) -> list[tuple[int, WorkItem]]:
        """Start up to `limit` items that are ready; return each with the number to give to `finish`."""
        return [(number, self._items[number]) for number in self._scheduler.start_ready(limit)]

    def finish(self, number: int) -> None:
        """Remove an item that has been carried out; those behind it move up."""
        self._rows -= _row_count(self._items.pop(number))
        self._scheduler.finish(number)

    def shed(self) -> list[Exchange]:
        """Drop all items that wait, so that only a resync makes the shadow equal; return the exchanges among them."""
        shed = [(number, self._items[number]) for number in self._scheduler.idle()]
        for number, _ in shed:
            self.finish(number)
        return [item.exchange for _, item in shed if isinstance(item, MirrorRun)]

    def _add_run(self, exchange: Exchange, claim: Claim) -> None:
        delivered = None
        for keyed in claim.transactions:
            delivered = self._remove_unclaimed(keyed)
        lsn = claim.transactions[-1].transaction.end_lsn if claim.transactions else self._lsn_of_read(exchange, claim)
        rows = frozenset[object]().union(*(keyed.rows for keyed in claim.transactions))
        keys = claim.keys.union(*(keyed.keys for keyed in claim.transactions))
        barrier = any(_truncates(keyed.transaction.changes) for keyed in claim.transactions)
        self._add(
            lambda number: MirrorRun(number, exchange, claim), keys | rows, lsn, delivered=delivered, barrier=barrier
        )

    def _add(
        self,
        make: Callable[[int], WorkItem],
        keys: Iterable[object],
        lsn: int,
        *,
        delivered: int | None = None,
        barrier: bool = False,
    ) -> None:
        """Add an item; `delivered` is the number of the live commit at this LSN, if the item stands for it."""
        number = next(self._numbers)
        self._items[number] = item = make(number)
        self._rows += _row_count(item)
        place = number if delivered is None else delivered
        self._scheduler.add(number, keys=keys, position=(lsn, place, number), barrier=barrier)

    def _lsn_of_read(self, exchange: Exchange, claim: Claim) -> int:
        """Return the position of an exchange without effects: behind the last live commit that it can have seen.

        That is the last one before its end by the database's clock. The proxy's own clock is better where it can tell: of the commits
        of another exchange that are on the same keys, none is seen if that exchange began after this one had ended.

            exchange    |---- r: GET 0xa1 ----|  |---- w: PUT 0xa1, names itself ----|
            commits                         ^ LSN 70, which by a database clock 3 ms behind is before the end of r: r is placed at 69
        """
        if not self._commits:
            return 0
        ended_us = exchange.ended_ns // 1_000
        behind = bisect_right(self._commits, ended_us, key=lambda commit: commit.latest_us)
        lsn = self._commits[max(0, behind - 1)].end_lsn
        later = [
            keyed.transaction.end_lsn
            for keyed in self._attributor.unclaimed_on(claim.keys)
            if keyed.transaction.end_lsn <= lsn and self._began_after(keyed, exchange)
        ]
        return min(later) - 1 if later else lsn

    def _began_after(self, keyed: KeyedTransaction, exchange: Exchange) -> bool:
        """Return whether the request that a transaction names is known to have begun after the end of an exchange."""
        began_us = self._began_us.get(keyed.transaction.request_id)
        return began_us is not None and began_us >= exchange.ended_ns // 1_000

    def _apply_released(self, released: Iterable[KeyedTransaction], keys: Keys = NO_KEYS) -> None:
        """Apply transactions that are mirrored for no exchange; `keys` are those of the exchange that made them, if one did."""
        for keyed in released:
            self._add_applies(keyed, keys, delivered=self._remove_unclaimed(keyed))

    def _may_have_seen_others(self, exchange: Exchange, window: RequestWindow, claim: Claim) -> bool:
        """Return whether it is uncertain that a request without effects saw a change which is no request's.

        Such a change on its keys was committed while it ran, or so shortly before or after that the clocks cannot tell.
        """
        if claim.transactions or not window.tagged:
            return False
        clock_skew_us = exchange.started_ns // 1_000 - window.opened_us
        until_us = exchange.ended_ns // 1_000 + clock_skew_us
        return self._attributor.unnamed_within(claim.keys, from_us=window.opened_us, until_us=until_us)

    def _carries_id_of_another(self, window: RequestWindow, claim: Claim) -> bool:
        """Return whether a transaction that carries this window's id touches keys of other requests only.

        Clients choose the id. Say that two run at once with the id x, one on 0xa1 and one on 0xb2, and that only the first has been
        read. Both transactions carry x, but one of them touches 0xb2 alone, so it cannot be of the request on 0xa1.
        """
        if not window.tagged or not window.keys:
            return False
        route_kind = self._index.route_kind
        primary = ({key for key in keyed.keys if key[0] == route_kind} for keyed in claim.transactions)
        return any(keys and keys.isdisjoint(window.keys) for keys in primary)

    def _apply_duplicates(self, exchange: Exchange, window: RequestWindow) -> None:
        """Apply the changes that carry the id of a second request of that id: no other exchange may claim them."""
        first = self._windows.get(exchange.id, window)
        claim = self._attributor.claim(first.id) if first is not window and first.tagged else None
        if claim is not None:
            self._apply_released(claim.transactions)

    def _remove_unclaimed(self, keyed: KeyedTransaction) -> int:
        """Remove a transaction that waits for its exchange; return the number with which it was delivered."""
        number, _ = self._unclaimed.pop(keyed.transaction.end_lsn)
        self._scheduler.remove(number)
        return number

    def _add_applies(self, keyed: KeyedTransaction, owned_by: Keys = NO_KEYS, *, delivered: int | None = None) -> None:
        """Add the changes of a transaction, split by their keys: one that touches many keys does not make them wait for each other.

        One that truncates is not split: what it wrote before the TRUNCATE is gone, and what it wrote behind it is not. Neither is one
        that writes a table whose rows constrain one another: two rows may have exchanged a unique value.
        """
        changes = keyed.transaction.changes
        if _truncates(changes) or any(change.table in self.undivided for change in changes):
            self._add_apply(keyed.keys | owned_by, changes, keyed.transaction, delivered)
            return
        groups: dict[frozenset[Key], list[RowChange]] = {}
        for change in changes:
            keys, _ = self._index.keys_of((change,))
            groups.setdefault(keys, []).append(change)
        for keys, changes in groups.items():
            self._add_apply(keys | owned_by, tuple(changes), keyed.transaction, delivered)

    def _add_apply(
        self, keys: Keys, changes: tuple[RowChange, ...], transaction: Transaction, delivered: int | None
    ) -> None:
        rows = self.rows_of(changes)
        xid, lsn = transaction.xid, transaction.end_lsn
        self._add(
            lambda _: BackgroundApply(changes, xid, lsn),
            keys | rows,
            lsn,
            delivered=delivered,
            barrier=_truncates(changes),
        )


def _truncates(changes: Iterable[RowChange]) -> bool:
    return any(change.op is Op.TRUNCATE for change in changes)
