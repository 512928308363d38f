"""What a capture driver offers to those who consume it."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from comparator.exchanges.row_changes import Transaction

Deliver = Callable[[Transaction], None]
"""Called on the event loop, once for each committed transaction, in commit order; must not block and must not raise."""


class Capture(Protocol):
    """One database's committed transactions.

    Life: `async with` opens and closes, in one task. `start` begins delivery. `fence` returns the LSN up to which everything
    committed before the call has been delivered (concurrent clients share one round trip). `position` is the LSN up to
    which everything has been delivered. `interruptions` counts the times delivery may have lost transactions (a temporary
    slot's connection was cut): windows open across a change of it are `lost`.
    Errors: comparator.capture.errors.CaptureError and its children, each saying what to run.
    """

    async def start(self, deliver: Deliver, *, after: int = 0) -> None:
        """Begin to deliver transactions committed from now on; from a persistent slot, those its reader has not confirmed.

        Args:
            deliver: takes each transaction.
            after: transactions that end at this LSN or before it are dropped (what the reader knows to be dealt with).
        """
        ...

    async def fence(self) -> int:
        """Wait until all that was committed before this call is delivered; return the LSN it covers.

        Raises:
            FenceTimeoutError: it did not come in `fence_timeout_ms`.
        """
        ...

    def confirm(self, lsn: int) -> None:
        """Say that everything up to `lsn` is dealt with: a persistent slot never delivers it again after a restart.

        Without it a persistent slot keeps the log for ever. The drivers without a persistent slot ignore it.
        """
        ...

    @property
    def position(self) -> int:
        """LSN up to which everything committed has been delivered."""
        ...

    @property
    def interruptions(self) -> int:
        """How often delivery may have lost transactions since `start`."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether delivery began where an earlier reader had left it: what it had not confirmed comes first."""
        ...

    @property
    def wal_retained_bytes(self) -> int:
        """Log the server keeps for this capture's slot, when last looked at; 0 without a slot."""
        ...

    async def aclose(self) -> None:
        """Stop, drop a temporary slot, close connections. Idempotent."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
