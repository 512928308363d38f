"""What each touched row of the shadow must become after a mirrored request, so that it equals live again.

Pure. For every row touched on either side: `target = live's post-image if live touched it, else the shadow's own pre-image`;
what the row holds now is the shadow's post-image, else live's pre-image (the shadow was aligned before).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.exchanges.row_changes import Op, Row, RowChange

PrimaryKeys = Mapping[str, Sequence[str]]
Identity = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class RowImages:
    """First old and last new image of one row over some transactions."""

    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True)
class RowTarget:
    """One row of the shadow: what it should hold now and what it must hold next; None is no row."""

    table: str
    identity: Identity
    current: Row | None
    target: Row | None


def net(changes: Iterable[RowChange], primary_keys: PrimaryKeys) -> dict[tuple[str, Identity], RowImages]:
    """Fold changes, in commit order, into one before and after image a row. Truncates are left out."""
    folded: dict[tuple[str, Identity], RowImages] = {}
    for change in changes:
        if change.op is Op.TRUNCATE or change.table not in primary_keys:
            continue
        columns = primary_keys[change.table]
        old, new = _identity(change.before, columns), _identity(change.after, columns)
        if change.before is not None and change.after is not None and old != new:
            _fold(folded, (change.table, old), change.before, None)
            _fold(folded, (change.table, new), None, change.after)
        elif change.after is not None:
            _fold(folded, (change.table, new), change.before, change.after)
        else:
            _fold(folded, (change.table, old), change.before, None)
    return folded


def _fold(
    folded: dict[tuple[str, Identity], RowImages], row: tuple[str, Identity], before: Row | None, after: Row | None
) -> None:
    earlier = folded.get(row)
    if earlier is None:
        folded[row] = RowImages(before, after)
        return
    merged = after if after is None or earlier.after is None else {**earlier.after, **after}
    folded[row] = RowImages(earlier.before, merged)


def _identity(row: Row | None, columns: Sequence[str]) -> Identity:
    return tuple(row.get(column) for column in columns) if row is not None else ()


def targets(live: Iterable[RowChange], shadow: Iterable[RowChange], primary_keys: PrimaryKeys) -> list[RowTarget]:
    """The rows of the shadow that have to change; rows that already hold what they must are left out."""
    live_net, shadow_net = net(live, primary_keys), net(shadow, primary_keys)
    wanted: list[RowTarget] = []
    for row in dict.fromkeys([*live_net, *shadow_net]):
        of_live, of_shadow = live_net.get(row), shadow_net.get(row)
        current = of_shadow.after if of_shadow is not None else of_live.before if of_live is not None else None
        target = of_live.after if of_live is not None else of_shadow.before if of_shadow is not None else None
        if of_live is not None and target is not None and current is not None:
            target = {**current, **target}
        if current != target:
            wanted.append(RowTarget(row[0], row[1], current, target))
    return wanted
