"""Define the shapes of captured tables: columns, primary key, foreign keys, replica identity. `catalog` reads them.

Pure, so that modules that only compute with shapes (the SQL of the row writer, the targets of a resync) are pure too.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from comparator.exchanges.row_changes import RowDescription
from comparator.exchanges.table_schema import Schemas, SurrogateReference, TableSchema


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
        virtual: the column is generated and not stored: it is computed when it is read (PostgreSQL 18).
        type_id: oid and modifier of the type, by which the log describes the column.
        labels: values of an enumerated type, in order.
    """

    name: str
    type: str
    generated: bool
    identity: str
    not_null: bool
    value_type: str = ""
    fills_itself: bool = False
    virtual: bool = False
    type_id: tuple[int, int] = (0, -1)
    labels: tuple[str, ...] = ()

    @property
    def definition(self) -> str:
        """The values of the column in words: `numeric(10,2)`, `mood (sad, ok)`, `integer generated`."""
        labels = f" ({', '.join(self.labels)})" if self.labels else ""
        return f"{self.type}{labels}{' generated' if self.generated else ''}"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key. Only a deferrable one allows rows to be written in any order within a transaction.

    Attributes:
        name: name of the constraint.
        columns: referencing columns of this table.
        references: name of the referenced table.
        referenced: referenced columns, in the order of `columns`.
        deferrable: the constraint can be deferred to the end of a transaction.
        self_filling: those of `referenced` whose values the database makes.
    """

    name: str
    columns: tuple[str, ...]
    references: str
    referenced: tuple[str, ...]
    deferrable: bool
    self_filling: tuple[str, ...] = ()


class TableKind(StrEnum):
    """The kind of a relation (pg_class.relkind). Only tables and partitioned tables hold rows that a request can write."""

    TABLE = "table"
    PARTITIONED = "partitioned"
    FOREIGN = "foreign table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that holds rows: a leaf below a partitioned table.

    Attributes:
        name: canonical name.
        quoted: quoted name for SQL.
        kind: kind of the relation; a partition may be a foreign table.
        logged: the partition is not unlogged.
        replica_identity: the part of old rows in the write-ahead log; each partition has its own.
        has_key: the partition has a replica identity under DEFAULT: a primary key that is not deferrable.
        file: number of the file that holds its rows (pg_class.relfilenode): TRUNCATE gives it another one. No part of the definition.
        file_since: the transaction that gave it this file, or changed its catalogue row since (pg_class.xmin).
    """

    name: str
    quoted: str
    kind: TableKind
    logged: bool
    replica_identity: ReplicaIdentity
    has_key: bool
    file: int = field(default=0, compare=False)
    file_since: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TableShape:
    """One table.

    Attributes:
        name: canonical name (`comparator.table_names`); the name that the whole project uses.
        schema: name of the schema.
        relation: name inside of the schema.
        kind: kind of the relation.
        logged: the table is neither unlogged nor temporary.
        owned: the connected role may alter the table.
        replica_identity: the part of old rows in the write-ahead log.
        primary_key: columns of the primary key, in order; empty for none.
        columns: all columns, in order.
        foreign_keys: all foreign keys.
        triggers: enabled triggers that are not constraints; they would fire when rows are written.
        key_deferrable: the primary key can be deferred, so that it cannot serve as replica identity.
        partitions: partitions that hold the rows of a partitioned table.
        root: name of the partitioned table that this table is a partition of, "" for none.
        children: names of the tables that inherit from this one, at any depth; their rows are not this table's own.
        rules: names of enabled rules, which rewrite statements on the table.
        statement_triggers: the application has triggers that fire once a statement, also for one that changes no row.
        readable: the connected role may read every column.
        rows_hidden: row level security applies to the connected role: it may see a part of the rows.
        oid: object id.
        unique: columns of each unique constraint or index over plain columns and all rows, besides the primary key.
    """

    name: str
    schema: str
    relation: str
    kind: TableKind
    logged: bool
    owned: bool
    replica_identity: ReplicaIdentity
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[str, ...]
    key_deferrable: bool = False
    partitions: tuple[Partition, ...] = ()
    root: str = ""
    children: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    statement_triggers: bool = False
    readable: bool = True
    rows_hidden: bool = False
    oid: int = 0
    unique: tuple[tuple[str, ...], ...] = ()

    @property
    def quoted(self) -> str:
        """The quoted name for SQL: `"public"."score"`."""
        return f"{quote(self.schema)}.{quote(self.relation)}"

    @property
    def own_rows(self) -> str:
        """The name for SQL that reads, changes or deletes rows: with ONLY where other tables inherit from this one.

        `SELECT .. FROM "public"."parent"` has the children's rows too; each of them is captured as a table of its own.
        """
        return f"ONLY {self.quoted}" if self.children else self.quoted

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def types(self) -> dict[str, str]:
        """Type of each column, by name."""
        return {column.name: column.type for column in self.columns}

    def describes(self, description: RowDescription) -> bool:
        """Return whether a row was written under this definition. The log of some drivers leaves generated columns out."""
        generated = {column.name for column in self.columns if column.generated}
        own = {(column.name, column.type_id) for column in self.columns if not column.generated}
        logged = zip(description.columns, description.types, strict=True)
        return description.oid == self.oid and own == {column for column in logged if column[0] not in generated}

    @property
    def comparison_schema(self) -> TableSchema:
        """The parts of the shape that the comparison of rows needs."""
        return TableSchema(
            self.primary_key,
            {column.name: column.value_type or column.type for column in self.columns},
            tuple(column.name for column in self.columns if column.fills_itself),
            self.unique,
            tuple(_references(self.foreign_keys)),
            tuple(column.name for column in self.columns if column.generated),
        )

    @property
    def writable(self) -> tuple[str, ...]:
        """Names of the columns that are not generated, in order."""
        return tuple(column.name for column in self.columns if not column.generated)


def _references(foreign_keys: Iterable[ForeignKey]) -> Iterator[SurrogateReference]:
    """Yield the columns that hold a value that the database made for a row of another table."""
    for key in foreign_keys:
        for column, referenced in zip(key.columns, key.referenced, strict=True):
            if referenced in key.self_filling:
                yield SurrogateReference(column, key.references, key.columns, key.referenced)


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
