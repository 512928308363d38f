"""Reduces the transactions of one side to what they changed in the end, row by row, by natural key.

Pure. Four steps: net by primary key (first image before, last image after; rows that end as they began are dropped), map
foreign ids to natural keys, group by natural key, cancel a row that was deleted and inserted again with equal meaning.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.effects.row_fold import NetRow, RowKey, Unknown, fold
from comparator.exchanges.difference import NaturalKey
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.tables import Table

KeyLookup = Callable[[str, str], NaturalKey | None]
"""Natural key of the row of a table by its primary key's text, for rows the transactions do not carry; None if unknown."""


def no_lookup(_table: str, _key: str) -> NaturalKey | None:
    """Knows no row. With aligned databases an unknown id is the same row on both sides, and stands for itself."""
    return None


@dataclass(frozen=True, slots=True)
class NetChange:
    """What one row was and became; None where it did not exist. `late`: every change came after the response."""

    table: str
    before: Row | Unknown | None
    after: Row | None
    late: bool = False


def net_changes(
    transactions: Iterable[Transaction], tables: Mapping[str, Table], *, responded_lsn: int | None = None
) -> list[NetChange]:
    """First image before and last image after of every changed row, in order of first change; no-ops are dropped.

    Transactions that commit beyond `responded_lsn` are late. Truncates are left out (`truncated_tables`). Rows of tables
    that are not described are told apart by the column `id`, or by their whole image when they have none.
    """
    rows: dict[RowKey, NetRow] = {}
    for transaction in transactions:
        late = responded_lsn is not None and transaction.commit_lsn > responded_lsn
        for change in transaction.changes:
            if change.op is not Op.TRUNCATE:
                fold(rows, change, _primary_key_columns(change, tables), late=late)
    return [
        NetChange(table, row.before, row.after, row.late) for (table, _), row in rows.items() if row.before != row.after
    ]


def _primary_key_columns(change: RowChange, tables: Mapping[str, Table]) -> Sequence[str]:
    described = tables.get(change.table)
    if described is not None:
        return described.primary_key
    image = change.after or change.before or {}
    return ("id",) if "id" in image else tuple(image)


def truncated_tables(transactions: Iterable[Transaction]) -> frozenset[str]:
    """Tables that were emptied by TRUNCATE."""
    return frozenset(c.table for t in transactions for c in t.changes if c.op is Op.TRUNCATE)


class NaturalKeys:
    """Natural keys of one side's rows; ids are resolved through the rows of that side's own changes, then by `lookup`."""

    __slots__ = ("_known", "_lookup", "_rows", "_tables")

    def __init__(self, nets: Iterable[NetChange], tables: Mapping[str, Table], lookup: KeyLookup) -> None:
        self._tables = tables
        self._lookup = lookup
        self._known: dict[tuple[str, str], NaturalKey] = {}
        self._rows: dict[tuple[str, str], Row] = {}
        referenced = {table for described in tables.values() for table in described.references.values()}
        referenced |= {
            table
            for described in tables.values()
            for column in described.json.values()
            for table in column.references.values()
        }
        for net in nets:
            if net.table in referenced:
                self._index(net)

    def _index(self, net: NetChange) -> None:
        described = self._tables.get(net.table)
        row = net.after if net.after is not None else net.before
        if described is None or len(described.primary_key) != 1 or not isinstance(row, Mapping):
            return
        key = row.get(described.primary_key[0])
        if key is not None:
            self._rows[net.table, key] = row

    def of(self, table: Table, row: Row) -> NaturalKey:
        """The natural key of a row of a described table."""
        references = table.references
        if not references:
            return tuple([row.get(column) for column in table.natural_key])
        return tuple(
            [
                self.referenced(references[column], row.get(column)) if column in references else row.get(column)
                for column in table.natural_key
            ]
        )

    def referenced(self, table: str, key: str | None) -> object:
        """What an id means: the natural key of the row, or the id itself (as text) where no one knows the row."""
        if key is None:
            return None
        known = self._known.get((table, key))
        if known is not None:
            return known
        row, described = self._rows.get((table, key)), self._tables.get(table)
        if row is not None and described is not None:
            # Set before descending: a row that references itself, in whatever circle, stands for its id.
            self._known[table, key] = (key,)
            found = self.of(described, row)
        else:
            looked_up = self._lookup(table, key)
            if looked_up is None:
                return key
            found = looked_up
        self._known[table, key] = found
        return found
