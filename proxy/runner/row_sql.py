"""SQL that writes rows, given as text, into a table of any shape.

Pure. Identifiers are quoted and every value is a parameter: one text array per column, cast to the column's type. For a table
`score (id bigint PRIMARY KEY, value numeric)`, `update(shape, ("value",))` is

    UPDATE "public"."score" t SET "value" = v."new_value"::numeric
    FROM unnest($1::text[], $2::text[]) AS v("pk_id", "new_value") WHERE t."id" = v."pk_id"::bigint

with the ids in $1 and the new values in $2.
"""

from collections.abc import Sequence

from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.exchanges.row_changes import Transaction

ALIGN_MESSAGE_PREFIX = "shadow.align"
BEGIN_ALIGNMENT = f"SET CONSTRAINTS ALL DEFERRED; SELECT pg_logical_emit_message(true, '{ALIGN_MESSAGE_PREFIX}', '')"
"""First statement of an aligning transaction: foreign keys are checked at its end, and the message marks it in the log."""


def is_alignment(transaction: Transaction) -> bool:
    """Return whether the runner itself wrote this transaction of the shadow."""
    return any(message.prefix == ALIGN_MESSAGE_PREFIX for message in transaction.messages)


def parents_first(catalog: Catalog) -> list[str]:
    """Return the names of the tables in an order in which, cycles aside, each follows the tables that it references."""
    ordered: dict[str, None] = {}

    def visit(table: str, above: frozenset[str]) -> None:
        for key in catalog.tables[table].foreign_keys:
            if key.references in catalog.tables and key.references not in above and key.references not in ordered:
                visit(key.references, above | {key.references})
        ordered[table] = None

    for table in catalog.tables:
        if table not in ordered:
            visit(table, frozenset({table}))
    return list(ordered)


def _unnest(names: Sequence[str]) -> str:
    arrays = ", ".join(f"${i}::text[]" for i in range(1, len(names) + 1))
    return f"unnest({arrays}) AS v({', '.join(quote(name) for name in names)})"


def _cast(shape: TableShape, column: str, alias: str) -> str:
    return f"v.{quote(alias)}::{shape.types[column]}"


def _same_row(shape: TableShape) -> str:
    return " AND ".join(f"t.{quote(c)} = {_cast(shape, c, f'pk_{c}')}" for c in shape.primary_key)


def delete(shape: TableShape) -> str:
    """Return the statement that deletes by primary key. Parameters: one array per column of the primary key."""
    names = [f"pk_{c}" for c in shape.primary_key]
    return f"DELETE FROM {shape.quoted} t USING {_unnest(names)} WHERE {_same_row(shape)}"  # noqa: S608 (quoted names)


def update(shape: TableShape, columns: Sequence[str]) -> str:
    """Return the statement that sets `columns` by primary key. Parameters: the arrays of the primary key, then one per column."""
    names = [*(f"pk_{c}" for c in shape.primary_key), *(f"new_{c}" for c in columns)]
    changes = ", ".join(f"{quote(c)} = {_cast(shape, c, f'new_{c}')}" for c in columns)
    return f"UPDATE {shape.quoted} t SET {changes} FROM {_unnest(names)} WHERE {_same_row(shape)}"  # noqa: S608


def upsert(shape: TableShape, columns: Sequence[str]) -> str:
    """Return the statement that inserts whole rows and overwrites rows with the same primary key; it returns `existed` per row.

    Parameters: one array per column.
    """
    listed = ", ".join(quote(c) for c in columns)
    values = ", ".join(_cast(shape, c, c) for c in columns)
    others = [c for c in columns if c not in shape.primary_key]
    replaced = ", ".join(f"{quote(c)} = EXCLUDED.{quote(c)}" for c in others)
    conflict = f"DO UPDATE SET {replaced}" if replaced else "DO NOTHING"
    key = ", ".join(quote(c) for c in shape.primary_key)
    return (
        f"INSERT INTO {shape.quoted} AS t ({listed}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {_unnest(columns)} "  # noqa: S608
        f"ON CONFLICT ({key}) {conflict} RETURNING t.xmax <> 0 AS existed"
    )
