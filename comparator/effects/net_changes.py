"""Reduce the transactions of one side to one net change per row, and resolve the natural keys of rows. Pure.

A net change is the first image before and the last image after of a row (`row_fold`); rows that end as they began are dropped. Example with
primary key `id`, natural key `account`, which refers to table `account` with natural key `address`:

    transaction 1: UPDATE score {id 7, account 4, points 1} -> {id 7, account 4, points 2}
    transaction 2: UPDATE score {id 7, account 4, points 2} -> {id 7, account 4, points 5}
    net change:    score, before {.. points 1}, after {.. points 5}; natural key ((0xA,),) if account 4 has address 0xA
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from comparator.effects.row_fold import NetRow, RowKey, Unknown, fold
from comparator.exchanges.difference import NaturalKey
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.exchanges.table_schema import NO_SCHEMA, Schemas
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
    transactions: Iterable[Transaction], schemas: Schemas, *, responded_lsn: int | None = None
) -> list[NetChange]:
    """Return the net change of every changed row, in the order of first changes, without rows that end as they began.

    Args:
        transactions: transactions of one side in commit order. Truncates are ignored (`truncated_tables`).
        schemas: schema by table name. The rows of a table without a primary key are told apart by their whole images, and counted: a
            row inserted twice is two net changes.
        responded_lsn: log position at the time of the response; transactions committed behind it are late.
    """
    rows: dict[RowKey, NetRow] = {}
    whole_rows: dict[RowKey, _WholeRows] = {}
    for transaction in transactions:
        late = responded_lsn is not None and transaction.commit_lsn > responded_lsn
        for change in transaction.changes:
            if change.op is Op.TRUNCATE:
                continue
            primary_key = schemas.get(change.table, NO_SCHEMA).primary_key
            if primary_key:
                fold(rows, change, primary_key, late=late)
            else:
                _count(whole_rows, change, late=late)
    return [
        *(
            NetChange(table, row.before, row.after, row.late)
            for (table, _), row in rows.items()
            if row.before != row.after
        ),
        *_whole_rows(whole_rows.values()),
    ]


@dataclass(slots=True)
class _WholeRows:
    """Equal rows of a table without a key: how many more came than went."""

    table: str
    image: Row
    surplus: int = 0
    late: bool = True


def _count(rows: dict[RowKey, _WholeRows], change: RowChange, *, late: bool) -> None:
    """Count a change of a table without a key. Nothing tells two equal rows apart, so an update is a row that went and one that came.

    INSERT {v 1}, INSERT {v 1}, UPDATE {v 1} -> {v 2}    leaves    one {v 1} and one {v 2} more
    """
    for image, surplus in ((change.before, -1), (change.after, 1)):
        if image is not None:
            key = change.table, tuple(value for item in sorted(image.items()) for value in item)
            row = rows.setdefault(key, _WholeRows(change.table, image))
            row.surplus += surplus
            row.late = row.late and late


def _whole_rows(rows: Iterable[_WholeRows]) -> Iterator[NetChange]:
    for row in rows:
        for _ in range(abs(row.surplus)):
            came = row.surplus > 0
            yield NetChange(row.table, None if came else row.image, row.image if came else None, row.late)


def truncated_tables(transactions: Iterable[Transaction]) -> frozenset[str]:
    """Return the tables that were emptied by TRUNCATE."""
    return frozenset(c.table for t in transactions for c in t.changes if c.op is Op.TRUNCATE)


class NaturalKeys:
    """Resolve natural keys of one side's rows: ids by the rows of the side's own changes, then by `lookup`."""

    __slots__ = ("_known", "_lookup", "_rows", "_schemas", "_tables")

    def __init__(
        self, nets: Iterable[NetChange], tables: Mapping[str, Table], schemas: Schemas, lookup: KeyLookup
    ) -> None:
        self._tables = tables
        self._schemas = schemas
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
        primary_key = self._schemas.get(net.table, NO_SCHEMA).primary_key
        row = net.after if net.after is not None else net.before
        if net.table not in self._tables or len(primary_key) != 1 or not isinstance(row, Mapping):
            return
        key = row.get(primary_key[0])
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
