"""The SQL by which rows given as text are written into a table of any shape.

Pure. Identifiers are quoted, every value is a parameter: one text array a column, cast to the column's type.
"""

from collections.abc import Sequence

from comparator.capture.table_shape import Catalog, TableShape, quote


def parents_first(catalog: Catalog) -> list[str]:
    """The tables so that, cycles aside, each stands behind those it references."""
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
    """Delete by primary key. Parameters: one array a primary-key column."""
    names = [f"pk_{c}" for c in shape.primary_key]
    return f"DELETE FROM {shape.quoted} t USING {_unnest(names)} WHERE {_same_row(shape)}"  # noqa: S608 (quoted names)


def update(shape: TableShape, columns: Sequence[str]) -> str:
    """Set some columns by primary key. Parameters: the primary-key arrays, then one array a column."""
    names = [*(f"pk_{c}" for c in shape.primary_key), *(f"new_{c}" for c in columns)]
    changes = ", ".join(f"{quote(c)} = {_cast(shape, c, f'new_{c}')}" for c in columns)
    return f"UPDATE {shape.quoted} t SET {changes} FROM {_unnest(names)} WHERE {_same_row(shape)}"  # noqa: S608


def upsert(shape: TableShape, columns: Sequence[str]) -> str:
    """Insert whole rows, overwriting a row with the same primary key; returns `existed` for each row.

    Parameters: one array a column.
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
