"""Plan of an alignment: its rows, grouped into the parts of one statement. Pure.

In place, which nearly always works: rows that went are deleted, changed columns of a row are set, rows that came are inserted. A parent row
that mirrored requests check at the same time stays where it is. Whole, where that violates a unique constraint or finds a row missing:

    UNIQUE (place): row 1 goes from a to b, row 2 from b to a      in place: row 1 would hold b beside row 2 for a moment: refused
                                                                    whole: both are deleted, then both are inserted

Rows that others reference with a consequence (ON DELETE CASCADE, ..) are not replaced unless the session is in the replica role: they are
updated where they exist, and inserted where they do not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from comparator.capture.table_shape import Catalog, TableShape
from comparator.exchanges.row_changes import Row
from proxy.runner.row_sql import Part, PartKind
from proxy.runner.row_targets import RowTarget


@dataclass(frozen=True, slots=True)
class WritableTable:
    """A table of the shadow, as far as writing its rows goes.

    Attributes:
        shape: the table.
        columns: columns that are written: all but the generated ones.
        fixed: columns that an UPDATE cannot set: GENERATED ALWAYS AS IDENTITY, and the primary key.
        replaceable: a row may be deleted and inserted again without consequences for other rows.
    """

    shape: TableShape
    columns: tuple[str, ...]
    fixed: frozenset[str]
    replaceable: bool

    @classmethod
    def of(cls, shape: TableShape, *, replaceable: bool) -> "WritableTable":
        """Return the writable part of a table's shape."""
        always = (column.name for column in shape.columns if column.identity == "always")
        return cls(shape, shape.writable, frozenset((*always, *shape.primary_key)), replaceable)


Tables = Mapping[str, WritableTable]


def writable_tables(catalog: Catalog, *, fragile: Iterable[str] = ()) -> Tables:
    """Return the tables of a catalogue; rows of the `fragile` ones are never replaced."""
    kept = frozenset(fragile)
    return {name: WritableTable.of(shape, replaceable=name not in kept) for name, shape in catalog.tables.items()}


