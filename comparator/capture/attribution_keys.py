"""Find the attribution keys of a row in its columns, its JSON columns and its parent row. Pure.

The keys of parent rows are learned from the stream of changes. A parent row that the stream has not shown yet is returned as missing,
so that the caller can look it up in the database.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from comparator.exchanges.row_changes import Row, RowChange
from comparator.tables import ROUTE_KIND, AttributionKey, BackgroundRule, Table

Key = tuple[str, str]
"""Kind and value: `("address", "0x..")`, `("nullifier", "v0:..")`."""
Keys = frozenset[Key]
RowId = tuple[str, tuple[str | None, ...]]
"""Name of the table and text of the primary key; in a table without one, text of all values in the order of the columns' names."""
NO_KEYS: Keys = frozenset()


class RowReference(NamedTuple):
    """A parent row: its table and the text of its primary key, a single column."""

    table: str
    id: str


class KeyIndex:
    """Resolve the attribution keys of rows, and learn the keys of parent rows from the stream.

    Args:
        tables: description by table name.
        primary_keys: primary-key columns by table name, from the catalogue. A parent row is found by the one column of its key; of a
            parent with a key of several columns, or of none, nothing is learned.
        route_kind: kind of the routes' keys.
        learned_max: number of parent rows that are remembered; the least recently used are forgotten.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        primary_keys: Mapping[str, Sequence[str]],
        *,
        route_kind: str = ROUTE_KIND,
        learned_max: int = 100_000,
    ) -> None:
        self.route_kind = route_kind
        self._learned: OrderedDict[RowReference, Keys] = OrderedDict()
        self._natural: dict[RowReference, tuple[str | None, ...]] = {}
        self._learned_max = learned_max
        self.redescribe(tables, primary_keys)

    def redescribe(self, tables: Mapping[str, Table], primary_keys: Mapping[str, Sequence[str]]) -> None:
        """Replace the descriptions of tables and their primary keys; what was learned stays (see `forget_table`)."""
        self._tables = tables
        self._identities = {name: columns[0] for name, columns in primary_keys.items() if len(columns) == 1}
        self._parents = {
            table.references[key.through]
            for table in tables.values()
            for key in table.keys
            if key.through and key.through in table.references
        }
        self._patterns = {key.regex: re.compile(key.regex) for t in tables.values() for key in t.keys if key.regex}

    def forget_table(self, table: str) -> None:
        """Forget the parent rows of a table: its definition changed, and the same id may be another row."""
        for reference in [reference for reference in self._learned if reference.table == table]:
            del self._learned[reference]
            self._natural.pop(reference, None)

    def of_route(self, key: str) -> Keys:
        """Return the keys of a request from its route's ordering key, "" for none."""
        return frozenset({(self.route_kind, key.lower())} if key else ())

    def learn(self, reference: RowReference, keys: Keys) -> None:
        """Remember the keys of a parent row."""
        self._learned[reference] = keys
        self._learned.move_to_end(reference)
        while len(self._learned) > self._learned_max:
            self._natural.pop(self._learned.popitem(last=False)[0], None)

    def learn_row(self, table: str, row: Row) -> Keys:
        """Remember a parent row that was read from the database; return its keys."""
        found: set[Key] = set()
        self._add_keys(table, row, found, {}, set())
        keys = frozenset(found)
        described = self._tables[table]
        identity = row.get(self._identities.get(table, ""))
        if identity is not None:
            reference = RowReference(table, identity)
            self.learn(reference, keys)
            if not described.references and all(column in row for column in described.natural_key):
                self._natural[reference] = tuple(row[column] for column in described.natural_key)
        return keys

    def natural_key(self, table: str, identity: str) -> tuple[str | None, ...] | None:
        """Return the natural key of a learned parent row; None when the row is unknown or its natural key contains a reference."""
        return self._natural.get(RowReference(table, identity))

    def columns_for(self, table: str) -> tuple[str, ...]:
        """Return the columns to read of a parent row, whose primary key is one column: that, key columns, natural key."""
        described = self._tables[table]
        columns = (k.column for k in described.keys if k.column)
        return tuple(dict.fromkeys([self._identities[table], *columns, *described.natural_key]))

    def keys_of(self, changes: Iterable[RowChange]) -> tuple[Keys, tuple[RowReference, ...]]:
        """Return the keys in the images before and after of these changes, and the parent rows that are not known yet."""
        keys: set[Key] = set()
        missing: dict[RowReference, None] = {}
        # Most rows of a request have one parent: its keys are looked up once.
        resolved: set[tuple[RowReference, str]] = set()
        for change in changes:
            table = change.table
            if table not in self._tables:
                continue
            for row in (change.before, change.after):
                if row is not None:
                    self._add_keys(table, row, keys, missing, resolved)
                    if table in self._parents:
                        self.learn_row(table, row)
                        resolved.clear()
        return frozenset(keys), tuple(missing)

    def _add_keys(
        self,
        table: str,
        row: Row,
        keys: set[Key],
        missing: dict[RowReference, None],
        resolved: set[tuple[RowReference, str]],
    ) -> None:
        """Add the keys of a row, and the parent rows that are not known; those in `resolved` have been dealt with."""
        described = self._tables[table]
        for key in described.keys:
            if not key.through:
                keys.update([(key.kind, value) for value in self._values(key, row)])
                continue
            identity, parent = row.get(key.through), described.references.get(key.through)
            if identity is None or parent is None:
                continue
            reference = RowReference(parent, identity)
            if (reference, key.kind) in resolved:
                continue
            known = self._learned.get(reference)
            if known is None:
                missing[reference] = None
                continue
            self._learned.move_to_end(reference)
            keys.update([k for k in known if k[0] == key.kind])
            resolved.add((reference, key.kind))

    def _values(self, key: AttributionKey, row: Row) -> Iterable[str]:
        text = row.get(key.column)
        if text is None:
            return
        for value in _at_path(text, key.path) if key.path else (text,):
            matched = value
            if key.regex:
                found = self._patterns[key.regex].search(value)
                if found is None:
                    continue
                matched = found.group(1)
            yield matched.lower() if key.kind == self.route_kind else matched


