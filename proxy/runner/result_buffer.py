"""Save outcomes in batches, and let the journal be committed only up to where every outcome is saved.

Nothing is lost while the store is unavailable: outcomes wait here up to a bound, then the runner waits, and the journal keeps the rest.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from comparator.errors import StoreUnavailableError
from comparator.exchanges.number_ranges import NumberRanges
from proxy.errors import LeaseLostError
from proxy.journal.driver import JournalEntry, JournalPosition, UnreadRange
from proxy.journal.reconciliation import RunnerState
from proxy.runner.clock import now_us
from proxy.runner.metrics import ErrorPlace
from proxy.runner.mirror import MirrorResult
from proxy.runner.skip_causes import SkipCause

logger = logging.getLogger(__name__)

BATCH_MAX = 500
FLUSH_S = 0.2
BACKOFF_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One exchange with its comparison, or with the cause for which there is none."""

    entry: JournalEntry
    mirrored: MirrorResult | None
    cause: SkipCause | None


class ReadProgress(Protocol):
    """Follows the exchanges from being read to being saved, to commit the journal."""

    def begin(self, sequence: int, position: JournalPosition, *, started_us: int, ended_us: int) -> None:
        """Note an exchange that was read."""
        ...

    def saving(self, position: JournalPosition) -> None:
        """Note that the outcome of every exchange up to this one is saved with the next batch, if that is saved at all."""
        ...

    def saved(self, sequence: int, position: JournalPosition) -> None:
        """Note that the outcome of every exchange up to this one is saved; never waits for the disk."""
        ...


@dataclass(slots=True)
class OffsetTracker:
    """The exchanges in the order in which they were read, which end in another order.

    Read 1, 2, 3; ended 2, then 1: nothing can be committed after 2, for a killed runner has to read 1 again; after 1 the
    committable exchange is 2.
    """

    _open: "OrderedDict[int, tuple[JournalPosition, bool]]" = field(
        default_factory=OrderedDict[int, tuple[JournalPosition, bool]]
    )
    _committable: tuple[int, JournalPosition] | None = None

    def begin(self, sequence: int, position: JournalPosition) -> None:
        """Add an exchange that was read."""
        self._open[sequence] = (position, False)

    def end(self, sequence: int) -> None:
        """Mark an exchange as ended."""
        position, _ = self._open[sequence]
        self._open[sequence] = (position, True)
        while self._open:
            first = next(iter(self._open))
            position, ended = self._open[first]
            if not ended:
                return
            self._committable = first, position
            del self._open[first]

    def committable_with(self, ending: Collection[int]) -> JournalPosition | None:
        """Return the position that can be committed once these exchanges have ended; None if it is not a new one."""
        committable = self._committable[1] if self._committable is not None else None
        for sequence, (position, ended) in self._open.items():
            if not ended and sequence not in ending:
                break
            committable = position
        return committable

    def take_committable(self) -> tuple[int, JournalPosition] | None:
        """Return sequence and position of the last exchange before the first that has not ended; None if it is not a new one."""
        committable, self._committable = self._committable, None
        return committable


