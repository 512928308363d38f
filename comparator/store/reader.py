"""Read the store without the right to write: a pool whose sessions are read-only and whose statements end in time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import asyncpg

from comparator import postgres
from comparator.errors import StoreUnavailableError
from comparator.postgres import LACKING, UNAVAILABLE, Connection

CONNECTIONS_MAX: Final = 4


class StoreReader:
    """Reads the store, an async context manager; `comparator.store.queries` and its neighbours have the statements.

    The first connection is made when it is needed, so that the reader can start before the store does.

    Args:
        dsn: URL of the database.
        timeout_s: limit for connecting and for each statement.
    """

    def __init__(self, dsn: str, *, timeout_s: float) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await postgres.close_pool(pool, timeout_s=self._timeout_s)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Borrow a connection, in a read-only transaction that sees one moment.

        Raises:
            StoreUnavailableError: no store is configured, it does not answer in time, or it has no tables yet.
        """
        if not self._dsn:
            raise StoreUnavailableError("databases.store is not set")
        try:
            pool = await self._opened()
            async with (
                pool.acquire(timeout=self._timeout_s) as conn,
                conn.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield conn
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
            raise StoreUnavailableError("the store has no tables yet: a proxy or a runner makes them") from error
        except LACKING as error:
            raise StoreUnavailableError(
                f"a table of the store is closed to this role or of another version: {error}"
            ) from error
        except UNAVAILABLE as error:
            text = str(error) or f"it did not answer within {self._timeout_s:g} s"
            raise StoreUnavailableError(f"{type(error).__name__}: {text}") from error

    async def _opened(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                self._pool = await postgres.open_pool(
                    self._dsn,
                    size=CONNECTIONS_MAX,
                    timeout_s=self._timeout_s,
                    command_timeout_s=self._timeout_s,
                    server_settings={
                        "application_name": "shadow ui",
                        "default_transaction_read_only": "on",
                        "statement_timeout": f"{self._timeout_s * 1000:.0f}",
                    },
                )
            return self._pool
