"""Write the API key analytics asynchronously, in the order of the calls, without delaying any response.

A bounded queue feeds one task that stores the calls. A full queue drops the newest call, and rows that the database refuses are
dropped; a metric counts both. Stopping stores what is queued, within the drain time.

A call with a request id is stored in a transaction of its own under that id, so that change data capture can attribute its row; the
other calls share one transaction.
"""

import asyncio
import logging

import asyncpg

from scorer.db import analytics
from scorer.db.analytics import TrackedCall
from scorer.db.pool import LOST_CONNECTION, Database, RacedError
from scorer.errors import UnanswerableError
from scorer.metrics import Metrics

logger = logging.getLogger(__name__)

_BATCH_MAX = 200


class Tracker:
    """The queue and its consumer; start `run` as a task and end it with `stop`."""

    def __init__(self, database: Database, metrics: Metrics, *, queue_max: int = 10_000) -> None:
        self._database = database
        self._metrics = metrics
        self._queue: asyncio.Queue[TrackedCall | None] = asyncio.Queue(queue_max)

    def record(self, call: TrackedCall) -> None:
        """Enqueue a call; it is dropped if the queue is full."""
        try:
            self._queue.put_nowait(call)
        except asyncio.QueueFull:
            self._metrics.analytics_rows.labels("dropped_full").inc()

    async def run(self) -> None:
        """Store calls until `stop`."""
        stopping = False
        while not stopping:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            stopping = None in batch
            await self._store_all([call for call in batch if call is not None])
            for _ in batch:
                self._queue.task_done()

    async def stop(self) -> None:
        """Let `run` store the queued calls and end."""
        await self._queue.put(None)

    async def flushed(self) -> None:
        """Wait until every call recorded so far is stored or dropped."""
        await self._queue.join()

    async def _store_all(self, calls: list[TrackedCall]) -> None:
        anonymous = [call for call in calls if not call.request_id]
        groups = [[call] for call in calls if call.request_id] + ([anonymous] if anonymous else [])
        for group in groups:
            await self._store(group)

    async def _store(self, calls: list[TrackedCall]) -> None:
        try:
            await self._insert(calls)
        except (UnanswerableError, asyncpg.IntegrityConstraintViolationError):
            if len(calls) == 1:
                self._dropped(calls, "refused")
                return
            # Store the calls one by one, so that only the refused one is lost.
            for call in calls:
                await self._store([call])
        except (asyncpg.PostgresError, TimeoutError, RacedError, *LOST_CONNECTION) as error:
            self._dropped(calls, type(error).__name__)
        except Exception:
            # The task's outermost loop: it must survive any one call.
            logger.exception("analytics_failed")
            self._dropped(calls, "unexpected")

    async def _insert(self, calls: list[TrackedCall]) -> None:
        await self._database.transact(lambda conn: analytics.insert(conn, calls), request_id=calls[0].request_id)
        self._metrics.analytics_rows.labels("written").inc(len(calls))

    def _dropped(self, calls: list[TrackedCall], reason: str) -> None:
        self._metrics.analytics_rows.labels("dropped_failed").inc(len(calls))
        logger.warning("analytics_dropped", extra={"rows": len(calls), "reason": reason})
