"""Define the interface of a capture: the committed transactions of one database."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from comparator.exchanges.row_changes import Transaction

Deliver = Callable[[Transaction], None]
"""Consumer of transactions: called on the event loop once for each, in commit order. It must neither block nor raise."""


class Capture(Protocol):
    """The committed transactions of one database.

    Enter it with `async with`, then `start` it; both in one task. Every method raises `comparator.capture.errors.CaptureError` or a
    subclass of it, whose message says what to do.
    """

    async def start(self, deliver: Deliver, *, after: int = 0) -> None:
        """Begin to deliver transactions that are committed from now on; a persistent slot begins with those not confirmed yet.

        Args:
            deliver: receives each transaction.
            after: transactions that end at or before this LSN are dropped, because the consumer has processed them.
        """
        ...

    async def fence(self) -> int:
        """Wait until everything committed before this call has been delivered; return the LSN that this covers.

        Concurrent callers share one round trip.

        Raises:
            FenceTimeoutError: it was not delivered within `fence_timeout_ms`.
        """
        ...

    def confirm(self, lsn: int) -> None:
        """Confirm that everything up to `lsn` has been processed: a persistent slot does not deliver it again after a restart.

        Unless it is called, the server keeps the log of a persistent slot for ever. Other drivers ignore it.
        """
        ...

    @property
    def position(self) -> int:
        """LSN up to which everything committed has been delivered."""
        ...

    @property
    def clock_us(self) -> int:
        """The database's time (Unix microseconds) of the last commit that was read, or later; 0 where it is not known.

        After `fence` returns, it is at least the time at which `fence` was called: the stream and sql drivers commit a fence, and the
        triggers driver reads the database's clock with it.
        """
        ...

    @property
    def interruptions(self) -> int:
        """The number of times since `start` that transactions may have been lost, e.g. with a temporary slot's connection.

        Requests that ran while it changed have lost effects (`EffectsOutcome.LOST`).
        """
        ...

    @property
    def resumed(self) -> bool:
        """Delivery continued where an earlier reader had stopped: the first transactions are those it had not confirmed."""
        ...

    @property
    def wal_retained_bytes(self) -> int:
        """Size of the write-ahead log that the server keeps for the slot, as last observed; 0 without a slot."""
        ...

    async def aclose(self) -> None:
        """Stop reading, drop a temporary slot and close all connections. Idempotent."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