PartKey = tuple[PartKind, str, tuple[str, ...], tuple[str, ...]]
"""Kind, name of the table, columns of the parameters, and `Part.changed`: enough to tell two parts apart, and quickly hashed."""


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A part of the statement, and its rows. `DELETE_EQUAL` has each row once, with its number of copies."""

    key: PartKey
    rows: Sequence[RowTarget]
    copies: tuple[int, ...] = ()

    @property
    def kind(self) -> PartKind:
        """The way in which the rows are written."""
        return self.key[0]

    @property
    def table(self) -> str:
        """Name of the table."""
        return self.key[1]

    @property
    def count(self) -> int:
        """Number of rows that it is to write."""
        return sum(self.copies) if self.copies else len(self.rows)

    def part(self, tables: Tables) -> Part:
        """Return the part for `row_sql.statement`."""
        kind, table, columns, changed = self.key
        return Part(kind, tables[table].shape, columns, changed)

    def parameters(self) -> list[list[str | None] | list[int]]:
        """Return the arrays of the part."""
        kind, _, columns, _ = self.key
        if kind is PartKind.DELETE:
            return [[row.identity[i] for row in self.rows] for i in range(len(columns))]
        images = [row.target or row.current or {} for row in self.rows]
        arrays: list[list[str | None] | list[int]] = [[image.get(column) for image in images] for column in columns]
        return [*arrays, list(self.copies)] if self.copies else arrays


def in_place(rows: Sequence[RowTarget], tables: Tables) -> list[PlannedPart]:
    """Return the parts that delete, update and insert rows where they are."""
    deletes: list[tuple[PartKey, RowTarget]] = []
    updates: list[tuple[PartKey, RowTarget]] = []
    inserts: list[tuple[PartKey, RowTarget]] = []
    for row in rows:
        table = tables[row.table]
        if row.target is None or not table.shape.primary_key:
            _add_whole_row(row, table, deletes, inserts)
            continue
        columns = _present(table, row.target)
        if row.current is None:
            inserts.append(((PartKind.INSERT, row.table, columns, ()), row))
            continue
        changed = _changed(row.current, row.target, columns)
        if not table.fixed.isdisjoint(changed):
            deletes.append((_delete(table), row))
            inserts.append(((PartKind.INSERT, row.table, columns, ()), row))
        elif changed:
            updates.append(((PartKind.UPDATE, row.table, columns, changed), row))
    return [*_grouped(deletes), *_grouped(updates), *_grouped(inserts)]


def whole(rows: Sequence[RowTarget], tables: Tables, *, replace: bool) -> list[PlannedPart]:
    """Return the parts that leave each row as it is wanted, whether the shadow holds it or not.

    Args:
        rows: rows to write.
        tables: of the shadow.
        replace: delete rows and insert them again, where that has no consequences; else update them where they exist.
    """
    deletes: list[tuple[PartKey, RowTarget]] = []
    updates: list[tuple[PartKey, RowTarget]] = []
    inserts: list[tuple[PartKey, RowTarget]] = []
    kept: list[PlannedPart] = []
    upserts: list[tuple[PartKey, RowTarget]] = []
    for row in rows:
        table = tables[row.table]
        if row.target is None or not table.shape.primary_key:
            _add_whole_row(row, table, deletes, inserts)
            continue
        columns = _present(table, row.target)
        settable = tuple(c for c in columns if c not in table.fixed)
        if columns != table.columns:
            # Of a row that lacks a value (unchanged, out of line) the others are set; if it is not there, a resync has to bring it.
            if settable:
                updates.append(((PartKind.UPDATE, row.table, columns, settable), row))
        elif (replace and table.replaceable) or not settable:
            deletes.append((_delete(table), row))
            inserts.append(((PartKind.INSERT, row.table, columns, ()), row))
        else:
            upserts.append(((PartKind.UPDATE, row.table, columns, settable), row))
    for upsert in _grouped(upserts):
        _, name, columns, _ = upsert.key
        kept += [upsert, PlannedPart((PartKind.INSERT_MISSING, name, columns, ()), upsert.rows)]
    return [*_grouped(deletes), *_grouped(updates), *kept, *_grouped(inserts)]


def _delete(table: WritableTable) -> PartKey:
    return PartKind.DELETE, table.shape.name, table.shape.primary_key, ()


def _add_whole_row(
    row: RowTarget,
    table: WritableTable,
    deletes: list[tuple[PartKey, RowTarget]],
    inserts: list[tuple[PartKey, RowTarget]],
) -> None:
    """Add a row that goes, or one of a table without a primary key."""
    if row.target is not None:
        inserts.append(((PartKind.INSERT, row.table, _present(table, row.target), ()), row))
    elif table.shape.primary_key:
        deletes.append((_delete(table), row))
    elif row.current is not None:
        columns = _present(table, row.current)
        absent = tuple(c for c in columns if row.current[c] is None)
        deletes.append(((PartKind.DELETE_EQUAL, row.table, columns, absent), row))


def _present(table: WritableTable, image: Row) -> tuple[str, ...]:
    columns = table.columns
    return columns if all(c in image for c in columns) else tuple(c for c in columns if c in image)


def _changed(current: Row, target: Row, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple([c for c in columns if c not in current or current[c] != target[c]])


def _grouped(entries: Sequence[tuple[PartKey, RowTarget]]) -> list[PlannedPart]:
    groups: dict[PartKey, list[RowTarget]] = {}
    for key, row in entries:
        groups.setdefault(key, []).append(row)
    return [_planned(key, rows) for key, rows in groups.items()]


def _planned(key: PartKey, rows: list[RowTarget]) -> PlannedPart:
    if key[0] is not PartKind.DELETE_EQUAL:
        return PlannedPart(key, rows)
    counts: dict[tuple[str | None, ...], int] = {}
    first: dict[tuple[str | None, ...], RowTarget] = {}
    for row in rows:
        values = tuple((row.current or {}).get(c) for c in key[2])
        counts[values] = counts.get(values, 0) + 1
        first.setdefault(values, row)
    return PlannedPart(key, list(first.values()), tuple(counts.values()))


def chunked(parts: Iterable[PlannedPart], rows_max: int) -> Iterator[tuple[PlannedPart, ...]]:
    """Split a plan that is too large for one statement; yield the parts of each, none of which has more rows.

    Rows that are inserted where an UPDATE did not find them stay with that UPDATE.
    """
    together: list[list[PlannedPart]] = []
    for part in parts:
        if part.kind is PartKind.INSERT_MISSING:
            together[-1].append(part)
        else:
            together.append([part])
    for group in together:
        for start in range(0, len(group[0].rows), rows_max):
            end = start + rows_max
            yield tuple(PlannedPart(part.key, part.rows[start:end], part.copies[start:end]) for part in group)
