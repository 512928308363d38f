"""The part of a table's definition that its rows are compared by: primary key, column types, generated values. Pure.

It comes from the system catalogue of the database that the rows were committed to, and travels with them (`Effects.schemas`, and the
file format of cases), so that a comparison never has to guess whether `1.10` and `1.1` are two texts or one number.
"""

from collections.abc import Mapping

import msgspec


class SurrogateReference(msgspec.Struct, frozen=True):
    """A foreign key's column that holds a value that the database made for the referenced row, e.g. its `id`.

    Two equal databases made other values for a row that both sides inserted, so rows are compared by the natural key of the row that they
    reference.

    Attributes:
        column: the column.
        table: the referenced table.
        columns: all columns of the foreign key.
        referenced: the referenced columns, in the order of `columns`.
    """

    column: str
    table: str
    columns: tuple[str, ...]
    referenced: tuple[str, ...]


class TableSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """A table's identity and types.

    Attributes:
        primary_key: columns of the primary key, in order; empty for none: then a row is identified by all of its values.
        types: type by column, as format_type() writes it, a domain by its base type: `numeric(10,2)`, `timestamp with time zone`.
        generated: columns whose values the database makes itself (identity, sequence, random UUID): two equal databases give
            different ones to the same row.
        unique: columns of each unique constraint over all rows, besides the primary key.
        references: columns that hold surrogate keys of other rows.
        computed: generated columns, whose values follow from those of the other columns. They are not compared: the log of servers
            before PostgreSQL 18 lacks them, and a difference in a column that is not compared would show in them.
    """

    primary_key: tuple[str, ...] = ()
    types: dict[str, str] = {}
    generated: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    references: tuple[SurrogateReference, ...] = ()
    computed: tuple[str, ...] = ()

    @property
    def surrogate_key(self) -> tuple[str, ...]:
        """The columns of the primary key that say nothing about the row's meaning."""
        return tuple(column for column in self.primary_key if column in self.generated)

    @property
    def natural_key(self) -> tuple[str, ...]:
        """The columns of the first key, the primary one or a unique constraint, whose values the application chose; () for none.

        A column that references a row by its surrogate key stands for the natural key of that row, so it is one of these.
        """
        keys, made = (self.primary_key, *self.unique), {*self.generated, *self.computed}
        return next((key for key in keys if key and made.isdisjoint(key)), ())


Schemas = Mapping[str, TableSchema]
"""Schema by table name."""

NO_SCHEMA = TableSchema()
"""Of a table that the catalogue did not describe: rows are whole rows, values are texts."""
