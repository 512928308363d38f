"""One database's committed transactions, in order, with their keys: a capture driver plus the look-ups its rows need."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from comparator.capture.attribution import KeyedTransaction
from comparator.capture.attribution_keys import RowReference
from comparator.capture.driver import Capture
from comparator.exchanges.row_changes import Transaction

Key = Callable[[Transaction], tuple[KeyedTransaction, tuple[RowReference, ...]]]
Lookup = Callable[[Sequence[RowReference]], Awaitable[None]]
Sink = Callable[[KeyedTransaction], None]


class TransactionFeed:
    """Pumps transactions from a capture into a sink, one after the other.

    Args:
        capture: an opened driver.
        key: gives a transaction its keys, and names the parent rows that are unknown.
        lookup: makes unknown parent rows known; it is awaited before the transaction goes on.
        sink: takes the keyed transaction, in commit order.
    """

    def __init__(self, capture: Capture, *, key: Key, lookup: Lookup, sink: Sink) -> None:
        self._capture = capture
        self._key = key
        self._lookup = lookup
        self._sink = sink
        self._queue: asyncio.Queue[Transaction | asyncio.Future[None]] = asyncio.Queue()
        self._at_hand = 0

    async def start(self) -> None:
        """Begin to take delivery."""
        await self._capture.start(self._queue.put_nowait)

    @property
    def interruptions(self) -> int:
        """How often transactions may have been lost."""
        return self._capture.interruptions

    @property
    def resumed(self) -> bool:
        """Whether delivery went on where an earlier reader had left it."""
        return self._capture.resumed

    def confirm(self, lsn: int | None) -> None:
        """Everything up to `lsn` is dealt with; None: everything that was delivered."""
        if lsn is not None:
            self._capture.confirm(lsn)
        elif not self.backlog:
            self._capture.confirm(self._capture.position)

    @property
    def backlog(self) -> int:
        """Delivered transactions that wait for their keys."""
        return self._queue.qsize() + self._at_hand

    async def pump(self) -> None:
        """Run until cancelled."""
        while True:
            entry = await self._queue.get()
            if isinstance(entry, asyncio.Future):
                if not entry.done():
                    entry.set_result(None)
                continue
            keyed, missing = self._key(entry)
            if missing:
                self._at_hand = 1
                await self._lookup(missing)
                self._at_hand = 0
                keyed, _ = self._key(entry)
            self._sink(keyed)

    async def fence(self) -> None:
        """Wait until everything committed before this call has reached the sink."""
        await self._capture.fence()
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(reached)
        await reached
