"""A shape: one or a few tables, the statements that are run on them, and what the tool promises for them.

Statements are templates. `{new}` is a number that no row has yet, `{old}` and `{near}` are the numbers of two existing rows (the seed
numbers its rows from 1 to SEEDED); `{role}` is `live` or `shadow`. Each request gets numbers of its own, the same on both sides:

    INSERT INTO item (sku, qty) VALUES ('sku{new}', 1)        becomes        INSERT INTO item (sku, qty) VALUES ('sku1003', 1)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from comparator.tables import Table

SEEDED = 120
"""Rows that the seed of each shape creates, numbered from 1."""
NEW_FROM = 1_000


class Operation(StrEnum):
    """The kind of work of a request; each shape has statements for each."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MIXED = "mixed"
    TRUNCATE = "truncate"


@dataclass(frozen=True)
class Copy:
    """A COPY FROM STDIN of these lines, in text format."""

    table: str
    lines: str


Statement = str | Copy


@dataclass(frozen=True)
class Fault:
    """A deviation of one side: it runs these statements after those of the operation INSERT, in the same transaction.

    Attributes:
        statements: write the wrong value, remove a row of the request or add one.
        place: where the difference must be reported: `item.qty` for a column, `item` for a whole row.
        undoable: its changes can be undone, so that the request is run a second time and the mismatch is confirmed.
    """

    statements: tuple[str, ...]
    place: str
    undoable: bool = True


@dataclass(frozen=True)
class Shape:
    """A shape of tables.

    Attributes:
        name: unique, in words.
        ddl: creates the tables, whose names are unique over all shapes.
        tables: the captured tables.
        seed: creates SEEDED rows.
        insert: statements of the operation, in one transaction; the same for the following.
        job: statements of a job that writes to live alone; those of the operation `mixed` when there are none.
        faults: by name, at least `changed`, `lost` and `extra` for a shape that is compared.
        described: entries of `compare.tables`; the catalogue decides for all others.
        refused: part of the reason for which the preflight refuses the tables; "" for a shape that is exact.
        since: first major version of PostgreSQL that has it.
        requires: a statement that fails on servers that cannot have it.
        heavy: too much for the suite, and for more than one visit of each kind.
        begin: statement that begins the transactions.
        commit: statements that end them.
        tolerant: a statement that fails does not end the transaction; the response lists the failures.
        broken: reason, by driver or "*", for which the shape does not do yet what it promises. Strict: it must fail.
    """

    name: str
    ddl: str
    tables: tuple[str, ...]
    seed: str = ""
    insert: tuple[Statement, ...] = ()
    update: tuple[Statement, ...] = ()
    delete: tuple[Statement, ...] = ()
    mixed: tuple[Statement, ...] = ()
    truncate: tuple[Statement, ...] = ()
    job: tuple[Statement, ...] = ()
    faults: Mapping[str, Fault] = field(default_factory=dict)
    described: Mapping[str, Table] = field(default_factory=dict)
    refused: str = ""
    since: int = 14
    requires: str = ""
    heavy: bool = False
    begin: str = "BEGIN"
    commit: tuple[str, ...] = ("COMMIT",)
    tolerant: bool = False
    broken: Mapping[str, str] = field(default_factory=dict)

    def statements(self, operation: Operation) -> tuple[Statement, ...]:
        """Return the templates of an operation."""
        return getattr(self, operation.value)


def filled(statement: Statement, numbers: Mapping[str, object]) -> Statement:
    """Fill the numbers into a template."""
    if isinstance(statement, Copy):
        return Copy(statement.table, _filled(statement.lines, numbers))
    return _filled(statement, numbers)


def _filled(text: str, numbers: Mapping[str, object]) -> str:
    for name, number in numbers.items():
        text = text.replace(f"{{{name}}}", str(number))
    return text
