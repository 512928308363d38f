"""The connection pool and the one way to write: `Database.transact` runs all work of a request in one transaction, with safe retries.

Retried are a lost race (`RacedError`), a deadlock and a serialization failure, up to ATTEMPTS_MAX times; a lost connection once, and
only before COMMIT was sent, so that nothing can be stored twice.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

import asyncpg

from scorer.errors import UnanswerableError
from scorer.metrics import Metrics
from scorer.settings import RateLimitSettings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
T = TypeVar("T")

ATTEMPTS_MAX = 5
REQUEST_MESSAGE_PREFIX = "shadow.request"
# A request id of these characters is a safe SQL literal, which can be sent in one round trip with BEGIN.
_PLAIN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# Clients can send NUL, lone surrogates and texts longer than their column; PostgreSQL cannot store them.
_UNSTORABLE = "a value that the database cannot store"

_CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
LOST_CONNECTION = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    # Raised by asyncpg if the server's termination message arrives while a statement is being sent.
    asyncpg.InternalClientError,
    OSError,
)


class RacedError(Exception):
    """Another transaction has changed data that this one has read; the work must be retried as a whole."""


class Database:
    """A pool with the retry policy above. Open it with `opened`."""

    def __init__(self, pool: Pool, limits: RateLimitSettings, metrics: Metrics, *, emit_request_id: bool) -> None:
        self._pool = pool
        self._limits = limits
        self._metrics = metrics
        self._emit_request_id = emit_request_id

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """Acquire a connection in autocommit mode, for reads.

        Raises:
            TimeoutError: no connection became free within `acquire_timeout_s`.
        """
        # The pool's own timeout would create a task for every acquisition.
        async with asyncio.timeout(self._limits.acquire_timeout_s):
            conn = await self._pool.acquire()
        try:
            yield conn
        finally:
            await self._pool.release(conn)

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a read in autocommit mode; retry once after a lost connection.

        Raises:
            UnanswerableError: PostgreSQL cannot represent a value.
        """
        try:
            return await self._read(work)
        except TimeoutError:
            # TimeoutError is a subclass of OSError, but the connection works: the database is slow, and a retry adds load.
            raise
        except LOST_CONNECTION:
            self._metrics.attempts_repeated.labels("connection").inc()
            return await self._read(work)

    async def _read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self.connection() as conn:
            try:
                return await work(conn)
            except asyncpg.DataError as error:
                raise UnanswerableError(_UNSTORABLE) from error

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, request_id: str = "") -> T:
        """Run `work` in one transaction; it may run several times, so it must not keep state between runs.

        Args:
            work: receives the connection, inside the transaction.
            request_id: written to the write-ahead log first, as a transactional message with prefix REQUEST_MESSAGE_PREFIX, so
                that change data capture can attribute the changes to the request.

        Raises:
            RacedError: the race was lost in every attempt.
            UnanswerableError: PostgreSQL cannot represent a value; nothing was stored.
        """
        reconnected = False
        attempt = 1
        while True:
            stage = _Stage()
            try:
                async with self.connection() as conn:
                    return await self._attempt(conn, work, request_id, stage)
            except (RacedError, *_CONFLICTS) as error:
                self._metrics.attempts_repeated.labels(_cause(error)).inc()
                attempt += 1
                if attempt > ATTEMPTS_MAX:
                    raise RacedError from error
            except TimeoutError:
                # See `read`.
                raise
            except LOST_CONNECTION:
                if stage.committing or reconnected:
                    raise
                reconnected = True
                self._metrics.attempts_repeated.labels("connection").inc()

    async def _attempt(
        self, conn: Connection, work: Callable[[Connection], Awaitable[T]], request_id: str, stage: "_Stage"
    ) -> T:
        try:
            await self._begin(conn, request_id)
            result = await work(conn)
        except asyncpg.DataError as error:
            await _rollback(conn)
            raise UnanswerableError(_UNSTORABLE) from error
        except BaseException:
            await _rollback(conn)
            raise
        stage.committing = True
        with self._metrics.stage("commit"):
            await conn.execute("COMMIT")
        return result

    async def _begin(self, conn: Connection, request_id: str) -> None:
        if not request_id or not self._emit_request_id:
            await conn.execute("BEGIN")
        elif _PLAIN_ID.fullmatch(request_id):
            await conn.execute(
                f"BEGIN; SELECT pg_logical_emit_message(true, '{REQUEST_MESSAGE_PREFIX}', '{request_id}'), "
                f"set_config('{REQUEST_MESSAGE_PREFIX}', '{request_id}', true)"
            )
        else:
            await conn.execute("BEGIN")
            await conn.execute(
                "SELECT pg_logical_emit_message(true, $1, $2), set_config($1, $2, true)",
                REQUEST_MESSAGE_PREFIX,
                request_id,
            )


class _Stage:
    """The progress of one attempt: once COMMIT has been sent, nothing may be retried."""

    __slots__ = ("committing",)

    def __init__(self) -> None:
        self.committing = False


@asynccontextmanager
async def opened(
    dsn: str, limits: RateLimitSettings, metrics: Metrics, *, emit_request_id: bool
) -> AsyncGenerator[Database, None]:
    """Open a database that connects on demand, so that the process starts while the server is unavailable."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=limits.pool_max,
        command_timeout=limits.statement_timeout_s,
        timeout=limits.acquire_timeout_s,
        # Requests set no session state, so there is nothing to reset; the default costs a round trip for each request.
        reset=_keep,
        init=_prepare,
        server_settings={"application_name": "scorer"},
    )
    await pool
    try:
        yield Database(pool, limits, metrics, emit_request_id=emit_request_id)
    finally:
        try:
            async with asyncio.timeout(limits.drain_s):
                await pool.close()
        except TimeoutError:
            pool.terminate()


# Statements are short look-ups by key: planning them for each set of values, or compiling them, costs more than running them. Set by
# a statement, because connection poolers refuse startup parameters.
PREPARE = "SET plan_cache_mode = force_generic_plan; SET jit = off"


async def _prepare(conn: Connection) -> None:
    await conn.execute(PREPARE)


async def _keep(_conn: Connection) -> None:
    return


async def _rollback(conn: Connection) -> None:
    try:
        await conn.execute("ROLLBACK")
    except (*LOST_CONNECTION, asyncpg.PostgresError):
        # The connection is lost, and the transaction with it; the original error is the one to raise.
        return


def _cause(error: BaseException) -> str:
    match error:
        case RacedError():
            return "links"
        case asyncpg.DeadlockDetectedError():
            return "deadlock"
        case _:
            return "serialization"
