"""Shapes of the captured tables as values: columns, primary key, foreign keys, replica identity. `catalog` reads them.

Pure, so that modules that only compute with shapes (the SQL of the row writer, the targets of a resync) stay pure too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ReplicaIdentity(StrEnum):
    """What the log keeps of a row that is updated or deleted (pg_class.relreplident)."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is format_type's text, fit for a cast; a `generated` column is never written.

    `identity` is "always", "default" or "": an INSERT that names an `always` column needs OVERRIDING SYSTEM VALUE.
    """

    name: str
    type: str
    generated: bool
    identity: str
    not_null: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key. Only a deferrable one lets rows be applied in any order within a transaction."""

    name: str
    columns: tuple[str, ...]
    references: str
    referenced: tuple[str, ...]
    deferrable: bool


@dataclass(frozen=True, slots=True)
class TableShape:
    """One table. `name` is the name used everywhere in this project, `schema` and `relation` are its two parts.

    `kind` is "table", "partitioned" or "other"; `logged` is False for an unlogged or temporary one; `owned` says whether
    the connected role may alter it; `triggers` names the enabled row or statement triggers that are no constraints: they
    would fire when rows are applied.
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
        """The name as SQL wants it."""
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
    def writable(self) -> tuple[str, ...]:
        """Names of the columns that are not generated, in order."""
        return tuple(column.name for column in self.columns if not column.generated)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The captured tables by name."""

    tables: Mapping[str, TableShape]


def quote(identifier: str) -> str:
    """An identifier in double quotes."""
    escaped = identifier.replace('"', '""')
    return f'"{escaped}"'
