"""SQL that writes rows, given as text, into tables of any shape, and reads back what they became.

Pure. An alignment is one statement: its parts are common table expressions, one for each group of like changes. PostgreSQL checks
foreign keys at the end of a statement, so no order of parents and children is needed. Within a table, deletes come first, then updates,
then inserts: each part counts the rows of the parts before it, which makes PostgreSQL finish those. For a table
`score (id bigint PRIMARY KEY, value numeric)`, one row deleted and one inserted:

    WITH p0 AS (DELETE FROM "public"."score" t USING unnest($1::text[]) AS v("id") WHERE t."id" = v."id"::bigint
                RETURNING ROW(v."id")::text AS image),
         r1 AS (SELECT * FROM unnest($2::text[], $3::text[]) AS v("id", "value")),
         p1 AS (INSERT INTO "public"."score" AS t ("id", "value") OVERRIDING SYSTEM VALUE
                SELECT v."id"::bigint, v."value"::numeric FROM r1 v WHERE (SELECT count(*) FROM p0) >= 0
                RETURNING ROW(t."id", t."value")::text AS image)
    SELECT pg_logical_emit_message(true, 'shadow.align', '')::text AS mark, (SELECT count(*) FROM p0) AS n0, ARRAY(SELECT image FROM p0) AS w0,
           (SELECT count(*) FROM p1) AS n1,
           ARRAY(SELECT image FROM p1 EXCEPT ALL SELECT ROW(v."id", v."value")::text FROM r1 v) AS w1

`w1` has the rows that became something else than what was written. A row's text has its values as the log has them: `ROW(t."id")::text`
uses the types' output functions, where `t."flag"::text` would turn `t` into `true`, and strip the blanks of a character(8). Identifiers
are quoted and every value is a parameter: one text array per column, cast to the column's type.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from comparator.capture.table_shape import TableShape, quote
from comparator.effects.value_equality import plain_type
from comparator.exchanges.row_changes import Transaction

ALIGN_MESSAGE_PREFIX = "shadow.align"
ALIGN_MESSAGE = f"SELECT pg_logical_emit_message(true, '{ALIGN_MESSAGE_PREFIX}', '')"
"""Marks a transaction of the shadow as the runner's own, so that its capture drops it."""


def is_alignment(transaction: Transaction) -> bool:
    """Return whether the runner itself wrote this transaction of the shadow."""
    return any(message.prefix == ALIGN_MESSAGE_PREFIX for message in transaction.messages)


class PartKind(StrEnum):
    """The way in which a part of the statement writes its rows."""

    DELETE = "delete"
    """By primary key."""
    DELETE_EQUAL = "delete_equal"
    """As many rows as there are copies in the parameters, of those that are equal in every column."""
    UPDATE = "update"
    """In place, by primary key."""
    INSERT = "insert"
    """Whole rows."""
    INSERT_MISSING = "insert_missing"
    """Whole rows, of those that the update before has not found."""


@dataclass(frozen=True, slots=True)
class Part:
    """One group of like changes.

    Attributes:
        kind: the way in which its rows are written.
        shape: their table.
        columns: columns that the parameters carry, one text array each.
        changed: of an update, the columns that it sets; of `DELETE_EQUAL`, those that are NULL in all of its rows.
    """

    kind: PartKind
    shape: TableShape
    columns: tuple[str, ...]
    changed: tuple[str, ...] = ()

    @property
    def arrays(self) -> int:
        """Number of parameters: one array for each column, and the number of copies for `DELETE_EQUAL`."""
        return len(self.columns) + (self.kind is PartKind.DELETE_EQUAL)


_NARROWING: Final = frozenset(
    (
        *("smallint", "integer", "bigint", "numeric", "boolean", "uuid", "text", "character varying", "date"),
        *("timestamp with time zone", "timestamp without time zone", "time without time zone"),
    )
)
"""Types for which equal texts are equal values for `=` too, so that an index can narrow the search for equal rows."""


COPIES: Final = '"number of copies"'
NUMBER: Final = '"number of the row"'
"""Names beside those of a table's columns, which they must not equal."""


def image_sql(columns: Iterable[str], alias: str = "t") -> str:
    """Return the expression for the text of a row, e.g. `ROW(t."id", t."value")::text`."""
    return f"ROW({', '.join(f'{alias}.{quote(c)}' for c in columns)})::text"


def _unnest(columns: Sequence[str], first: int) -> str:
    arrays = ", ".join(f"${i}::text[]" for i in range(first, first + len(columns)))
    return f"unnest({arrays}) AS v({', '.join(quote(c) for c in columns)})"


def _cast(shape: TableShape, column: str) -> str:
    return f"v.{quote(column)}::{shape.types[column]}"


def _same_key(shape: TableShape) -> str:
    return " AND ".join(f"t.{quote(c)} = {_cast(shape, c)}" for c in shape.primary_key)


