"""Read back what an alignment has written: rows that were not what they should have been, and rows that did not become it. Pure.

The database returns the text of each row that became something else than was written. Texts may differ for equal values (a `numeric`
column keeps `1.10`, a rule of its own makes it `1.1`), so the values are compared by their types before a row is called unequal:

    written {id 7, points 2, seen 10:00}      became (7,2,"10:01")      unequal: a trigger set `seen`
    written {id 8, amount 1.10}               became (8,1.1)            equal: one number
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from comparator.capture.row_text import parse
from comparator.capture.table_shape import TableShape
from comparator.effects.row_fold import RowKey
from comparator.effects.value_equality import ValueEquality, equality_of
from comparator.exchanges.row_changes import Row
from proxy.runner.row_plan import PlannedPart
from proxy.runner.row_targets import RowTarget


def row_key(shape: TableShape, row: RowTarget) -> RowKey:
    """Return the row's table and primary key; in a table without one, all of its values."""
    if shape.primary_key:
        return row.table, row.identity
    image = row.target or row.current or {}
    return row.table, tuple(image.get(c) for c in sorted(shape.writable))


def unexpected_rows(part: PlannedPart, deleted: int, images: Sequence[str]) -> list[RowKey]:
    """Return the rows of a deleting part that were there although they should not have been, or were not although they should.

    Args:
        part: deletes rows by primary key.
        deleted: number of rows that were there.
        images: texts of their primary keys.
    """
    expected = [row.current is not None for row in part.rows]
    if deleted == len(expected) and all(expected):
        return []
    there = {tuple(parse(image)) for image in images}
    return [
        (row.table, row.identity)
        for row, was_expected in zip(part.rows, expected, strict=True)
        if (row.identity in there) is not was_expected
    ]


def unequal_rows(part: PlannedPart, shape: TableShape, images: Iterable[str]) -> list[RowKey]:
    """Return the rows that became something else than was written, by the equality of their columns' types.

    Args:
        part: updates or inserts rows.
        shape: of its table.
        images: texts of the rows that differ from the text that was written.
    """
    columns = part.key[2]
    same = _row_equality(shape, columns)
    open_rows = list(part.rows)
    result: list[RowKey] = []
    for image in images:
        became = dict(zip(columns, parse(image), strict=True))
        wanted = _wanted(open_rows, became, shape, same)
        if wanted is None:
            result.append((part.table, tuple(became.get(c) for c in shape.primary_key or sorted(columns))))
        else:
            open_rows.remove(wanted)
            if not same(wanted.target or {}, became):
                result.append(row_key(shape, wanted))
    return result


def _wanted(
    rows: Sequence[RowTarget], became: Row, shape: TableShape, same: Callable[[Row, Row], bool]
) -> RowTarget | None:
    """Return the target that this row was written for: by its primary key, or, without one, by equal values."""
    if not shape.primary_key:
        return next((row for row in rows if same(row.target or {}, became)), None)
    by_key = _row_equality(shape, shape.primary_key)
    return next((row for row in rows if by_key(row.target or {}, became)), None)


def _row_equality(shape: TableShape, columns: Sequence[str]) -> Callable[[Row, Row], bool]:
    equalities: Mapping[str, ValueEquality] = {
        column.name: equality_of(column.value_type or column.type) for column in shape.columns if column.name in columns
    }

    def same(left: Row, right: Row) -> bool:
        for column, equal in equalities.items():
            a, b = left.get(column), right.get(column)
            if a != b and (a is None or b is None or not equal(a, b)):
                return False
        return True

    return same
