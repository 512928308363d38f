"""Targets of an alignment: for each row of the shadow, the image that makes it equal to live again.

Pure. For every row that either side changed, the target is live's image after if live changed it, else the shadow's own image before.
The row now holds the shadow's image after, else live's image before, because the shadow was aligned when the request began.

One request sets the points of score 5 from 1 to 2 and inserts event 3; mirrored, it sets the same points, inserts no event (a fault) and
clears stamp 9 (another):

    row      changed by   current                      target                       written
    score 5  both         {points 2}, shadow's after   {points 2}, live's after     nothing: equal
    event 3  live         absent, live's before        {id 3, ..}, live's after     INSERT
    stamp 9  the shadow   {v ""}, shadow's after       {v "x"}, shadow's before     UPDATE
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.capture.table_shape import TableShape
from comparator.effects.row_fold import NetRow, PrimaryKey, RowKey, Unknown, fold
from comparator.exchanges.row_changes import Op, Row, RowChange

PrimaryKeys = Mapping[str, Sequence[str]]
"""Primary-key columns of the captured tables by name; changes of other tables are not aligned."""


@dataclass(frozen=True, slots=True)
class RowTarget:
    """One row of the shadow: the image it should hold now, and the one it must hold next; None where the row is absent."""

    table: str
    identity: PrimaryKey
    current: Row | None
    target: Row | None


def targets(live: Iterable[RowChange], shadow: Iterable[RowChange], primary_keys: PrimaryKeys) -> list[RowTarget]:
    """Return the rows of the shadow that have to change.

    Args:
        live: changes of the live database, in commit order.
        shadow: changes of the shadow database, in commit order.
        primary_keys: of the captured tables.
    """
    live_rows, shadow_rows = _net(live, primary_keys), _net(shadow, primary_keys)
    result: list[RowTarget] = []
    for row in dict.fromkeys([*live_rows, *shadow_rows]):
        of_live, of_shadow = live_rows.get(row), shadow_rows.get(row)
        current = of_shadow.after if of_shadow is not None else _before(of_live)
        target = of_live.after if of_live is not None else _before(of_shadow)
        if of_live is not None and target is not None and current is not None:
            # Columns that live's image lacks (unchanged out-of-line values, columns of the shadow alone) keep their value.
            target = {**current, **target}
        if current != target:
            result.append(RowTarget(*row, current, target))
    return result


def rewound(
    resync: Iterable[RowTarget], pending: Sequence[RowChange], shapes: Mapping[str, TableShape]
) -> list[RowTarget] | None:
    """Take the pending changes back out of the targets of a resync.

    A resync makes the shadow equal to live as it is now. That is too late a state where exchanges wait to be mirrored: each needs
    the state that it started from. So a row that a pending change touches gets its image before the first such change instead.

    Args:
        resync: makes the shadow equal to live as one snapshot saw it.
        pending: changes of live that still wait for the shadow, in commit order; that snapshot saw all of them.
        shapes: of the captured tables; changes of other tables, and of tables without a primary key, are not mirrored.

    Returns:
        The targets; None when a pending change lacks its image before, so that it cannot be taken back.
    """
    mirrored = [change for change in pending if change.table in shapes and shapes[change.table].primary_key]
    if not all(_is_reversible(change, shapes[change.table]) for change in mirrored):
        return None
    result = {(target.table, target.identity): target for target in resync}
    for row, net in _net(mirrored, {shape.name: shape.primary_key for shape in shapes.values()}).items():
        differing = result.pop(row, None)
        current = differing.current if differing is not None else _of_shadow(net.after, shapes[row[0]])
        before = _of_shadow(_before(net), shapes[row[0]])
        if current != before:
            result[row] = RowTarget(*row, current, before)
    return list(result.values())


def _net(changes: Iterable[RowChange], primary_keys: PrimaryKeys) -> dict[RowKey, NetRow]:
    rows: dict[RowKey, NetRow] = {}
    for change in changes:
        if change.op is not Op.TRUNCATE and change.table in primary_keys:
            fold(rows, change, primary_keys[change.table])
    return rows


def _before(row: NetRow | None) -> Row | None:
    """Return the image before. One that the log left out counts as absent: the writer inserts the row or overwrites it."""
    return None if row is None or isinstance(row.before, Unknown) else row.before


def _of_shadow(row: Row | None, shape: TableShape) -> Row | None:
    """Return the columns that the shadow has: live may have some of its own."""
    return {c: row[c] for c in shape.writable if c in row} if row is not None else None


def _is_reversible(change: RowChange, shape: TableShape) -> bool:
    if change.before is None:
        return change.op is Op.INSERT
    return change.before.keys() >= set(shape.writable)
