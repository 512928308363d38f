"""Look up the attribution keys of parent rows that the captured stream has not shown: in the shadow, then in live."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import asyncpg

from comparator.capture.attribution_keys import NO_KEYS, KeyIndex, RowReference
from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.postgres import UNAVAILABLE
from proxy.errors import DatabaseUnreachableError

logger = logging.getLogger(__name__)

LOOKUP_TIMEOUT_S = 5.0
RETRY_S = 1.0


def parents_sql(shape: TableShape, columns: Sequence[str]) -> str:
    """Return the query for the key columns, as text, of the rows whose primary key is in $1."""
    listed = ", ".join(f"t.{quote(c)}::text AS {quote(c)}" for c in columns)
    key = shape.primary_key[0]
    return (
        f"SELECT {listed} FROM {shape.quoted} t "  # noqa: S608 (quoted names)
        f"JOIN unnest($1::text[]) AS v(id) ON t.{quote(key)} = v.id::{shape.types[key]}"
    )


class ParentLookup:
    """Adds to a key index the parent rows that it lacks.

    Args:
        index: gets the keys.
        catalog: shapes of the captured tables.
        pools: databases to read, in order; the shadow first, so that live is rarely read.
    """

    def __init__(self, index: KeyIndex, catalog: Catalog, pools: Sequence[asyncpg.Pool]) -> None:
        self._index = index
        self._catalog = catalog
        self._pools = pools

    async def learn(self, references: Sequence[RowReference]) -> None:
        """Add the keys of these rows; a row that does not exist, or is in a table that is not captured, has none.

        Raises:
            DatabaseUnreachableError: a row was not found, and one of the databases did not answer.
        """
        unknown: dict[str, set[str]] = {}
        for reference in references:
            unknown.setdefault(reference.table, set()).add(reference.id)
        for table, ids in unknown.items():
            failure: DatabaseUnreachableError | None = None
            for pool in self._pools if self._has_one_id(table) else ():
                try:
                    ids.difference_update(await self._read(pool, table, sorted(ids)) if ids else ())
                except DatabaseUnreachableError as error:
                    failure = error
            if ids and failure is not None:
                raise failure
            for identity in ids:
                self._index.learn(RowReference(table, identity), NO_KEYS)

    async def learn_with_retries(self, references: Sequence[RowReference], *, on_retry: Callable[[], None]) -> None:
        """Add the keys of these rows as `learn` does, every RETRY_S seconds until the databases answer."""
        while True:
            try:
                await self.learn(references)
            except DatabaseUnreachableError as error:
                logger.warning("shadow_step_repeated", extra={"step": "lookup", "error": str(error)})
                on_retry()
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _has_one_id(self, table: str) -> bool:
        shape = self._catalog.tables.get(table)
        return shape is not None and len(shape.primary_key) == 1

    async def _read(self, pool: asyncpg.Pool, table: str, ids: Sequence[str]) -> set[str]:
        """Add the rows of these ids that one database has; return their ids."""
        shape = self._catalog.tables[table]
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                records = await pool.fetch(parents_sql(shape, self._index.columns_for(table)), ids)
        except UNAVAILABLE as error:
            raise DatabaseUnreachableError(f"lookup of {len(ids)} rows of {table}: {error!r}") from error
        except asyncpg.PostgresError as error:
            # The table is defined differently here: it is paused (`schema_agreement`), and so is what its rows belong to.
            logger.warning("parent_lookup_failed", extra={"table": table, "error": f"{type(error).__name__}: {error}"})
            return set()
        for record in records:
            self._index.learn_row(table, dict(record))
        return {record[shape.primary_key[0]] for record in records}
