"""Null objects for `capture.driver: off`: no row change is known, so responses alone are compared and the shadow is not aligned.

Each stands in for one part of the runner and has its interface, so that no other part depends on whether row changes are captured.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.capture.attribution import Claim, KeyedTransaction, RequestWindow
from comparator.capture.attribution_keys import NO_KEYS, Keys, RowId
from comparator.exchanges.comparison import Comparison
from comparator.exchanges.model import EffectsOutcome, Exchange, Observation, Side
from comparator.exchanges.row_changes import RowChange
from proxy.journal.driver import JournalEntry
from proxy.runner.ledger import Ledger
from proxy.runner.resync import NOTHING_RESYNCED, PendingChanges, ResyncResult
from proxy.runner.row_targets import Alignment
from proxy.runner.row_writer import NOTHING_WRITTEN, WrittenRows
from proxy.runner.served_attribution import is_safe
from proxy.runner.shadow_attribution import AwaitedResponse, GivenUp, GivenUpEnd
from proxy.runner.skip_causes import RunnerSkip
from proxy.runner.transaction_snapshot import TransactionSnapshot

NO_CLAIM = Claim(EffectsOutcome.OFF, (), NO_KEYS)


class EmptyFeed:
    """Stands in for `TransactionFeed`: no transaction ever comes."""

    interruptions = 0
    clock_us = 0
    resumed = False
    backlog = 0

    async def start(self) -> None:
        """Do nothing."""

    async def pump(self) -> None:
        """Run until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def fence(self) -> None:
        """Return at once: there is nothing to wait for."""

    def confirm(self, lsn: int | None) -> None:
        """Do nothing: no log is kept for this feed."""


@dataclass(frozen=True, slots=True)
class NoServedAttribution:
    """Stands in for `ServedAttribution`: exchanges that change nothing are compared by their responses.

    A write is not: the sides have databases that drift apart, so each generates its own ids, and the mirrored side does not know
    those that the served side gave to its clients.
    """

    ledger: Ledger
    safe_routes: frozenset[str] = frozenset()

    async def wait_until_delivered(self, entries: Sequence[JournalEntry]) -> None:
        """Return at once."""

    def refusal(self, exchange: Exchange) -> RunnerSkip | None:
        """Return a cause for a write, None for a request that changes nothing."""
        return None if is_safe(exchange, self.safe_routes) else RunnerSkip.UNCAPTURED_WRITE

    def was_released(self, window: RequestWindow) -> bool:
        """Return False: there are no changes to release."""
        del window
        return False

    def open(self, exchange: Exchange, window: RequestWindow) -> None:
        """Do nothing: no transaction can fall into the window."""

    def claim(self, exchange: Exchange, window: RequestWindow, *, mirror: bool, complete: bool) -> Claim:
        """Add a run by the response, if the exchange is to be mirrored."""
        del complete
        return self.ledger.add_response_run(exchange, frozenset(window.keys)) if mirror else NO_CLAIM


class NoShadowAttribution:
    """Stands in for `ShadowAttribution`: no mirrored request has row changes."""

    unsettled = 0
    untagged_sides = frozenset[Side]()

    def open(self, run_id: str, keys: Keys, *, tagged: bool, now_us: int, side: Side | None = None) -> None:
        """Do nothing."""

    def collect(self, run_id: str, *, since_us: int | None = None) -> Claim:
        """Return an empty claim with the outcome `off`."""
        del run_id, since_us
        return NO_CLAIM

    def give_up(
        self, run_id: str, rows: Collection[RowId], *, now_us: int, late: AwaitedResponse | None = None
    ) -> Claim:
        """Return an empty claim with the outcome `off`."""
        del run_id, rows, now_us, late
        return NO_CLAIM

    def answered(self) -> Sequence[GivenUp]:
        """Return nothing."""
        return ()

    def end_answered(self, answered: Iterable[GivenUp]) -> None:
        """Do nothing."""

    def is_unsettled(self, keys: Keys) -> bool:
        """Return False: no row is compared."""
        del keys
        return False

    def end_given_up(self, *, now_us: int) -> Sequence[tuple[GivenUpEnd, KeyedTransaction | None]]:
        """Return nothing."""
        del now_us
        return ()

    def discard(self, seen: TransactionSnapshot) -> None:
        """Do nothing."""

    def take_strays(self, *, now_us: int) -> Sequence[KeyedTransaction]:
        """Return nothing."""
        del now_us
        return ()


class UnalignedShadow:
    """Stands in for `AlignedShadow`: nothing is written to the shadow."""

    async def write(self, work: Alignment) -> WrittenRows:
        """Write nothing."""
        del work
        return NOTHING_WRITTEN

    async def resync(self, pending: PendingChanges | None, tables: Collection[str] | None = None) -> ResyncResult:
        """Compare nothing."""
        del pending, tables
        return NOTHING_RESYNCED

    async def repair(self, rows: Iterable[RowId]) -> WrittenRows:
        """Repair nothing."""
        del rows
        return NOTHING_WRITTEN


class NoSchemaWatch:
    """Stands in for `SchemaWatch`: no definition matters, because no row is compared."""

    version = 0
    settled = ()
    schemas = None
    status: Mapping[str, object] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def confirmed(self) -> None:
        """Return at once."""

    async def has_changed(self, version: int) -> bool:
        """Return False."""
        del version
        return False

    def enter(self, tables: Sequence[str]) -> None:
        """Do nothing."""

    def resume(self, tables: Sequence[str], copied: TransactionSnapshot) -> None:
        """Do nothing."""

    def forget_copied(self) -> None:
        """Do nothing."""

    def rules_changed(self) -> None:
        """Do nothing."""

    def refusal(self, exchange: Exchange, changes: Iterable[RowChange]) -> RunnerSkip | None:
        """Return None."""
        del exchange, changes

    def refuses_verdict(
        self, exchange: Exchange, keys: Keys, served: Observation, mirrored: Observation, comparison: Comparison
    ) -> bool:
        """Return False."""
        del exchange, keys, served, mirrored, comparison
        return False

    def applicable(self, changes: Sequence[RowChange], xid: int) -> Sequence[RowChange]:
        """Return all changes."""
        del xid
        return changes
