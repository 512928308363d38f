"""The part of a table's definition that its rows are compared by: primary key, column types, generated values. Pure.

It comes from the system catalogue of the database that the rows were committed to, and travels with them (`Effects.schemas`, and the
file format of cases), so that a comparison never has to guess whether `1.10` and `1.1` are two texts or one number.
"""

from collections.abc import Mapping

import msgspec


class TableSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """A table's identity and types.

    Attributes:
        primary_key: columns of the primary key, in order; empty for none: then a row is identified by all of its values.
        types: type by column, as format_type() writes it, a domain by its base type: `numeric(10,2)`, `timestamp with time zone`.
        generated: columns whose values the database makes itself (identity, sequence, random UUID): two equal databases give
            different ones to the same row.
    """

    primary_key: tuple[str, ...] = ()
    types: dict[str, str] = {}
    generated: tuple[str, ...] = ()

    @property
    def surrogate_key(self) -> tuple[str, ...]:
        """The columns of the primary key that say nothing about the row's meaning."""
        return tuple(column for column in self.primary_key if column in self.generated)


Schemas = Mapping[str, TableSchema]
"""Schema by table name."""

NO_SCHEMA = TableSchema()
"""Of a table that the catalogue did not describe: rows are whole rows, values are texts."""
