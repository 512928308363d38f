"""Reduce the transactions of one side to one net change per row. Pure.

A net change is the first image before and the last image after of a row (`row_fold`); rows that end as they began are dropped. Example with
primary key `id`:

    transaction 1: UPDATE score {id 7, account 4, points 1} -> {id 7, account 4, points 2}
    transaction 2: UPDATE score {id 7, account 4, points 2} -> {id 7, account 4, points 5}
    net change:    score, before {.. points 1}, after {.. points 5}
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from comparator.effects.row_fold import NetRow, RowKey, Unknown, fold
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.exchanges.table_schema import NO_SCHEMA, Schemas


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
        transactions: transactions of one side in commit order. A TRUNCATE is a difference of its own (`truncated_tables`); what was written
            to the table before it is gone without a trace.
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
                _empty(rows, change.table)
                _empty(whole_rows, change.table)
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


def _empty(rows: dict[RowKey, Any], table: str) -> None:
    """Forget the rows of a table: its TRUNCATE removes those of the request and those from before alike.

    INSERT {id 1}, TRUNCATE, INSERT {id 2}    leaves    one row, {id 2}
    """
    for key in [key for key in rows if key[0] == table]:
        del rows[key]


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
