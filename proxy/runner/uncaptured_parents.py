"""Copy rows that captured rows reference in tables that are not captured, where PostgreSQL would refuse the reference.

In the replica role no foreign key is checked, and nothing has to be done. Elsewhere a resync would fail for good, although both sides are
equal in all that is captured: live's `item` 2 references `kind` 9, which was inserted into `kind` after the shadow was cloned. So row 9 is
copied first. Rows that exist on the shadow are left alone, whatever they hold: nothing compares them. Tables with triggers are left out.
"""

from collections.abc import Iterable, Mapping, Sequence

from comparator.capture.catalog import read_existing
from comparator.capture.row_text import parse
from comparator.capture.table_shape import Catalog, ForeignKey, TableShape, quote
from comparator.postgres import Connection
from proxy.runner.row_plan import whole, writable_tables
from proxy.runner.row_sql import image_sql, statement
from proxy.runner.row_targets import RowTarget

STATEMENT_TIMEOUT_S = 60
DEPTH_MAX = 8
"""Longest chain of parents that is followed."""
IN_REPLICA_ROLE = "SELECT current_setting('session_replication_role') = 'replica'"

References = Mapping[tuple[str, tuple[str, ...]], set[tuple[str, ...]]]
"""Values by referenced table and columns."""


async def copy_missing_parents(
    live: Connection, shadow: Connection, catalog: Catalog, rows: Iterable[RowTarget]
) -> int:
    """Copy the rows that these targets reference, and that the shadow lacks, of tables outside of the catalogue; return how many.

    Errors of the databases pass through.
    """
    if await shadow.fetchval(IN_REPLICA_ROLE, timeout=STATEMENT_TIMEOUT_S):
        return 0
    return await _copy(live, shadow, catalog, references(rows, catalog), DEPTH_MAX)


def references(rows: Iterable[RowTarget], catalog: Catalog) -> References:
    """Return the values by which targets reference tables outside of the catalogue."""
    outside: dict[str, list[ForeignKey]] = {
        name: [key for key in shape.foreign_keys if key.references not in catalog.tables]
        for name, shape in catalog.tables.items()
    }
    found: dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]] = {}
    for row in rows:
        for key in outside.get(row.table, ()) if row.target is not None else ():
            values = [row.target.get(column) for column in key.columns] if row.target is not None else []
            known = tuple(value for value in values if value is not None)
            if len(known) == len(key.columns):
                found.setdefault((key.references, key.referenced), set()).add(known)
    return found


async def _copy(live: Connection, shadow: Connection, catalog: Catalog, wanted: References, depth: int) -> int:
    if not wanted or not depth:
        return 0
    parents = await read_existing(shadow, [table for table, _ in wanted])
    missing: list[RowTarget] = []
    for (table, columns), values in wanted.items():
        # A trigger of the application would write more than this row.
        if table in parents.tables and not parents.tables[table].triggers:
            shape = parents.tables[table]
            there = {key for key, _ in await _read(shadow, shape, columns, values)}
            images = await _read(live, shape, columns, [value for value in values if value not in there])
            missing += [RowTarget(table, tuple(row[c] for c in shape.primary_key), None, row) for _, row in images]
    if not missing:
        return 0
    # Parents of parents first; those that are captured are written with the targets, in one statement where that is possible.
    above = Catalog({**catalog.tables, **parents.tables})
    copied = await _copy(live, shadow, above, references(missing, above), depth - 1)
    tables = writable_tables(parents)
    plan = whole(missing, tables, replace=False)
    await shadow.fetch(
        statement([part.part(tables) for part in plan]),
        *[array for part in plan for array in part.parameters()],
        timeout=STATEMENT_TIMEOUT_S,
    )
    return copied + len(missing)


async def _read(
    conn: Connection, shape: TableShape, columns: Sequence[str], values: Iterable[tuple[str, ...]]
) -> list[tuple[tuple[str | None, ...], dict[str, str | None]]]:
    """Return the rows with these values, each with the values as the rows have them."""
    wanted = list(values)
    if not wanted:
        return []
    arrays = ", ".join(f"${i}::text[]" for i in range(1, len(columns) + 1))
    names = ", ".join(quote(column) for column in columns)
    same = " AND ".join(f"t.{quote(c)} = v.{quote(c)}::{shape.types[c]}" for c in columns)
    sql = (
        f"SELECT {image_sql(columns, 'v')} AS wanted, {image_sql(shape.writable)} AS image "  # noqa: S608 (quoted names)
        f"FROM {shape.own_rows} t JOIN unnest({arrays}) AS v({names}) ON {same}"
    )
    vectors = [[value[i] for value in wanted] for i in range(len(columns))]
    records = await conn.fetch(sql, *vectors, timeout=STATEMENT_TIMEOUT_S)
    return [
        (tuple(parse(record["wanted"])), dict(zip(shape.writable, parse(record["image"]), strict=True)))
        for record in records
    ]
