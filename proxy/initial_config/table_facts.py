"""Define what the proposals need to know of a table beyond its shape: defaults, what triggers assign, how it is written. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from comparator.capture.table_shape import Column, TableShape

INSERTS_MIN: Final = 1000
"""Inserted rows from which it says something that none was updated or deleted."""
_ASSIGNMENT: Final = re.compile(r"\bNEW\s*\.\s*\"?(\w+)\"?\s*:?=\s*(.+?);", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table.

    Attributes:
        shape: columns and keys.
        defaults: SQL of the default by column.
        assigned: SQL of what triggers assign to a column of the row, by column.
        inserts: rows inserted since the server counts.
        updates: rows updated.
        deletes: rows deleted.
    """

    shape: TableShape
    defaults: Mapping[str, str] = field(default_factory=dict[str, str])
    assigned: Mapping[str, str] = field(default_factory=dict[str, str])
    inserts: int = 0
    updates: int = 0
    deletes: int = 0

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.shape.name

    @property
    def surrogate(self) -> Column | None:
        """The column of the primary key whose values say nothing about the row: made by the database, or a UUID that it is not told."""
        columns = {column.name: column for column in self.shape.columns}
        if len(self.shape.primary_key) != 1:
            return None
        column = columns[self.shape.primary_key[0]]
        return column if column.fills_itself or column.value_type == "uuid" else None

    @property
    def only_grows(self) -> bool:
        """True if many rows were inserted and none was ever updated or deleted."""
        return self.inserts >= INSERTS_MIN and not self.updates and not self.deletes

    def reference_of(self, column: str) -> str:
        """Return the table that a foreign key of this one column references; "" for none."""
        return next((key.references for key in self.shape.foreign_keys if key.columns == (column,)), "")


def assignments_of(function: str) -> dict[str, str]:
    """Return the expressions that a trigger function in PL/pgSQL assigns to columns of NEW: `NEW.changed_at := now();`."""
    return {column: expression.strip() for column, expression in _ASSIGNMENT.findall(function)}
