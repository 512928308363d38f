"""Between a driver and its consumer: each transaction once, in order, and fences that many waiters share.

A fence is a transactional message of our own: when it comes out of the log, everything committed before it was written has
come out too.
"""

import asyncio
import uuid

from comparator.capture.driver import Deliver
from comparator.capture.errors import CaptureError, FenceTimeoutError
from comparator.exchanges.row_changes import Transaction

FENCE_PREFIX = "shadow.fence"
"""Prefix of the fence's message. Transactions that hold nothing else are never delivered, whoever's fence it is."""


class Fences:
    """Waiters in rounds. A waiter is in the first round taken after it came; `wanted` is set while any waits for a round."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self._name = uuid.uuid4().hex[:12]
        self._rounds = 0
        self._waiting: list[asyncio.Future[int]] = []
        self._taken: dict[str, list[asyncio.Future[int]]] = {}

    async def wait(self, timeout_s: float) -> int:
        """Wait until a round that began after this call has passed; return its LSN.

        Raises:
            FenceTimeoutError: it did not pass in time.
        """
        passed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(passed)
        self.wanted.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await passed
        except TimeoutError as error:
            raise FenceTimeoutError(f"no fence came out of the log within {timeout_s:g} s") from error

    def begin_round(self) -> str:
        """Begin a round of all who wait; return the token to emit, "" when nobody waits."""
        waiting = [future for future in self._waiting if not future.done()]
        self._waiting = []
        self.wanted.clear()
        if not waiting:
            return ""
        self._rounds += 1
        token = f"{self._name}.{self._rounds}"
        self._taken[token] = waiting
        return token

    def complete_round(self, token: str, lsn: int) -> None:
        """The round's token came out of the log."""
        for future in self._taken.pop(token, ()):
            if not future.done():
                future.set_result(lsn)

    def requeue(self) -> None:
        """The connection was lost: rounds under way may never come out, so their waiters wait for a new one."""
        for futures in self._taken.values():
            self._waiting.extend(futures)
        self._taken.clear()
        if self._waiting:
            self.wanted.set()

    def fail(self, error: CaptureError) -> None:
        """End every wait with the error."""
        self.requeue()
        waiting, self._waiting = self._waiting, []
        self.wanted.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)


class Delivery:
    """Hands each transaction to the consumer once, by its commit position, and lets fences pass."""

    def __init__(self, deliver: Deliver, fences: Fences, *, after: int = 0) -> None:
        self._deliver = deliver
        self._fences = fences
        self.position = after
        self.duplicates = 0

    def take(self, transaction: Transaction) -> None:
        """Deliver it unless it was delivered before (a server delivers anew after a crash)."""
        if transaction.end_lsn <= self.position:
            self.duplicates += 1
        else:
            self.position = transaction.end_lsn
            if transaction.changes or _has_message(transaction):
                self._deliver(transaction)
        for message in transaction.messages:
            if message.prefix == FENCE_PREFIX:
                self._fences.complete_round(message.content, transaction.end_lsn)

    def reach(self, lsn: int) -> None:
        """Everything committed up to `lsn` has been delivered, though no transaction ended there."""
        self.position = max(self.position, lsn)


def _has_message(transaction: Transaction) -> bool:
    """Whether a transaction without changes still has something to say (a request id)."""
    return any(message.prefix != FENCE_PREFIX for message in transaction.messages)
