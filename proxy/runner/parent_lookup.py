"""Finds out whose a parent row is when the stream has not shown it yet: a read of the shadow, and of live when it is not there."""

import asyncio
from collections.abc import Sequence

import asyncpg

from comparator.capture.attribution_keys import NO_KEYS, KeyIndex, RowReference
from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.postgres import UNAVAILABLE
from proxy.errors import ShadowUnreachableError

LOOKUP_TIMEOUT_S = 5.0


def parents_sql(shape: TableShape, columns: Sequence[str]) -> str:
    """The key columns, as text, of the rows whose primary key is in $1."""
    listed = ", ".join(f"t.{quote(c)}::text AS {quote(c)}" for c in columns)
    key = shape.primary_key[0]
    return (
        f"SELECT {listed} FROM {shape.quoted} t "  # noqa: S608 (quoted names)
        f"JOIN unnest($1::text[]) AS v(id) ON t.{quote(key)} = v.id::{shape.types[key]}"
    )


class ParentLookup:
    """Teaches a key index the rows it asks for.

    Args:
        index: learns.
        catalog: shapes of the captured tables.
        pools: databases to ask, in order; the shadow first, so that live is hardly ever asked.
    """

    def __init__(self, index: KeyIndex, catalog: Catalog, pools: Sequence[asyncpg.Pool]) -> None:
        self._index = index
        self._catalog = catalog
        self._pools = pools

    async def learn(self, references: Sequence[RowReference]) -> None:
        """Make the keys of these rows known; a row that exists nowhere, or in a table that is not captured, has none.

        Raises:
            ShadowUnreachableError: a row was not found, and one of the databases did not answer.
        """
        unknown: dict[str, set[str]] = {}
        for reference in references:
            unknown.setdefault(reference.table, set()).add(reference.id)
        for table, ids in unknown.items():
            silent: ShadowUnreachableError | None = None
            for pool in self._pools if table in self._catalog.tables else ():
                try:
                    ids.difference_update(await self._ask(pool, table, sorted(ids)) if ids else ())
                except ShadowUnreachableError as error:
                    silent = error
            if ids and silent is not None:
                raise silent
            for identity in ids:
                self._index.learn(RowReference(table, identity), NO_KEYS)

    async def _ask(self, pool: asyncpg.Pool, table: str, ids: Sequence[str]) -> set[str]:
        shape = self._catalog.tables[table]
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                records = await pool.fetch(parents_sql(shape, self._index.columns_for(table)), ids)
        except UNAVAILABLE as error:
            raise ShadowUnreachableError(f"looking up {len(ids)} rows of {table}: {error!r}") from error
        for record in records:
            self._index.learn_row(table, dict(record))
        return {record[shape.primary_key[0]] for record in records}
