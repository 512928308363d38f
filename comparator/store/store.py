"""Store comparisons, findings and totals in PostgreSQL, in the schema `shadow`.

A batch is added in one transaction, and adding it again changes nothing. So a caller that commits its journal offset only after `add` has
returned loses nothing and counts nothing twice, whatever fails in between.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Final, Self, TypeAlias

import asyncpg

from comparator import postgres
from comparator.errors import StoreUnavailableError
from comparator.findings import cases
from comparator.findings.clustering import RandomSource, reservoir_slot
from comparator.postgres import LACKING, UNAVAILABLE, Connection
from comparator.settings import StoreSettings
from comparator.store.comparison_detail import ComparedExchange, pack, served_at
from comparator.store.ended import EndedBatch, add_ended
from comparator.store.finding_sets import add_sets
from comparator.store.rollups import (
    add_known_totals,
    add_partial_totals,
    add_response_only_totals,
    add_rollups,
    add_rule_totals,
    add_totals,
)
from comparator.store.schema import maintain_partitions, migrate
from comparator.store.step_evidence import SkippedExchanges, add_step_evidence
from comparator.store.writes import (
    distinct,
    findings_of,
    insert_comparisons,
    keep_exemplar,
    upsert_finding,
)

NO_SKIPPED: Final[SkippedExchanges] = {}

Fence: TypeAlias = Callable[[Connection], Awaitable[None]]
"""Checks in a transaction that this process may still store anything, and raises an error if it may not."""


class Store:
    """The writing half of the store, an async context manager. `comparator.store.queries` reads.

    Args:
        dsn: URL of the database (`databases.store`).
        settings: section `store:`.
        random: source of random numbers for sampling examples; injected so that tests are repeatable.

    Attributes:
        fence: called first in each transaction of `add`; what it raises keeps everything from being stored. None where nothing else
            may write at the same time.
    """

    def __init__(self, dsn: str, settings: StoreSettings, random: RandomSource) -> None:
        self.settings = settings
        self.fence: Fence | None = None
        self._dsn = dsn
        self._random = random
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Connect, and apply pending migrations.

        Raises:
            StoreUnavailableError: the database is unavailable.
        """
        timeout = self.settings.timeout_s
        with _translated_errors():
            async with asyncio.timeout(timeout * 2):
                self._pool = await postgres.open_pool(
                    self._dsn, size=self.settings.pool_max, timeout_s=timeout, command_timeout_s=timeout
                )
        async with self.connection() as conn:
            await migrate(conn)

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await postgres.close_pool(pool, timeout_s=self.settings.timeout_s)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """Borrow a connection for `queries`.

        Raises:
            StoreUnavailableError: the store is closed, or the database is unavailable.
        """
        if self._pool is None:
            raise StoreUnavailableError("the store is not open")
        with _translated_errors():
            async with self._pool.acquire(timeout=self.settings.timeout_s) as conn:
                yield conn

    async def add(
        self,
        batch: Sequence[ComparedExchange],
        skipped: SkippedExchanges = NO_SKIPPED,
        *,
        ended: EndedBatch | None = None,
    ) -> int:
        """Add a batch in one transaction; return how many of its exchanges were not stored yet.

        Args:
            batch: comparisons.
            skipped: numbers of exchanges that were not compared.
            ended: exchanges that ended, by the numbers of their writers; None for a replay, which has no journal.

        Raises:
            StoreUnavailableError: nothing was stored; add the whole batch again.
        """
        if not batch and not skipped and ended is None:
            return 0
        async with self.connection() as conn, conn.transaction():
            if self.fence is not None:
                await self.fence(conn)
            fresh_ids = await insert_comparisons(conn, batch)
            fresh = [c for c in distinct(batch) if (served_at(c), c.exchange.id) in fresh_ids]
            await add_totals(conn, fresh)
            await add_response_only_totals(conn, fresh)
            await add_partial_totals(conn, fresh)
            await add_known_totals(conn, fresh)
            await add_rule_totals(conn, fresh)
            await add_rollups(conn, fresh)
            await add_step_evidence(conn, fresh, skipped)
            await self._add_findings(conn, fresh)
            await add_sets(conn, fresh, exemplar_max_bytes=self.settings.exemplar_max_bytes)
            if ended is not None:
                await add_ended(conn, ended)
        return len(fresh)

    async def _add_findings(self, conn: Connection, fresh: Sequence[ComparedExchange]) -> None:
        # Always in the order of ids, so that two writers of the same findings never wait for each other in a circle.
        for identity, occurrences in sorted(findings_of(fresh).items()):
            count = await upsert_finding(conn, occurrences)
            slots: dict[int, ComparedExchange] = {}
            for number, (_, compared) in enumerate(occurrences, count - len(occurrences) + 1):
                slot = reservoir_slot(number, self.settings.exemplars_max, self._random)
                if slot is not None and compared.case is not None:
                    slots[slot] = compared
            await self._keep_exemplars(conn, identity, slots)

    async def _keep_exemplars(self, conn: Connection, identity: str, slots: Mapping[int, ComparedExchange]) -> None:
        for slot, compared in slots.items():
            body = pack(cases.dump(compared.case)) if compared.case is not None else b""
            if body and len(body) <= self.settings.exemplar_max_bytes:
                await keep_exemplar(conn, identity, slot=slot, compared=compared, body=body)

    async def maintain(self, now: dt.datetime) -> int:
        """Create partitions for the next days, drop expired ones and shrink full ones; return the number of rows deleted by shrinking.

        Call it at the start and about every hour.
        """
        async with self.connection() as conn:
            return await maintain_partitions(conn, self.settings, now)


@contextmanager
def _translated_errors() -> Generator[None, None, None]:
    """Raise StoreUnavailableError in place of errors that mean that the database is unavailable."""
    try:
        yield
    except LACKING as error:
        raise StoreUnavailableError(
            f"a table of the store is missing, closed to this role or of another version: {error}"
        ) from error
    except UNAVAILABLE as error:
        # (a TimeoutError has no text of its own)
        text = str(error) or "it did not answer within store.timeout_s"
        raise StoreUnavailableError(f"{type(error).__name__}: {text}") from error
