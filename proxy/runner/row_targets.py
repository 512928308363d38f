"""Targets of an alignment: for each row of the shadow, the image that makes it equal to live again.

Pure. For every row that either side changed, the target is live's image after if live changed it, else the shadow's own image before.
The row now holds the shadow's image after, else live's image before, because the shadow was aligned when the request began.

One request sets the points of score 5 from 1 to 2 and inserts event 3; mirrored, it sets the same points, inserts no event (a fault) and
clears stamp 9 (another):

    row      changed by   current                      target                       written
    score 5  both         {points 2}, shadow's after   {points 2}, live's after     nothing: equal
    event 3  live         absent, live's before        {id 3, ..}, live's after     INSERT
    stamp 9  the shadow   {v ""}, shadow's after       {v "x"}, shadow's before     UPDATE

Rows of a table without a primary key are told apart by all of their values, and counted. Live inserts {a} twice, the shadow inserts {a}
once and {b} once: one {a} is to be inserted, one {b} deleted.

A TRUNCATE empties the table of the side that ran it; only the changes behind it count:

    live                 shadow               the shadow needs
    INSERT 1, TRUNCATE   INSERT 1, TRUNCATE   nothing: both are empty
    TRUNCATE, INSERT 2   INSERT 2             TRUNCATE, then INSERT 2
    -                    TRUNCATE             a resync: the rows that it lost are in no change
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from comparator.capture.table_shape import TableShape
from comparator.effects.row_fold import NetRow, PrimaryKey, RowKey, Unknown, fold
from comparator.exchanges.row_changes import Op, Row, RowChange

PrimaryKeys = Mapping[str, Sequence[str]]
"""Primary-key columns of the captured tables by name, `()` for a table without; changes of other tables are not aligned."""

ANY_KEY = ("",)
"""Stands for the key of a table that is not captured: its changes are left alone."""


@dataclass(frozen=True, slots=True)
class RowTarget:
    """One row of the shadow: the image it should hold now, and the one it must hold next; None where the row is absent.

    Attributes:
        table: name of its table.
        identity: values of its primary key; `()` in a table without one, where the image that is not None tells it apart, and each of
            several equal rows is a target of its own.
        current: image that it should hold now; `{}` where it exists and its values are not known.
        target: image that it must hold next.
    """

    table: str
    identity: PrimaryKey
    current: Row | None
    target: Row | None


@dataclass(frozen=True, slots=True)
class Alignment:
    """Changes that make the shadow equal to live again.

    Attributes:
        rows: rows to write.
        truncated: tables to empty first.
        unknown: tables whose rows the changes do not tell: only a resync makes them equal.
    """

    rows: Sequence[RowTarget]
    truncated: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.rows or self.truncated or self.unknown)


NOTHING_TO_ALIGN = Alignment(())


def alignment(live: Iterable[RowChange], shadow: Iterable[RowChange], primary_keys: PrimaryKeys) -> Alignment:
    """Return what the shadow needs to become equal to live.

    Args:
        live: changes of the live database, in commit order.
        shadow: changes of the shadow database, in commit order.
        primary_keys: of the captured tables.
    """
    live, shadow = list(live), list(shadow)
    if not any(change.op is Op.TRUNCATE or _is_keyless(change, primary_keys) for change in (*live, *shadow)):
        return Alignment(_keyed_targets(live, shadow, primary_keys))
    by_live, by_shadow = _emptied(live, primary_keys), _emptied(shadow, primary_keys)
    # What the shadow alone has emptied is not known; what live alone has emptied, the shadow's changes do not matter for.
    live = [change for change in _behind_truncates(live) if change.table not in by_shadow - by_live]
    shadow = [change for change in _behind_truncates(shadow) if change.table not in by_shadow ^ by_live]
    unknown = {change.table for change in (*live, *shadow) if _is_incomplete(change, primary_keys)}
    rows = _keyed_targets(live, shadow, primary_keys)
    columns = _common_columns(live, shadow)
    rows += _whole_row_targets(_surplus(live, primary_keys, columns) - _surplus(shadow, primary_keys, columns))
    return Alignment(rows, tuple(sorted(by_live - by_shadow)), frozenset(by_shadow - by_live | unknown))


def _is_keyless(change: RowChange, primary_keys: PrimaryKeys) -> bool:
    return not primary_keys.get(change.table, ANY_KEY)


def _emptied(changes: Iterable[RowChange], primary_keys: PrimaryKeys) -> set[str]:
    return {change.table for change in changes if change.op is Op.TRUNCATE and change.table in primary_keys}


def _behind_truncates(changes: Sequence[RowChange]) -> list[RowChange]:
    """Return the changes that the last TRUNCATE of their table did not undo."""
    last = {change.table: at for at, change in enumerate(changes) if change.op is Op.TRUNCATE}
    return [change for at, change in enumerate(changes) if at > last.get(change.table, -1)]


def _is_incomplete(change: RowChange, primary_keys: PrimaryKeys) -> bool:
    """Return whether a change of a table without a primary key lacks the image before, by which its row would be found."""
    return change.before is None and change.op is not Op.INSERT and _is_keyless(change, primary_keys)


def _keyed_targets(
    live: Iterable[RowChange], shadow: Iterable[RowChange], primary_keys: PrimaryKeys
) -> list[RowTarget]:
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


class _Surplus:
    """Equal rows of tables without a primary key: how many more came than went, by table and values."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[str, tuple[tuple[str, str | None], ...]], int] = {}

    def add(self, table: str, image: Row | None, count: int) -> None:
        if image is not None:
            key = table, tuple(sorted(image.items()))
            self._counts[key] = self._counts.get(key, 0) + count

    def __sub__(self, other: "_Surplus") -> "_Surplus":
        for key, count in other._counts.items():
            self._counts[key] = self._counts.get(key, 0) - count
        return self

    def __iter__(self) -> Iterator[tuple[str, Row, int]]:
        return ((table, dict(values), count) for (table, values), count in self._counts.items())


