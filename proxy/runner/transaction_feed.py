"""Feed one database's committed transactions, with their keys and in order, from a capture driver to a sink."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from comparator.capture.attribution import KeyedTransaction
from comparator.capture.attribution_keys import RowReference
from comparator.capture.driver import Capture
from comparator.exchanges.row_changes import Transaction

FindKeys = Callable[[Transaction], tuple[KeyedTransaction, tuple[RowReference, ...]]]
LookUpParents = Callable[[Sequence[RowReference]], Awaitable[None]]
Sink = Callable[[KeyedTransaction], None]


class TransactionFeed:
    """Passes transactions from a capture to a sink, one at a time.

    A fence travels through the same queue as the transactions. So when it comes out, every transaction in front of it has reached the
    sink, those that waited for a look-up included:

        capture -> queue: [T1, T2, fence] -> keys of T1, looked up in the database where needed -> sink

    Args:
        capture: an opened driver.
        key: returns a transaction with its keys, and the parent rows that are unknown.
        lookup: makes unknown parent rows known; awaited before the transaction is passed on.
        sink: gets each transaction, in commit order.
    """

    def __init__(self, capture: Capture, *, key: FindKeys, lookup: LookUpParents, sink: Sink) -> None:
        self._capture = capture
        self._key = key
        self._lookup = lookup
        self._sink = sink
        self._queue: asyncio.Queue[Transaction | asyncio.Future[None]] = asyncio.Queue()
        self._in_lookup = 0

    async def start(self) -> None:
        """Begin delivery."""
        await self._capture.start(self._queue.put_nowait)

    @property
    def interruptions(self) -> int:
        """Number of times that transactions may have been lost."""
        return self._capture.interruptions

    @property
    def resumed(self) -> bool:
        """True if delivery continued where an earlier reader had stopped."""
        return self._capture.resumed

    @property
    def wal_retained_bytes(self) -> int:
        """Write-ahead log that the server keeps for this feed, in bytes."""
        return self._capture.wal_retained_bytes

    @property
    def clock_us(self) -> int:
        """The database's time of the last commit that was read, in Unix microseconds; 0 where it is not known."""
        return self._capture.clock_us

    def confirm(self, lsn: int | None) -> None:
        """Let the server drop its log up to `lsn`; None: up to everything that was delivered, once it has passed."""
        if lsn is not None:
            self._capture.confirm(lsn)
        elif not self.backlog:
            self._capture.confirm(self._capture.position)

    @property
    def backlog(self) -> int:
        """Number of delivered transactions whose keys are not known yet."""
        return self._queue.qsize() + self._in_lookup

    async def pump(self) -> None:
        """Pass transactions on until cancelled."""
        while True:
            entry = await self._queue.get()
            if isinstance(entry, asyncio.Future):
                if not entry.done():
                    entry.set_result(None)
                continue
            keyed, missing = self._key(entry)
            if missing:
                self._in_lookup = 1
                try:
                    await self._lookup(missing)
                finally:
                    self._in_lookup = 0
                keyed, _ = self._key(entry)
            self._sink(keyed)

    async def fence(self) -> None:
        """Return when everything that was committed before this call has reached the sink."""
        await self._capture.fence()
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(reached)
        await reached
