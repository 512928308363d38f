"""Keeps outcomes safely, in batches, before the journal is told that they are done.

The store being down loses nothing: outcomes wait here up to a bound, then the runner waits, and the journal keeps the rest.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from comparator.errors import StoreUnavailableError
from proxy.journal.reader import JournalEntry, Position
from proxy.runner.mirror import MirrorResult
from proxy.runner.offset_tracker import OffsetTracker

logger = logging.getLogger(__name__)

BATCH_MAX = 500
FLUSH_S = 0.2
BACKOFF_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One exchange with its outcome: a comparison, or the cause why there is none."""

    entry: JournalEntry
    mirrored: MirrorResult | None
    cause: str


class ResultBuffer:
    """Buffers outcomes, writes them to the store, then commits the journal position.

    Args:
        store: keeps a batch; raises StoreUnavailableError when it must be given again. None keeps nothing.
        commit: stores how far the journal is done.
        begun: is told each exchange that was read.
        buffer_max: outcomes that may wait for the store.
        retried: called each time the store did not answer.
        survived: called with the place of each error that cost a verdict, or kept a position from being committed.
    """

    def __init__(
        self,
        store: Callable[[Sequence[Outcome]], Awaitable[None]] | None,
        *,
        commit: Callable[[Position], None],
        begun: Callable[[JournalEntry], None] | None = None,
        buffer_max: int = 5_000,
        retried: Callable[[], None] = lambda: None,
        survived: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._commit = commit
        self._begun = begun
        self._buffer_max = buffer_max
        self._retried = retried
        self._survived = survived
        self._singly = 0
        self._progress: OffsetTracker[Position] = OffsetTracker()
        self._buffer: list[Outcome] = []
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self.oldest_ns: dict[int, int] = {}

    @property
    def unfinished(self) -> int:
        """Exchanges read and not safely kept yet."""
        return len(self.oldest_ns)

    def lag_s(self, now_ns: int) -> float:
        """Age of the oldest exchange that has no kept outcome."""
        oldest = next(iter(self.oldest_ns.values()), now_ns)
        return max(0.0, (now_ns - oldest) / 1e9)

    def begin(self, entry: JournalEntry) -> None:
        """An exchange was read."""
        if self._begun is not None:
            self._begun(entry)
        self._progress.begin(entry.sequence, entry.position)
        self.oldest_ns[entry.sequence] = entry.exchange.ended_ns

    async def keep(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: str) -> None:
        """Take an outcome; waits while the buffer is full."""
        await self._room.wait()
        self._buffer.append(Outcome(entry, mirrored, cause))
        if len(self._buffer) >= self._buffer_max:
            self._room.clear()

    async def run(self) -> None:
        """Write until `close` was called and everything is kept."""
        while not (self._closing and not self._buffer):
            if self._buffer:
                await self._flush()
            else:
                await asyncio.sleep(FLUSH_S)

    def close(self) -> None:
        """No more outcomes will come; `run` ends when the last is kept."""
        self._closing = True

    async def _flush(self) -> None:
        batch = self._buffer[: 1 if self._singly else BATCH_MAX]
        try:
            await self._write(batch)
        except StoreUnavailableError:
            raise
        except Exception:
            # One outcome that cannot be written must not end the process, and again at each restart.
            logger.exception("outcome_not_kept", extra={"outcomes": len(batch), "first": batch[0].entry.exchange.id})
            if len(batch) > 1:
                self._singly = len(batch)
                return
            self._survived("store")
        self._singly = max(0, self._singly - 1)
        del self._buffer[: len(batch)]
        self._room.set()
        for kept in batch:
            self._progress.end(kept.entry.sequence)
            del self.oldest_ns[kept.entry.sequence]
        position = self._progress.take_committable()
        if position is not None:
            self._commit_at(position)

    def _commit_at(self, position: Position) -> None:
        try:
            # A small file on a local disk: shorter than the hand-over to a thread.
            self._commit(position)
        except OSError as error:
            # A restart reads again what is done; a later position makes up for this one.
            logger.warning("journal_position_not_committed", extra={"error": str(error)})
            self._survived("commit")

    async def _write(self, batch: Sequence[Outcome]) -> None:
        wait_s = FLUSH_S
        while self._store is not None:
            try:
                await self._store(batch)
            except StoreUnavailableError as error:
                logger.warning("store_unavailable", extra={"error": str(error), "waiting": len(self._buffer)})
                self._retried()
                if self._closing:
                    # What is not kept is not committed either: the next start reads it again.
                    raise
                await asyncio.sleep(wait_s)
                wait_s = min(BACKOFF_MAX_S, wait_s * 2)
            else:
                return