def _surplus(changes: Iterable[RowChange], primary_keys: PrimaryKeys, columns: Mapping[str, Row]) -> _Surplus:
    result = _Surplus()
    for change in changes:
        if change.op is not Op.TRUNCATE and _is_keyless(change, primary_keys):
            common = columns.get(change.table)
            result.add(change.table, _restricted(change.before, common), -1)
            result.add(change.table, _restricted(change.after, common), 1)
    return result


def _common_columns(live: Iterable[RowChange], shadow: Iterable[RowChange]) -> dict[str, Row]:
    """Return the columns that both databases' images have, by table; the change log has generated columns, an older server's log does not.

    Without them equal rows would not be equal. Tables that one database alone changed are left out.
    """
    of_live, of_shadow = ({c.table: c.after or c.before or {} for c in changes} for changes in (live, shadow))
    return {
        table: {name: None for name in of_live[table] if name in of_shadow[table]}
        for table in of_live.keys() & of_shadow.keys()
        if of_live[table].keys() != of_shadow[table].keys()
    }


def _restricted(image: Row | None, columns: Row | None) -> Row | None:
    return image if image is None or columns is None else {name: image[name] for name in columns if name in image}


def _whole_row_targets(surplus: _Surplus) -> list[RowTarget]:
    result: list[RowTarget] = []
    for table, image, count in surplus:
        missing, extra = RowTarget(table, (), None, image), RowTarget(table, (), image, None)
        result += [missing] * count + [extra] * -count
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
        shapes: of the tables that the resync compared; changes of other tables stay as they are.

    Returns:
        The targets; None when a pending change lacks its image before, so that it cannot be taken back.
    """
    mirrored = [change for change in pending if change.table in shapes]
    if not all(_is_reversible(change, shapes[change.table]) for change in mirrored):
        return None
    primary_keys = {name: shape.primary_key for name, shape in shapes.items()}
    resync = list(resync)
    result = {(target.table, target.identity): target for target in resync if target.identity}
    for row, net in _net(mirrored, primary_keys).items():
        differing = result.pop(row, None)
        current = differing.current if differing is not None else _of_shadow(net.after, shapes[row[0]])
        before = _of_shadow(_before(net), shapes[row[0]])
        if current != before:
            result[row] = RowTarget(*row, current, before)
    surplus = _Surplus()
    for target in resync:
        if not target.identity:
            surplus.add(target.table, target.current, -1)
            surplus.add(target.table, target.target, 1)
    for change in mirrored:
        if not shapes[change.table].primary_key:
            surplus.add(change.table, _of_shadow(change.before, shapes[change.table]), 1)
            surplus.add(change.table, _of_shadow(change.after, shapes[change.table]), -1)
    return [*result.values(), *_whole_row_targets(surplus)]


def _net(changes: Iterable[RowChange], primary_keys: PrimaryKeys) -> dict[RowKey, NetRow]:
    rows: dict[RowKey, NetRow] = {}
    for change in changes:
        key = primary_keys.get(change.table)
        if key and change.op is not Op.TRUNCATE:
            fold(rows, change, key)
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
