"""Define the shapes of captured tables: columns, primary key, foreign keys, replica identity. `catalog` reads them.

Pure, so that modules that only compute with shapes (the SQL of the row writer, the targets of a resync) are pure too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from comparator.exchanges.table_schema import Schemas, TableSchema


class ReplicaIdentity(StrEnum):
    """The part of an updated or deleted row that the write-ahead log contains (pg_class.relreplident)."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: name of the column.
        type: type as format_type() writes it, which a cast accepts: `numeric(10,2)`.
        generated: the column is generated; it is never written.
        identity: "always", "default" or "". An INSERT that names an `always` column needs OVERRIDING SYSTEM VALUE.
        not_null: the column has a NOT NULL constraint.
        value_type: `type`, or the base type of a domain.
        fills_itself: the database makes the value: identity, or a default from a sequence or a random UUID.
    """

    name: str
    type: str
    generated: bool
    identity: str
    not_null: bool
    value_type: str = ""
    fills_itself: bool = False


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key. Only a deferrable one allows rows to be written in any order within a transaction.

    Attributes:
        name: name of the constraint.
        columns: referencing columns of this table.
        references: name of the referenced table.
        referenced: referenced columns, in the order of `columns`.
        deferrable: the constraint can be deferred to the end of a transaction.
    """

    name: str
    columns: tuple[str, ...]
    references: str
    referenced: tuple[str, ...]
    deferrable: bool


@dataclass(frozen=True, slots=True)
class TableShape:
    """One table.

    Attributes:
        name: the bare name for schema public, else "schema.name"; the name that the whole project uses.
        schema: name of the schema.
        relation: name inside of the schema.
        kind: "table", "partitioned" or "other".
        logged: the table is neither unlogged nor temporary.
        owned: the connected role may alter the table.
        replica_identity: the part of old rows in the write-ahead log.
        primary_key: columns of the primary key, in order; empty for none.
        columns: all columns, in order.
        foreign_keys: all foreign keys.
        triggers: enabled triggers that are not constraints; they would fire when rows are written.
    """

    name: str
    schema: str
    relation: str
    kind: str
    logged: bool
    owned: bool
    replica_identity: ReplicaIdentity
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[str, ...]

    @property
    def quoted(self) -> str:
        """The quoted name for SQL: `"public"."score"`."""
        return f"{quote(self.schema)}.{quote(self.relation)}"

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def types(self) -> dict[str, str]:
        """Type of each column, by name."""
        return {column.name: column.type for column in self.columns}

    @property
    def comparison_schema(self) -> TableSchema:
        """The parts of the shape that the comparison of rows needs."""
        return TableSchema(
            self.primary_key,
            {column.name: column.value_type or column.type for column in self.columns},
            tuple(column.name for column in self.columns if column.fills_itself),
        )

    @property
    def writable(self) -> tuple[str, ...]:
        """Names of the columns that are not generated, in order."""
        return tuple(column.name for column in self.columns if not column.generated)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The captured tables by name."""

    tables: Mapping[str, TableShape]

    @property
    def schemas(self) -> Schemas:
        """The schemas that travel with the effects of these tables."""
        return {name: shape.comparison_schema for name, shape in self.tables.items()}


def quote(identifier: str) -> str:
    """Put an identifier in double quotes."""
    escaped = identifier.replace('"', '""')
    return f'"{escaped}"'
