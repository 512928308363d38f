"""Hold `compare.tables` against the catalogue: every table and column that it names must be there, and be what it is said to be. Pure.

A description that contradicts the database does not fail by itself: a misspelled column of a natural key is NULL in every row, so that
all rows of a table fall together. So the runner refuses it before the first comparison, and names the place.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from comparator.effects.value_equality import counts_time, is_json, is_text, is_time
from comparator.exchanges.table_schema import Schemas, TableSchema
from comparator.rules.actions import EpochUnit
from comparator.tables import AttributionKey, Table, Volatile

NEAREST_MIN: Final = 0.6
"""Similarity from which a name is suggested (difflib's ratio)."""


def contradictions(tables: Mapping[str, Table], schemas: Schemas) -> list[str]:
    """Return what the descriptions say that the catalogue does not, one sentence each with the place in config.yaml.

    Args:
        tables: the section `compare.tables`.
        schemas: schemas of the captured tables. A described table that is not captured would be compared as if nothing was written.
    """
    return [problem for name, table in tables.items() for problem in _of_table(name, table, schemas)]


def _of_table(name: str, table: Table, schemas: Schemas) -> Iterator[str]:
    place = f"compare.tables.{name}"
    schema = schemas.get(name)
    if schema is None:
        yield (
            f"{place}: table {name} is not captured{_nearest(name, schemas)}; run `shadow capture check --apply` on both databases, "
            "or remove the description"
        )
        return
    for where, column in _columns(table):
        if column not in schema.types:
            yield f"{place}.{where}: table {name} has no column {column}{_nearest(column, schema.types)}"
    yield from _parents(place, table)
    yield from _types(place, table, schema)
    yield from _references(place, table, schemas)


def _columns(table: Table) -> Iterator[tuple[str, str]]:
    """Yield each place at which a description names a column, and the column."""
    yield from (("natural_key", column) for column in table.natural_key)
    yield from ((f"references.{column}", column) for column in table.references)
    yield from (("ignore_columns", column) for column in table.ignore_columns)
    yield from ((f"volatile.{column}", column) for column in table.volatile)
    yield from ((f"json.{column}", column) for column in table.json)
    for index, key in enumerate(table.keys):
        yield from ((f"keys[{index}]", column) for column in _key_columns(key))


def _parents(place: str, table: Table) -> Iterator[str]:
    for index, key in enumerate(table.keys):
        if key.through and key.through not in table.references:
            yield f"{place}.keys[{index}].through: {key.through} is not in {place}.references, so no parent row is known"


def _key_columns(key: AttributionKey) -> Iterable[str]:
    return filter(None, (key.column, key.through))


def _types(place: str, table: Table, schema: TableSchema) -> Iterator[str]:
    for column, volatile in table.volatile.items():
        kind = schema.types.get(column, "text")
        problem = _tolerance(volatile, kind)
        if problem:
            yield f"{place}.volatile.{column}: {problem}"
    for column in table.json:
        kind = schema.types.get(column, "text")
        if not (is_json(kind) or is_text(kind)):
            yield f"{place}.json.{column}: the column is {kind}, which holds no JSON"


def _tolerance(volatile: Volatile, kind: str) -> str:
    """Return why a tolerance cannot apply to a column of this type, "" when it can."""
    if volatile.generated and not is_text(kind):
        return f"generated is a pattern of texts, and the column is {kind}; use `ignore: true`"
    if volatile.within_ms is None or is_text(kind):
        return ""
    if is_time(kind):
        return f"epoch is for numbers, and the column is {kind}; remove it" if volatile.epoch else ""
    if not counts_time(kind, EpochUnit.SECONDS):
        return f"within_ms compares times, and the column is {kind}; use `ignore: true`"
    if not volatile.epoch:
        return (
            f"the column is {kind}: say whether it counts seconds (`epoch: s`) or milliseconds (`epoch: ms`) since 1970"
        )
    if not counts_time(kind, EpochUnit(volatile.epoch)):
        return f"the column is {kind}, which cannot hold a time in milliseconds"
    return ""


def _references(place: str, table: Table, schemas: Schemas) -> Iterator[str]:
    named = [(f"references.{column}", referenced) for column, referenced in table.references.items()]
    for column, json in table.json.items():
        named += [(f"json.{column}.references.{path}", referenced) for path, referenced in json.references.items()]
    for where, referenced in named:
        schema = schemas.get(referenced)
        if schema is not None and len(schema.primary_key) != 1:
            columns = ", ".join(schema.primary_key) or "no column"
            yield f"{place}.{where}: rows of {referenced} cannot be found by one id: its primary key is {columns}"


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=NEAREST_MIN)
    return f" (did you mean {matches[0]}?)" if matches else ""