def statement(parts: Sequence[Part]) -> str:
    """Return the statement that writes these parts; those of a table in the order in which they have to be carried out.

    Parameters: for each part one text array per column, and for `DELETE_EQUAL` the number of copies of each row as integers.

    Returns:
        SQL for one row: `mark`, then for each part the number of rows that it has written, and texts of rows: of those that became
        something else than was written, and for `DELETE` of the primary keys that were deleted.
    """
    expressions: list[str] = []
    results: list[str] = []
    first = 1
    for number, part in enumerate(parts):
        before = [at for at in range(number) if parts[at].shape is part.shape]
        expressions += _expressions(part, number, first, before)
        results.append(f"(SELECT count(*) FROM p{number}) AS n{number}, {_wrong(part, number)} AS w{number}")  # noqa: S608
        first += part.arrays
    mark = f"pg_logical_emit_message(true, '{ALIGN_MESSAGE_PREFIX}', '')::text AS mark"
    return f"WITH {', '.join(expressions)} SELECT {mark}, {', '.join(results)}"


def _expressions(part: Part, number: int, first: int, before: Sequence[int]) -> list[str]:
    after = "".join(f" AND (SELECT count(*) FROM p{at}) >= 0" for at in before)  # noqa: S608
    shape, columns = part.shape, part.columns
    match part.kind:
        case PartKind.DELETE:
            using = f"DELETE FROM {shape.own_rows} t USING {_unnest(columns, first)}"  # noqa: S608
            return [f"p{number} AS ({using} WHERE {_same_key(shape)} RETURNING {image_sql(columns, 'v')} AS image)"]
        case PartKind.DELETE_EQUAL:
            return [f"p{number} AS ({_delete_equal(part, first)} RETURNING 1)"]
        case PartKind.UPDATE:
            changes = ", ".join(f"{quote(c)} = {_cast(shape, c)}" for c in part.changed)
            images = f"{image_sql(columns)} AS image, {image_sql(columns, 'v')} AS wanted"
            update = f"UPDATE {shape.own_rows} t SET {changes} FROM {_unnest(columns, first)}"  # noqa: S608
            return [f"p{number} AS ({update} WHERE {_same_key(shape)}{after} RETURNING {images})"]
        case PartKind.INSERT | PartKind.INSERT_MISSING:
            rows = f"r{number} AS (SELECT * FROM {_unnest(columns, first)})"  # noqa: S608
            if part.kind is PartKind.INSERT_MISSING:
                after += f" AND NOT EXISTS (SELECT FROM p{number - 1} u WHERE u.wanted = {image_sql(columns, 'v')})"
            insert = (
                f"INSERT INTO {shape.quoted} AS t ({', '.join(quote(c) for c in columns)}) OVERRIDING SYSTEM VALUE "  # noqa: S608
                f"SELECT {', '.join(_cast(shape, c) for c in columns)} FROM r{number} v WHERE true{after}"
            )
            return [rows, f"p{number} AS ({insert} RETURNING {image_sql(columns)} AS image)"]


def _delete_equal(part: Part, first: int) -> str:
    """Delete rows that are equal in every column, at most as many of each as there are copies; nothing else tells them apart.

    Columns of a type with a usable `=` narrow the search, which an index may serve; the text of the row decides. So -0 is not 0, and a
    json column, which has no equality at all, is compared by its characters.
    """
    shape, columns = part.shape, part.columns
    narrowing = [
        f"e.{quote(c)} IS NULL" if c in part.changed else f"e.{quote(c)} = {_cast(shape, c)}"
        for c in columns
        if c in part.changed or plain_type(shape.types[c]) in _NARROWING
    ]
    same = " AND ".join([*narrowing, f"{image_sql(columns, 'e')} = {image_sql(columns, 'v')}"])
    arrays = ", ".join(f"${i}::text[]" for i in range(first, first + len(columns)))
    names = ", ".join(quote(c) for c in columns)
    return (
        f"DELETE FROM {shape.own_rows} t USING (SELECT e.tableoid AS held_in, e.ctid AS place, v.{COPIES} AS copies, "  # noqa: S608
        f"row_number() OVER (PARTITION BY v.{NUMBER}) AS copy FROM {shape.own_rows} e "
        f"JOIN unnest({arrays}, ${first + len(columns)}::int[]) WITH ORDINALITY AS v({names}, {COPIES}, {NUMBER}) ON {same}) d "
        f"WHERE d.copy <= d.copies AND t.tableoid = d.held_in AND t.ctid = d.place"
    )


def _wrong(part: Part, number: int) -> str:
    match part.kind:
        case PartKind.DELETE:
            return f"ARRAY(SELECT image FROM p{number})"  # noqa: S608 (a number)
        case PartKind.DELETE_EQUAL:
            return "'{}'::text[]"
        case PartKind.UPDATE:
            return f"ARRAY(SELECT image FROM p{number} WHERE image <> wanted)"  # noqa: S608
        case PartKind.INSERT | PartKind.INSERT_MISSING:
            written = image_sql(part.columns, "v")
            return f"ARRAY(SELECT image FROM p{number} EXCEPT ALL SELECT {written} FROM r{number} v)"  # noqa: S608


def empty_sql(shape: TableShape) -> tuple[str, str]:
    """Return the statements that empty a table: the fast one, and the one for a table that foreign keys reference."""
    return f"TRUNCATE {shape.own_rows}", f"DELETE FROM {shape.own_rows}"  # noqa: S608 (quoted names)
