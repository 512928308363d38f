"""Resolve natural keys: what identifies a row by meaning, the same in both databases whatever ids they made. Pure.

Example: table `score` with natural key `account`, which references table `account` with natural key `address`. The sides inserted the account
under ids of their own:

    served      account {id 4, address 0xA}    score {id 7, account 4, points 2}    natural key ((0xA,),)
    mirrored    account {id 9, address 0xA}    score {id 8, account 9, points 2}    natural key ((0xA,),)

A row that existed before has the same id in both databases. It stands for the natural key that it had then, on both sides: else a row whose
natural key one side changed would make every row that references it differ too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from comparator.effects.net_changes import NetChange
from comparator.exchanges.difference import NaturalKey
from comparator.exchanges.row_changes import Row
from comparator.exchanges.table_schema import NO_SCHEMA, Schemas, SurrogateReference

KeyLookup = Callable[[str, str], NaturalKey | None]
"""Look up a row that the transactions do not contain: (table, text of its primary key) -> natural key, None if it is unknown."""

Values = tuple[str, ...]


def no_lookup(_table: str, _key: str) -> NaturalKey | None:
    """Return None for every row. In aligned databases an unknown id is the same row on both sides, so it can stand for itself."""
    return None


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """The way in which rows of a table are identified by meaning.

    Attributes:
        columns: the natural key; of a table without one, all columns that say something about the row.
        references: references to other rows, by column.
        id_tables: tables whose ids JSON documents of this table contain.
    """

    columns: tuple[str, ...]
    references: Mapping[str, SurrogateReference] = field(default_factory=dict[str, SurrogateReference])
    id_tables: tuple[str, ...] = ()


class NaturalKeys:
    """Resolve natural keys of one side's rows: references by the rows of the side's own changes, by those of the other side, then by `lookup`.

    Args:
        own: net changes of this side.
        other: net changes of the other side, of which only rows that existed before count.
        identities: identity of rows by table.
        schemas: schema by table.
        lookup: finds rows that no change contains.
    """

    __slots__ = ("_identities", "_known", "_lookup", "_rows", "_schemas")

    def __init__(
        self,
        own: Iterable[NetChange],
        other: Iterable[NetChange],
        identities: Mapping[str, RowIdentity],
        schemas: Schemas,
        lookup: KeyLookup,
    ) -> None:
        self._identities = identities
        self._schemas = schemas
        self._lookup = lookup
        self._known: dict[tuple[str, tuple[str, ...], Values], NaturalKey] = {}
        self._rows: dict[tuple[str, tuple[str, ...], Values], Row] = {}
        referenced: dict[str, set[tuple[str, ...]]] = {}
        for identity in identities.values():
            for reference in identity.references.values():
                referenced.setdefault(reference.table, set()).add(self._referenced_columns(reference))
            for table in identity.id_tables:
                referenced.setdefault(table, set()).add(self._primary_key(table))
        for net in other:
            if net.table in referenced and isinstance(net.before, Mapping):
                self._index(net.table, net.before, referenced[net.table])
        for net in own:
            if net.table in referenced:
                row = net.before if isinstance(net.before, Mapping) else net.after
                if row is not None:
                    self._index(net.table, row, referenced[net.table])

    def _referenced_columns(self, reference: SurrogateReference) -> tuple[str, ...]:
        return reference.referenced or self._primary_key(reference.table)

    def _primary_key(self, table: str) -> tuple[str, ...]:
        return self._schemas.get(table, NO_SCHEMA).primary_key

    def _index(self, table: str, row: Row, keys: Iterable[tuple[str, ...]]) -> None:
        for columns in keys:
            values = _values(row, columns)
            if values:
                self._rows[table, columns, values] = row

    def of(self, table: str, row: Row) -> NaturalKey:
        """Return the natural key of a row."""
        identity = self._identities[table]
        if not identity.references:
            return tuple([row.get(column) for column in identity.columns])
        references = identity.references
        return tuple(
            [
                self.referenced(references[column], row) if column in references else row.get(column)
                for column in identity.columns
            ]
        )

    def of_id(self, table: str, key: str) -> object:
        """Return the natural key of the row with this primary key, of one column; the key itself if the row is unknown."""
        return self._resolved(table, self._primary_key(table), (key,), key)

    def referenced(self, reference: SurrogateReference, row: Row) -> object:
        """Return the natural key of a referenced row; the column's own value (text) if the row is unknown; None for NULL."""
        own = row.get(reference.column)
        if own is None:
            return None
        values = _values(row, reference.columns)
        columns = self._referenced_columns(reference)
        if values is None or len(columns) != len(values):
            return own
        return self._resolved(reference.table, columns, values, own)

    def _resolved(self, table: str, columns: tuple[str, ...], values: Values, own: str) -> object:
        place = table, columns, values
        known = self._known.get(place)
        if known is not None:
            return known
        row = self._rows.get(place)
        if row is not None and table in self._identities:
            # Set before descending, so that a row that references itself, directly or in a circle, is represented by its id.
            self._known[place] = (own,)
            natural_key = self.of(table, row)
        else:
            looked_up = self._lookup(table, own) if len(values) == 1 and columns == self._primary_key(table) else None
            if looked_up is None:
                return own
            natural_key = looked_up
        self._known[place] = natural_key
        return natural_key


def _values(row: Row, columns: Iterable[str]) -> Values | None:
    values = [row.get(column) for column in columns]
    return tuple(value for value in values if value is not None) if None not in values else None
