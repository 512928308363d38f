"""Read in one task and reconnect with exponential backoff: the base of the capture drivers.

start --> _open --> _read_until_lost --> _disconnect --> _open ... (pauses of 0.1 s, 0.2 s, ... up to `backoff_max_ms`)
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

import asyncpg

from comparator.capture.delivery import Delivery, Fences
from comparator.capture.driver import Deliver
from comparator.capture.errors import CaptureClosedError, CaptureError, CaptureLostError
from comparator.capture.pgoutput import Decoder
from comparator.capture.settings import CaptureSettings
from comparator.exchanges.row_changes import Transaction
from comparator.postgres import UNAVAILABLE

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.1
"""First pause between two attempts to reconnect; it doubles with each failure."""
LOST: Final = (asyncpg.PostgresError, *UNAVAILABLE)
"""Errors after which a capture reconnects: every error of the database. Drivers raise CaptureLostError for other libraries' errors."""


CLOSE_TIMEOUT_S = 5.0


class ReconnectingCapture(ABC):
    """A capture (`comparator.capture.driver.Capture`) that reconnects; a driver implements opening, reading and closing.

    Args:
        dsn: URL of the database.
        settings: section `capture:`.
    """

    name = "capture"

    def __init__(self, dsn: str, settings: CaptureSettings) -> None:
        self._dsn = dsn
        self._settings = settings
        self._fences = Fences()
        self._delivery: Delivery | None = None
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: CaptureError | None = None
        self._interruptions = 0
        self._resumed = False

        self._retained = 0
        self._overflows = 0
        self._closed = False

    async def start(self, deliver: Deliver, *, after: int = 0) -> None:
        """See `Capture.start`. Errors of the first connection are raised; after later ones the task reconnects."""
        if self._group is None or self._closed:
            raise CaptureClosedError("the capture is not open: enter it with `async with` before `start`")
        self._delivery = Delivery(deliver, self._fences, after=after)
        try:
            await self._open()
        except (*LOST, CaptureLostError) as error:
            await self._disconnect()
            raise CaptureLostError(f"cannot read changes from the database: {error}") from error
        except BaseException:
            await self._disconnect()
            raise
        self._task = self._group.create_task(self._run(), name=f"capture-{self.name}")

    async def fence(self) -> int:
        """See `Capture.fence`."""
        if self._task is None or self._closed:
            raise CaptureClosedError("the capture is not running")
        if self._failure is not None:
            raise self._failure
        if self._settings.post_response_wait_ms:
            await asyncio.sleep(self._settings.post_response_wait_ms / 1000)
        return await self._fences.wait(self._settings.fence_timeout_ms / 1000)

    def confirm(self, lsn: int) -> None:  # noqa: B027 (not abstract: only a persistent slot is confirmed)
        """See `Capture.confirm`."""

    @property
    def position(self) -> int:
        """See `Capture.position`."""
        return self._delivery.position if self._delivery else 0

    @property
    def clock_us(self) -> int:
        """See `Capture.clock_us`."""
        return self._delivery.clock_us if self._delivery else 0

    @property
    def interruptions(self) -> int:
        """See `Capture.interruptions`."""
        return self._interruptions

    @property
    def resumed(self) -> bool:
        """See `Capture.resumed`; only a persistent slot that existed already resumes."""
        return self._resumed

    @property
    def duplicates(self) -> int:
        """The number of transactions that the server sent a second time and that were dropped."""
        return self._delivery.duplicates if self._delivery else 0

    @property
    def wal_retained_bytes(self) -> int:
        """See `Capture.wal_retained_bytes`."""
        return self._retained

    async def aclose(self) -> None:
        """See `Capture.aclose`."""
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fences.fail(CaptureClosedError("the capture was closed"))
        await self._disconnect()

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
        if self._group is not None:
            # No task runs in the group any more. Without an error of its own it does not wrap the caller's error in a group.
            await self._group.__aexit__(None, None, None)

    @abstractmethod
    async def _open(self) -> None:
        """Connect and prepare to read from the position that has been delivered."""

    @abstractmethod
    async def _read_until_lost(self) -> None:
        """Read and deliver until the connection is lost; raise its error."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close what `_open` opened, also after it failed halfway; must not raise."""

    @abstractmethod
    def _loses_transactions(self) -> bool:
        """Return whether a lost connection loses transactions."""

    def _running_delivery(self) -> Delivery:
        if self._delivery is None:
            raise CaptureClosedError("the capture has not been started")
        return self._delivery

    def _deliver_decoded(self, transaction: Transaction, decoder: Decoder) -> None:
        """Deliver a transaction; one that was too large counts as an interruption, because its changes are missing."""
        if decoder.overflows > self._overflows:
            self._interruptions += decoder.overflows - self._overflows
            self._overflows = decoder.overflows
            logger.warning("capture_transaction_too_large", extra={"driver": self.name, "xid": transaction.xid})
        self._running_delivery().take(transaction)

    def _new_decoder(self) -> Decoder:
        self._overflows = 0
        return Decoder(changes_max=self._settings.transaction_changes_max)

    async def _run(self) -> None:
        while True:
            opened_s = time.monotonic()
            try:
                await self._read_until_lost()
            except (*LOST, CaptureError) as error:
                self._note_lost(error)
            except Exception as error:
                logger.exception("capture_reader_failed", extra={"driver": self.name})
                self._note_lost(error)
            await self._disconnect()
            if time.monotonic() - opened_s < BACKOFF_FIRST_S:
                # Opening succeeds but reading fails at once: without this pause both would be repeated without rest.
                await asyncio.sleep(BACKOFF_FIRST_S)
            await self._reopen()

    def _note_lost(self, error: Exception) -> None:

        self._interruptions += self._loses_transactions()
        self._fences.requeue()
        logger.warning(
            "capture_connection_lost",
            extra={"driver": self.name, "error": type(error).__name__, "interruptions": self._interruptions},
        )

    async def _reopen(self) -> None:
        pause_s, logged = BACKOFF_FIRST_S, ""
        while True:
            try:
                await self._open()
            except (*LOST, CaptureLostError) as error:
                # (once for each reason, as below: a database may be down for hours)
                if str(error) != logged:
                    logged = str(error)
                    extra = {"driver": self.name, "error": f"{type(error).__name__}: {error}"}
                    logger.info("capture_reconnect_failed", extra=extra)
            except CaptureError as error:
                # The database is available but lacks something. Waiters get the error; an operator may fix it, so keep trying.
                self._failure = error
                self._fences.fail(error)
                if str(error) != logged:
                    logged = str(error)
                    logger.error("capture_refused", extra={"driver": self.name, "reason": logged})
            except Exception:
                logger.exception("capture_reconnect_failed", extra={"driver": self.name})
            else:
                self._failure = None
                logger.info("capture_reconnected", extra={"driver": self.name})
                return
            await self._disconnect()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, self._settings.backoff_max_ms / 1000)