class ResultBuffer:
    """Buffers outcomes, saves them in batches, then reports how far all are saved.

    Args:
        save: saves a batch, and ranges of exchanges that could not be read; None saves nothing. An error means that nothing was saved.
        save_bare: saves one outcome without the details that came from the traffic, which a store may refuse.
        progress: commits the journal.
        buffer_max: outcomes that may wait for the store.
        on_retry: called each time that the store was unavailable.
        on_error: called for each error that cost an outcome its details.
    """

    def __init__(
        self,
        save: Callable[[Sequence[Outcome], Sequence[UnreadRange]], Awaitable[None]] | None,
        *,
        save_bare: Callable[[Outcome, Sequence[UnreadRange]], Awaitable[None]] | None = None,
        progress: ReadProgress,
        buffer_max: int = 5_000,
        on_retry: Callable[[], None] = lambda: None,
        on_error: Callable[[ErrorPlace], None] = lambda _: None,
    ) -> None:
        self._save = save
        self._save_bare = save_bare
        self._progress = progress
        self._buffer_max = buffer_max
        self._on_retry = on_retry
        self._on_error = on_error
        self._one_by_one = 0
        self._offsets = OffsetTracker()
        self._buffer: list[Outcome] = []
        self._unread: list[UnreadRange] = []
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._closing = False
        self._ended_ns: dict[int, int] = {}
        self._open: dict[int, tuple[str, int]] = {}
        self._read: dict[str, int] = {}

    @property
    def unsaved(self) -> int:
        """Number of exchanges that were read and whose outcome is not saved yet."""
        return len(self._ended_ns)

    @property
    def closing(self) -> bool:
        """True once `close` was called."""
        return self._closing

    def lag_s(self, now_ns: int) -> float:
        """Return the age, in seconds, of the oldest exchange whose outcome is not saved."""
        oldest_ns = next(iter(self._ended_ns.values()), now_ns)
        return max(0.0, (now_ns - oldest_ns) / 1e9)

    def begin(self, entry: JournalEntry) -> None:
        """Note an exchange that was read."""
        # (it has ended by now: one whose proxy's clock is ahead would hold up all those behind it until that time has come)
        read_us = now_us()
        started_us, ended_us = (
            min(read_us, ns // 1_000) for ns in (entry.exchange.started_ns, entry.exchange.ended_ns)
        )
        self._progress.begin(entry.sequence, entry.position, started_us=started_us, ended_us=ended_us)
        self._offsets.begin(entry.sequence, entry.position)
        self._ended_ns[entry.sequence] = entry.exchange.ended_ns
        if entry.writer:
            self._open[entry.sequence] = entry.writer, entry.number
            self._read[entry.writer] = max(self._read.get(entry.writer, 0), entry.number)

    async def add(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: SkipCause | None) -> None:
        """Add an outcome; waits while the buffer is full."""
        await self._has_room.wait()
        self._buffer.append(Outcome(entry, mirrored, cause))
        if len(self._buffer) >= self._buffer_max:
            self._has_room.clear()

    def add_unread(self, unread: UnreadRange) -> None:
        """Add exchanges that could not be read; they are saved with the next outcomes."""
        self._unread.append(unread)
        self._read[unread.writer] = max(self._read.get(unread.writer, 0), unread.last)

    def read_state(self) -> RunnerState:
        """Return up to which number the exchanges of each writer were read, and which of them have no saved outcome."""
        ranges: dict[str, list[tuple[int, int]]] = {}
        for writer, number in self._open.values():
            ranges.setdefault(writer, []).append((number, number))
        for unread in self._unread:
            ranges.setdefault(unread.writer, []).append((unread.first, unread.last))
        return RunnerState(dict(self._read), {writer: NumberRanges(own) for writer, own in ranges.items()})

    async def run(self) -> None:
        """Save until `close` was called and everything is saved."""
        while not (self._closing and not self._buffer and not self._unread):
            if self._buffer or self._unread:
                await self._flush()
            else:
                await asyncio.sleep(FLUSH_S)

    def close(self) -> None:
        """Let `run` end when everything is saved; no more outcomes may be added."""
        self._closing = True

    async def _flush(self) -> None:
        batch = self._buffer[: 1 if self._one_by_one else BATCH_MAX]
        unread = self._unread[:]
        position = self._offsets.committable_with({outcome.entry.sequence for outcome in batch})
        if position is not None:
            self._progress.saving(position)
        try:
            await self._write(batch, unread)
        except _RefusedError:
            # Found with its neighbours: save one by one, so that only the outcome that is refused loses anything.
            self._one_by_one = len(batch)
            return
        self._one_by_one = max(0, self._one_by_one - 1)
        del self._buffer[: len(batch)], self._unread[: len(unread)]
        self._has_room.set()
        for outcome in batch:
            self._offsets.end(outcome.entry.sequence)
            del self._ended_ns[outcome.entry.sequence]
            self._open.pop(outcome.entry.sequence, None)
        committable = self._offsets.take_committable()
        if committable is not None:
            self._progress.saved(*committable)

    async def _write(self, batch: Sequence[Outcome], unread: Sequence[UnreadRange]) -> None:
        """Save a batch, however long the store takes to come back.

        An error is the store's (a full disk, a revoked right, a standby) until the opposite is proven: the store refuses one outcome,
        and takes the same one without its details. Then the bare outcome stays.

        Raises:
            LeaseLostError: another runner has taken over.
            _RefusedError: the store is there, and one of several outcomes may be what it refuses.
        """
        wait_s = FLUSH_S
        while self._save is not None:
            try:
                await self._save(batch, unread)
            except StoreUnavailableError as error:
                refusal: Exception = error
            except LeaseLostError:
                raise
            except Exception as error:
                if len(batch) > 1:
                    raise _RefusedError from error
                if batch and await self._written_bare(batch[0], unread, error):
                    return
                refusal = error
            else:
                return
            logger.warning(
                "store_unavailable",
                extra={"error": f"{type(refusal).__name__}: {refusal}", "waiting": len(self._buffer)},
            )
            self._on_retry()
            if self._closing:
                # It is not committed either, so the next start reads it again.
                raise StoreUnavailableError(str(refusal)) from refusal
            await asyncio.sleep(wait_s)
            wait_s = min(BACKOFF_MAX_S, wait_s * 2)

    async def _written_bare(self, outcome: Outcome, unread: Sequence[UnreadRange], refusal: Exception) -> bool:
        """Return whether the store takes an outcome without the details with which it refused it."""
        if self._save_bare is None:
            return False
        try:
            await self._save_bare(outcome, unread)
        except Exception as error:  # noqa: BLE001 (whatever keeps even the bare outcome from being saved is not about its details)
            logger.debug("bare_outcome_not_saved", extra={"error": str(error)})
            return False
        logger.error(
            "outcome_saved_without_details",
            extra={"exchange": outcome.entry.exchange.id, "error": f"{type(refusal).__name__}: {refusal}"},
            exc_info=refusal,
        )
        self._on_error(ErrorPlace.STORE)
        return True


class _RefusedError(Exception):
    """The store refused a batch of several outcomes."""
