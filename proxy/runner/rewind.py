"""What the shadow must hold so that the changes that still wait for it can be done: live's rows as they were before them.

Pure. A comparison of whole tables makes the shadow equal to live as it is now. Where exchanges wait to be mirrored that is too late a
state: each needs the one it started from. So the rows that waiting changes touch get their first old image instead.
"""

from collections.abc import Iterable, Mapping, Sequence

from comparator.capture.table_shape import TableShape
from comparator.exchanges.row_changes import Op, Row, RowChange
from proxy.runner.row_targets import RowTarget, net


def rewound(
    wanted: Iterable[RowTarget], waiting: Sequence[RowChange], shapes: Mapping[str, TableShape]
) -> list[RowTarget] | None:
    """The targets of a resync, with all waiting changes taken back; None when their old images do not say how.

    Args:
        wanted: makes the shadow equal to live as one snapshot of it saw it.
        waiting: in commit order, all of which that snapshot saw.
        shapes: of the captured tables; changes of others, and of tables without a primary key, are not mirrored.
    """
    mirrored = [change for change in waiting if change.table in shapes and shapes[change.table].primary_key]
    if not all(_can_be_taken_back(change, shapes[change.table]) for change in mirrored):
        return None
    rows = {(row.table, row.identity): row for row in wanted}
    keys = {shape.name: shape.primary_key for shape in shapes.values()}
    for row, one in net(mirrored, keys).items():
        differing = rows.pop(row, None)
        current = differing.current if differing is not None else _of_shadow(one.after, shapes[row[0]])
        before = _of_shadow(one.before, shapes[row[0]])
        if current != before:
            rows[row] = RowTarget(*row, current, before)
    return list(rows.values())


def _of_shadow(row: Row | None, shape: TableShape) -> Row | None:
    """The columns that the shadow has: live may have some of its own."""
    return {c: row[c] for c in shape.writable if c in row} if row is not None else None


def _can_be_taken_back(change: RowChange, shape: TableShape) -> bool:
    if change.op is Op.TRUNCATE:
        return False
    return change.before is None or change.before.keys() >= set(shape.writable)
