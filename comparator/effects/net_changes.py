"""Reduce the transactions of one side to one net change per row, and resolve the natural keys of rows. Pure.

A net change is the first image before and the last image after of a row (`row_fold`); rows that end as they began are dropped. Example with
primary key `id`, natural key `account`, which refers to table `account` with natural key `address`:

    transaction 1: UPDATE score {id 7, account 4, points 1} -> {id 7, account 4, points 2}
    transaction 2: UPDATE score {id 7, account 4, points 2} -> {id 7, account 4, points 5}
    net change:    score, before {.. points 1}, after {.. points 5}; natural key ((0xA,),) if account 4 has address 0xA
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.effects.row_fold import NetRow, RowKey, Unknown, fold
from comparator.exchanges.difference import NaturalKey
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.tables import Table

KeyLookup = Callable[[str, str], NaturalKey | None]
"""Look up a row that the transactions do not contain: (table, text of its primary key) -> natural key, None if it is unknown."""


def no_lookup(_table: str, _key: str) -> NaturalKey | None:
    """Return None for every row. In aligned databases an unknown id is the same row on both sides, so it can stand for itself."""
    return None


@dataclass(frozen=True, slots=True)
class NetChange:
    """The net change of one row.

    Attributes:
        table: name of the table.
        before: image before the first change; None if the row did not exist.
        after: image after the last change; None if the row does not exist any more.
        late: every change was committed after the response.
    """

    table: str
    before: Row | Unknown | None
    after: Row | None
    late: bool = False


def net_changes(
    transactions: Iterable[Transaction], tables: Mapping[str, Table], *, responded_lsn: int | None = None
) -> list[NetChange]:
    """Return the net change of every changed row, in the order of first changes, without rows that end as they began.

    Args:
        transactions: transactions of one side in commit order. Truncates are ignored (`truncated_tables`).
        tables: description by table name. Rows of other tables are identified by the column `id`, or else by their whole image.
        responded_lsn: log position at the time of the response; transactions committed behind it are late.
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
    """Return the tables that were emptied by TRUNCATE."""
    return frozenset(c.table for t in transactions for c in t.changes if c.op is Op.TRUNCATE)


class NaturalKeys:
    """Resolve natural keys of one side's rows: ids by the rows of the side's own changes, then by `lookup`."""

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
        """Return the natural key of a row of a described table."""
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
        """Resolve an id: return the natural key of its row, or the id itself (text) if the row is unknown; None for NULL."""
        if key is None:
            return None
        known = self._known.get((table, key))
        if known is not None:
            return known
        row, described = self._rows.get((table, key)), self._tables.get(table)
        if row is not None and described is not None:
            # Set before descending, so that a row that references itself, directly or in a circle, is represented by its id.
            self._known[table, key] = (key,)
            natural_key = self.of(described, row)
        else:
            looked_up = self._lookup(table, key)
            if looked_up is None:
                return key
            natural_key = looked_up
        self._known[table, key] = natural_key
        return natural_key
