"""Find where two databases define a table differently. Pure.

Two kinds of differences count. The first makes rows incomparable: a table, a column, a type or a key that only one side has. The second
makes the sides behave differently on the same statement: a default, a constraint, a trigger. Example, while a migration has run on live
only:

    live     score (id bigint, points integer DEFAULT 1, email text)    UNIQUE (email)
    shadow   score (id bigint, points integer)

    score.email   text in live, missing in the shadow
    score.points  DEFAULT 1 in live, missing in the shadow
    score         UNIQUE (email) in live, missing in the shadow
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from comparator.capture.table_shape import TableShape

MISSING = "missing"
NOT_CAPTURED = "not captured"


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """One difference between the definitions of a table.

    Attributes:
        table: name of the table.
        column: name of the column, "" for the table itself.
        live: what live has: a type, the text of a default or a constraint, or MISSING.
        shadow: what the shadow has.
    """

    table: str
    column: str
    live: str
    shadow: str

    def __str__(self) -> str:
        place = f"{self.table}.{self.column}" if self.column else self.table
        return f"{place} is {self.live} in live and {self.shadow} in the shadow"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A part of a table's definition that decides what a statement does to it, as text.

    Attributes:
        column: name of the column, "" for the table itself.
        text: the default, constraint or trigger, without the name that the database gave it.
    """

    column: str
    text: str


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """The definition of a table in one database.

    Attributes:
        shape: columns and keys; None where the table does not exist.
        captured: its rows are captured.
        behaviour: what else decides on what its statements do.
    """

    shape: TableShape | None = None
    captured: bool = False
    behaviour: frozenset[Behaviour] = frozenset()


ABSENT = TableDefinition()


@dataclass(frozen=True, slots=True)
class Refilled:
    """The partitions of a table that have another file than before: TRUNCATE, VACUUM FULL and some ALTER TABLE make a new one.

    Attributes:
        partitions: their names.
        at_once: they are all partitions of the table, and one transaction gave them their files, as a TRUNCATE of the table does.
    """

    partitions: frozenset[str]
    at_once: bool


def refilled(before: TableDefinition, now: TableDefinition) -> Refilled:
    """Return the partitions that have another file than before; partitions that one reading lacks are a change of the definition."""
    files = {leaf.name: leaf.file for leaf in before.shape.partitions} if before.shape is not None else {}
    leaves = now.shape.partitions if now.shape is not None else ()
    changed = frozenset(leaf.name for leaf in leaves if files.get(leaf.name, leaf.file) != leaf.file)
    return Refilled(changed, len(changed) == len(leaves) and len({leaf.file_since for leaf in leaves}) == 1)


def shape_differences(table: str, live: TableShape | None, shadow: TableShape | None) -> Iterator[SchemaDifference]:
    """Yield the differences that make the rows of a table incomparable: columns, types and the primary key."""
    if live is None or shadow is None:
        if live is not shadow:
            yield SchemaDifference(table, "", _present(live is not None), _present(shadow is not None))
        return
    types = [{column.name: column.definition for column in shape.columns} for shape in (live, shadow)]
    for column in dict.fromkeys([*types[0], *types[1]]):
        here, there = types[0].get(column, MISSING), types[1].get(column, MISSING)
        if here != there:
            yield SchemaDifference(table, column, here, there)
    if live.primary_key != shadow.primary_key:
        yield SchemaDifference(table, "", _key(live), _key(shadow))


def differences(
    table: str, live: TableDefinition, shadow: TableDefinition, *, tolerated: Iterable[SchemaDifference] = ()
) -> tuple[SchemaDifference, ...]:
    """Return all differences, in the order in which an operator wants to read them.

    Args:
        table: name of the table.
        live: its definition in live.
        shadow: its definition in the shadow.
        tolerated: differences in behaviour that were there at the start, and are left out.
    """
    found = list(shape_differences(table, live.shape, shadow.shape))
    if live.captured != shadow.captured and live.shape is not None and shadow.shape is not None:
        captured, left_out = "captured", NOT_CAPTURED
        sides = (captured, left_out) if live.captured else (left_out, captured)
        found.append(SchemaDifference(table, "", *sides))
    known = set(tolerated)
    return (*found, *(d for d in behaviour_differences(table, live, shadow) if d not in known))


def behaviour_differences(table: str, live: TableDefinition, shadow: TableDefinition) -> list[SchemaDifference]:
    """Return the differences in what statements do. Columns that only one side has are left out: they differ as a whole."""
    if live.shape is None or shadow.shape is None:
        return []
    both = {*live.shape.column_names} & {*shadow.shape.column_names}
    alone = live.behaviour ^ shadow.behaviour
    return [
        SchemaDifference(table, part.column, part.text, MISSING)
        if part in live.behaviour
        else SchemaDifference(table, part.column, MISSING, part.text)
        for part in sorted(alone, key=lambda part: (part.column, part.text))
        if not part.column or part.column in both
    ]


def _present(is_there: bool) -> str:
    return "a table" if is_there else MISSING


def _key(shape: TableShape) -> str:
    return f"keyed by {', '.join(shape.primary_key)}" if shape.primary_key else "without a primary key"