def _at_path(text: str, path: str) -> list[str]:
    """Return the strings at a dotted path of a JSON text; `*` stands for every element or member."""
    steps = path.split(".")
    if not all(step == "*" or f'"{step}"' in text for step in steps):
        return []
    try:
        nodes: list[object] = [json.loads(text)]
    except ValueError:
        return []
    for step in steps:
        nodes = [child for node in nodes for child in _children(node, step)]
    return [node for node in nodes if isinstance(node, str)]


def _children(node: object, step: str) -> list[object]:
    if isinstance(node, list):
        return list(cast("list[object]", node)) if step == "*" else []
    if isinstance(node, dict):
        members = cast("dict[str, object]", node)
        return list(members.values()) if step == "*" else [members[step]] if step in members else []
    return []


def row_ids(change: RowChange, primary_key: Sequence[str]) -> tuple[RowId, ...]:
    """Return the identities of the changed row, before and after: usually the same one; `()` instead of a key for a truncate.

    Args:
        change: of the row.
        primary_key: columns of the table's primary key; empty for none: then all of its values identify the row.
    """
    images = [image for image in (change.before, change.after) if image is not None]
    if not images:
        return ((change.table, ()),)
    if not primary_key:
        return tuple([(change.table, tuple([image[c] for c in sorted(image)])) for image in images])
    # The image before comes first: of a log without old images it may be a part of the row.
    known = [image for image in images if all(c in image for c in primary_key)] or images
    return tuple(dict.fromkeys([(change.table, tuple([image.get(c) for c in primary_key])) for image in known]))


def is_background(change: RowChange, rules: Iterable[BackgroundRule], application: str) -> bool:
    """Return whether a change matches one of the rules in `compare.background`."""
    return any(_matches(rule, change, application) for rule in rules if rule.table == change.table)


def _matches(rule: BackgroundRule, change: RowChange, application: str) -> bool:
    if rule.ops and change.op.value not in rule.ops:
        return False
    if rule.application and rule.application != application:
        return False
    if not rule.columns:
        return True
    if change.before is None or change.after is None:
        return False
    changed = {c for c, value in change.after.items() if change.before.get(c) != value}
    return changed <= set(rule.columns)
