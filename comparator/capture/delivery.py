"""Deliver each transaction once and in order from a driver to its consumer, and wait for fences.

A fence is a transactional message of our own. When it is read back from the log, everything that was committed before it was written
has been read too. Waiters share fences in rounds:

    waiters a and b call wait()   round 1: token "f3.1" is written to the log
    waiter c calls wait()         c joins round 2, token "f3.2": what c waits for may have been committed after "f3.1"
    "f3.1" is read back           a and b continue with its LSN; c still waits
"""

import asyncio
import uuid
from typing import Final

from comparator.capture.driver import Deliver
from comparator.capture.errors import CaptureError, FenceTimeoutError
from comparator.exchanges.row_changes import Transaction

FENCE_PREFIX = "shadow.fence"
"""Prefix of a fence's message. A transaction that contains nothing but fences is never delivered, foreign fences included."""


EXTENSIONS_MAX: Final = 11
"""Times that the wait for a fence is extended while the log is being read."""


class Fences:
    """Waiters for fences, in rounds. A waiter joins the first round that begins after its call.

    Attributes:
        requested: set while a waiter is in no round yet, so that the driver begins one.
        progress: a number that the driver changes whenever it has read something.
    """

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.progress = 0
        self._name = uuid.uuid4().hex[:12]
        self._rounds = 0
        self._waiting: list[asyncio.Future[int]] = []
        self._taken: dict[str, list[asyncio.Future[int]]] = {}

    async def wait(self, timeout_s: float) -> int:
        """Wait for a round that begins after this call to complete; return the LSN of its fence.

        Args:
            timeout_s: limit while nothing is read. In front of the fence may be transactions of many rows: while the driver reads, it
                begins again, up to EXTENSIONS_MAX times.

        Raises:
            FenceTimeoutError: the round did not complete in time.
        """
        passed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(passed)
        self.requested.set()
        try:
            for _ in range(1 + EXTENSIONS_MAX):
                progress = self.progress
                await asyncio.wait([passed], timeout=timeout_s)
                if passed.done():
                    return passed.result()
                if self.progress == progress:
                    break
        finally:
            passed.cancel()
        raise FenceTimeoutError(f"no fence was read back from the log within {timeout_s:g} s")

    def begin_round(self) -> str:
        """Begin a round with all waiters; return the token to write to the log, "" when there are no waiters."""
        waiting = [future for future in self._waiting if not future.done()]
        self._waiting = []
        self.requested.clear()
        if not waiting:
            return ""
        self._rounds += 1
        token = f"{self._name}.{self._rounds}"
        self._taken[token] = waiting
        return token

    def complete_round(self, token: str, lsn: int) -> None:
        """Complete the round whose token was read at this LSN; unknown tokens are ignored."""
        for future in self._taken.pop(token, ()):
            if not future.done():
                future.set_result(lsn)

    def requeue(self) -> None:
        """Move the waiters of running rounds to the next round: the connection was lost, and their tokens may be too."""
        for futures in self._taken.values():
            self._waiting.extend(futures)
        self._taken.clear()
        if self._waiting:
            self.requested.set()

    def fail(self, error: CaptureError) -> None:
        """End every wait with an error."""
        self.requeue()
        waiting, self._waiting = self._waiting, []
        self.requested.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)


class Delivery:
    """Deliver each transaction to the consumer once, by its position in the log, and complete rounds of fences.

    Attributes:
        position: LSN up to which everything committed has been delivered.
        clock_us: the database's time (Unix microseconds) of the last commit that was read, those of fences included, or of the last
            read by which it was told; 0 for none.
        duplicates: transactions that were dropped because they had been delivered before.
    """

    def __init__(self, deliver: Deliver, fences: Fences, *, after: int = 0) -> None:
        self._deliver = deliver
        self._fences = fences
        self.position = after
        self.clock_us = 0
        self.duplicates = 0

    def take(self, transaction: Transaction) -> None:
        """Deliver a transaction unless it was delivered before (a server delivers some again after a crash)."""
        self.clock_us = transaction.committed_us
        if transaction.end_lsn <= self.position:
            self.duplicates += 1
        else:
            self.position = transaction.end_lsn
            if transaction.changes or _has_message(transaction):
                self._deliver(transaction)
        for message in transaction.messages:
            if message.prefix == FENCE_PREFIX:
                self._fences.complete_round(message.content, transaction.end_lsn)

    def reach(self, lsn: int, *, clock_us: int = 0) -> None:
        """Advance the position to `lsn`: everything committed up to it has been delivered, although no transaction ended there.

        Args:
            lsn: position up to which the log was read.
            clock_us: the database's time of that read (Unix microseconds), 0 where it was not told.
        """
        self.position = max(self.position, lsn)
        self.clock_us = clock_us or self.clock_us


def _has_message(transaction: Transaction) -> bool:
    """Return whether a transaction carries a message other than a fence, e.g. a request id."""
    return any(message.prefix != FENCE_PREFIX for message in transaction.messages)
