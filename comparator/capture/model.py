"""What a capture driver offers to those who consume it."""

from collections.abc import Callable
from typing import Protocol

from comparator.changes import Transaction

Deliver = Callable[[Transaction], None]
"""Called on the event loop, once for each committed transaction, in commit order; must not block and must not raise."""


class Capture(Protocol):
    """One database's committed transactions.

    Life: `async with` opens and closes. `start` begins delivery. `fence` returns the LSN up to which everything committed
    before the call has been delivered (concurrent callers share one round trip). `position` is the end LSN of the last
    transaction delivered. `interruptions` counts the times delivery may have lost transactions (a temporary slot's
    connection was cut): windows open across a change of it are `lost`.
    Errors: comparator.errors.CaptureError and its children, each saying what to run.
    """

    async def start(self, deliver: Deliver) -> None:
        """Begin to deliver transactions committed from now on."""
        ...

    async def fence(self) -> int:
        """Wait until all that was committed before this call is delivered; return the LSN it covers."""
        ...

    @property
    def position(self) -> int:
        """End LSN of the last delivered transaction."""
        ...

    @property
    def interruptions(self) -> int:
        """How often delivery may have lost transactions since `start`."""
        ...

    async def aclose(self) -> None:
        """Stop, drop a temporary slot, close connections. Idempotent."""
        ...
