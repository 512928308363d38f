"""The lease of a runner's name on a shared journal: one runner of several works, and the next takes over when it does not renew it.

    runner A   takes the lease, epoch 7    renews it every RENEW_S          hangs for TTL_S           wakes up: nothing is stored, it ends
    runner B   waits, asks every POLL_S                                     takes over, epoch 8 ...

The lease alone keeps two runners from working at the same time only as long as their clocks run; that nothing of a runner without it is
stored is the epoch's work, which every transaction of verdicts and of the journal's position compares (`comparator.store.journal_offsets`).
"""

import asyncio
import datetime as dt
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from comparator.errors import StoreUnavailableError
from comparator.postgres import Connection
from comparator.store import journal_offsets
from comparator.store.journal_offsets import JournalOffset
from comparator.store.store import Store
from proxy.errors import LeaseLostError

logger = logging.getLogger(__name__)

TTL_S: Final = 15.0
"""Time without renewal after which another runner takes over, by the store's clock."""
RENEW_S: Final = 3.0
GIVE_UP_S: Final = 11.0
"""Time without renewal after which this runner ends itself: before another one may begin."""
POLL_S: Final = 1.0


class RunnerLease:
    """The lease of one reader's name, and its place in the journal. Implements ReaderOffsets.

    Args:
        store: where verdicts are kept.
        reader: name of the runner.
        readers: the names of the runners of all slices, this one among them.

    Attributes:
        epoch: of the lease; 0 while it is not held.
        taken_over: whether the holder before had not given it back.
        leaves_requests: set where requests that this runner has begun go on without it: the lease is then not given back, but expires.
        numbers, lost, live_us: the place where the runner before had come to.
    """

    def __init__(self, store: Store, reader: str, readers: Sequence[str] = ()) -> None:
        self.epoch = 0
        self.taken_over = False
        self.leaves_requests = False
        self.numbers: Mapping[str, int] = {}
        self.lost = 0
        self.live_us = 0
        self._store = store
        self._reader = reader
        self._readers = readers or (reader,)
        self._holder = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"
        self._staged: tuple[Mapping[str, int], int] | None = None

    async def take(self) -> str | None:
        """Take the lease if it is free; return None, or the name of its holder.

        Raises:
            StoreUnavailableError: the store did not answer.
        """
        async with self._store.connection() as conn:
            await journal_offsets.add_readers(conn, self._readers)
            before = await journal_offsets.lease_state(conn, self._reader)
            epoch = await journal_offsets.take_lease(
                conn, self._reader, holder=self._holder, ttl=dt.timedelta(seconds=TTL_S)
            )
            if epoch is None:
                return (await journal_offsets.lease_state(conn, self._reader)).holder
            offset = await journal_offsets.load_offset(conn, self._reader)
        self.epoch = epoch
        self.taken_over = not before.released
        self.numbers, self.lost, self.live_us = offset.numbers, offset.lost, offset.live_us
        logger.info("lease_taken", extra={"reader": self._reader, "epoch": epoch, "taken_over": self.taken_over})
        return None

    async def wait(self, stop: asyncio.Event, waiting: Callable[[str], None]) -> bool:
        """Wait until the lease is free and take it; return False when `stop` is set before.

        Args:
            stop: ends the wait.
            waiting: called with the holder's name, each time that it is another one.
        """
        known = ""
        while not stop.is_set():
            try:
                holder = await self.take()
            except StoreUnavailableError as error:
                holder = f"unknown, the store does not answer: {error}"
            if holder is None:
                return True
            if holder != known:
                known = holder
                logger.info("runner_waits_for_lease", extra={"reader": self._reader, "holder": holder})
                waiting(holder)
            try:
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
            except TimeoutError:
                continue
        return False

    async def keep(self) -> None:
        """Renew the lease until cancelled.

        Raises:
            LeaseLostError: another runner has it, or it could not be renewed in time.
        """
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(RENEW_S)
            began_at = time.monotonic()
            try:
                async with asyncio.timeout(RENEW_S):
                    async with self._store.connection() as conn:
                        held = await journal_offsets.renew_lease(
                            conn, self._reader, self.epoch, ttl=dt.timedelta(seconds=TTL_S)
                        )
            except (StoreUnavailableError, TimeoutError) as error:
                logger.warning("lease_not_renewed", extra={"reader": self._reader, "error": str(error)})
                if time.monotonic() - renewed_at >= GIVE_UP_S:
                    raise self._lost_error("the store does not answer") from error
                continue
            if not held:
                raise self._lost_error("another runner has taken over")
            renewed_at = began_at

    async def release(self, *, is_finished: bool = True) -> None:
        """Give the lease back, if it is held.

        Args:
            is_finished: whether nothing that this runner began is still running.
        """
        if not self.epoch:
            return
        try:
            async with asyncio.timeout(RENEW_S), self._store.connection() as conn:
                await journal_offsets.release_lease(conn, self._reader, self.epoch, is_finished=is_finished)
        except (StoreUnavailableError, TimeoutError) as error:
            logger.warning("lease_not_released", extra={"reader": self._reader, "error": str(error)})
        self.epoch = 0

    def stage(self, numbers: Mapping[str, int], *, lost: int) -> None:
        """Implement ReaderOffsets: the next transaction of verdicts stores this place too."""
        self._staged = numbers, lost

    async def fence(self, conn: Connection) -> None:
        """Check the lease in a transaction of verdicts, and store the staged place in it.

        Raises:
            LeaseLostError: another runner has it; the transaction must not commit.
        """
        if not await journal_offsets.holds_lease(conn, self._reader, self.epoch):
            raise self._lost_error("another runner has taken over")
        if self._staged is not None:
            numbers, lost = self._staged
            await journal_offsets.store_offset(conn, self._reader, JournalOffset(numbers, lost))

    async def store(self, numbers: Mapping[str, int], *, lost: int, live_us: int) -> None:
        """Implement ReaderOffsets: in a transaction of its own.

        Raises:
            LeaseLostError: another runner has the lease.
            StoreUnavailableError: the store did not answer.
        """
        async with self._store.connection() as conn, conn.transaction():
            if not await journal_offsets.holds_lease(conn, self._reader, self.epoch):
                raise self._lost_error("another runner has taken over")
            await journal_offsets.store_offset(conn, self._reader, JournalOffset(numbers, lost, live_us))

    async def slowest(self) -> Mapping[str, int]:
        """Implement ReaderOffsets."""
        async with self._store.connection() as conn:
            return await journal_offsets.slowest_offsets(conn)

    def _lost_error(self, reason: str) -> LeaseLostError:
        return LeaseLostError(f"lost the lease of {self._reader!r}: {reason}; nothing is stored any more")


@asynccontextmanager
async def holding(lease: RunnerLease) -> AsyncGenerator[None, None]:
    """Renew a lease that was taken until the block ends, then give it back. A lease that is lost ends the block.

    Raises:
        LeaseLostError: in an exception group, when it is lost.
    """
    is_finished = False
    try:
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(lease.keep(), name="lease")
            try:
                yield
            finally:
                keeping.cancel()
        is_finished = not lease.leaves_requests
    finally:
        await lease.release(is_finished=is_finished)
