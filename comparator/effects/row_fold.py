"""Fold the changes of a row into its net change: the first image before and the last image after.

Pure. The one definition of a net change: the comparison of effects and the alignment of the shadow both use it. Three changes of one
request, with `id` as primary key:

    INSERT            -> {id 7, points 1}
    UPDATE {id 7, points 1} -> {id 7, points 2}
    UPDATE {id 7, points 2} -> {id 8, points 2}

fold into: row 7 was absent and is absent, row 8 was absent and is {id 8, points 2}. A changed primary key is a row that went and a row
that came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from comparator.exchanges.row_changes import Op, Row, RowChange


class Unknown(Enum):
    """The image before, when the log did not carry it (no full replica identity)."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
PrimaryKey = tuple[str | None, ...]
RowKey = tuple[str, PrimaryKey]
"""A row: name of its table, values of its primary key."""


@dataclass(slots=True)
class NetRow:
    """The net change of one row.

    Attributes:
        before: its image before the first change; None where it did not exist.
        after: its image after the last change; None where it no longer exists.
        late: every change was committed after the response.
    """

    before: Row | Unknown | None
    after: Row | None
    late: bool = False


def fold(rows: dict[RowKey, NetRow], change: RowChange, columns: Sequence[str], *, late: bool = False) -> None:
    """Fold the next change, in commit order, into the net changes so far.

    Args:
        rows: the net changes so far; changed in place.
        change: of a row; not a truncate, which names no row.
        columns: primary-key columns of the table.
        late: whether it was committed after the response.
    """
    before, after = change.before, change.after
    old = (change.table, tuple([before.get(c) for c in columns])) if before else None
    new = (change.table, tuple([after.get(c) for c in columns])) if after else None
    if old is not None and new is not None and old != new:
        _put(rows, old, before, None, late=late)
        _put(rows, new, None, after, late=late)
        return
    key = new or old
    if key is None:
        return
    image = before if before is not None or change.op is Op.INSERT else UNKNOWN
    _put(rows, key, image, after, late=late)


def _put(
    rows: dict[RowKey, NetRow], key: RowKey, before: Row | Unknown | None, after: Row | None, *, late: bool
) -> None:
    known = rows.get(key)
    if known is None:
        rows[key] = NetRow(before, _filled(after, before), late)
        return
    if after is None and known.before is None and _is_other_row(before, known.after):
        known.before = before
        return
    known.after = _filled(after, known.after)
    known.late = known.late and late


def _is_other_row(gone: Row | Unknown | None, newcomer: Row | None) -> bool:
    """Return whether the row that went is not the one that came: while a deferrable key is not checked, two rows may have it.

    UPDATE t SET id = 3 - id      {id 1, v a} -> {id 2, v a}, then {id 2, v b} -> {id 1, v b}: the row that leaves key 2 is not that
    with v a, which came there before. So key 2 goes from v b to v a.
    """
    if not isinstance(gone, Mapping) or newcomer is None:
        return False
    return any(newcomer[column] != value for column, value in gone.items() if column in newcomer)


def _filled(after: Row | None, earlier: Row | Unknown | None) -> Row | None:
    """Add to an image after an update the unchanged out-of-line (TOAST) values that the log left out, from the image before."""
    if after is None or not isinstance(earlier, Mapping) or after.keys() >= earlier.keys():
        return after
    return {**earlier, **after}
