"""Propose the description of a table: what identifies a row, what it references, what may differ, and whose it is. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comparator.capture.table_shape import Column
from comparator.effects.value_equality import is_json, is_time, plain_type
from comparator.exchanges.secret_names import Certainty, certainty_of
from comparator.tables import AttributionKey, Volatile
from proxy.initial_config.key_proposal import KeyProposal, carriers, single_references
from proxy.initial_config.names import snake_case
from proxy.initial_config.table_facts import TableFacts

CLOCK_WITHIN_MS: Final = 60_000
DATE_WITHIN_MS: Final = 86_400_000
"""Two sides that write today's date around midnight write different ones."""
_CLOCK: Final = re.compile(
    r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\("
    r"|\b(CURRENT_TIMESTAMP|LOCALTIMESTAMP|CURRENT_DATE|CURRENT_TIME|LOCALTIME)\b|'now'",
    re.IGNORECASE,
)
_CHANCE: Final = re.compile(
    r"\b(random|gen_random_uuid|gen_random_bytes|uuid_generate_v\w+|uuidv[47]|nextval)\s*\(", re.IGNORECASE
)
_CLOCK_NAME: Final = re.compile(
    r"(^|_)(created|updated|modified|changed|inserted|touched|deleted|added|seen)(_|$)|_(at|on|ts|time|timestamp)$|^(timestamp|ts)$"
)
_PLANNED: Final = re.compile(
    r"(^|_)(starts?|ends?|due|valid|expires?|birth|scheduled|planned|valid_from|valid_to)(_|$)"
)
_MEASURE: Final = re.compile(
    r"(^|_)(status|state|count|total|points?|score|amount|balance|price|version|attempts|active|enabled|note|notes|description|comment|body|data)$"
)
_DISCRIMINATOR: Final = re.compile(r"(^|_)(action|kind|type|event|op|operation|category)$")
_LOG: Final = re.compile(r"(^|_)(log|logs|event|events|audit|history|journal|trail|outbox)(_|$)")
_PLAIN_KEY_TYPES: Final = (
    "text",
    "character varying",
    "character",
    "uuid",
    "integer",
    "bigint",
    "smallint",
    "date",
    "citext",
    "inet",
)


@dataclass(frozen=True, slots=True)
class TableProposal:
    """A proposed member of `compare.tables`, with why.

    Attributes:
        name: of the table.
        natural_key: columns; empty where none is proposed: the table then has no description.
        key_reason: why these columns.
        discriminator: columns of the natural key.
        references: table by column.
        volatile: tolerance and why, by column.
        keys: the ways in which a row carries the key of its request, each with why.
        remarks: what a reader should know.
        undecided: what only a person who knows the application can decide.
    """

    name: str
    natural_key: tuple[str, ...]
    key_reason: str
    discriminator: tuple[str, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict[str, str])
    volatile: Mapping[str, tuple[Volatile, str]] = field(default_factory=dict[str, tuple[Volatile, str]])
    keys: tuple[tuple[AttributionKey, str], ...] = ()
    remarks: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()


def propose_tables(
    tables: Sequence[TableFacts], key: KeyProposal, *, sent_names: frozenset[str] = frozenset()
) -> tuple[TableProposal, ...]:
    """Return a proposal for each table.

    Args:
        tables: of the live database.
        key: of the routes.
        sent_names: names, in snake case, of what clients send in bodies, by which a UUID is told from one that the application makes.
    """
    through = carriers(key.columns, tables)
    return tuple(_propose(table, tables, key, through, sent_names) for table in tables)


def _propose(
    table: TableFacts,
    tables: Sequence[TableFacts],
    key: KeyProposal,
    through: Mapping[str, str],
    sent_names: frozenset[str],
) -> TableProposal:
    volatile = dict(_volatile(table, sent_names))
    natural, reason, guessed = _natural_key(table, volatile, sent_names)
    references = dict(single_references(table, tables))
    undecided: list[str] = []
    if guessed:
        undecided.append(
            f"{table.name}: the natural key is a guess: name the columns by which a person would tell two rows apart"
        )
    if not natural:
        undecided.append(
            f"{table.name}: no natural key was found, so its rows are compared as a whole: name one if rows are updated"
        )
    remarks: list[str] = []
    grows = table.only_grows or (
        not (table.updates or table.deletes) and _LOG.search(snake_case(table.name)) is not None
    )
    if grows:
        why = f"{table.inserts} rows inserted, none updated or deleted" if table.only_grows else "by its name"
        remarks.append(f"append-only, {why}: rows that share a natural key are compared as a multiset")
    return TableProposal(
        name=table.name,
        natural_key=natural,
        key_reason=reason,
        discriminator=tuple(column for column in natural if grows and _DISCRIMINATOR.search(snake_case(column))),
        references=references,
        volatile=volatile,
        keys=_keys(table, key, through),
        remarks=tuple(remarks),
        undecided=tuple(undecided),
    )


def _natural_key(
    table: TableFacts, volatile: Mapping[str, object], sent_names: frozenset[str]
) -> tuple[tuple[str, ...], str, bool]:
    """Return the natural key, why, and whether it is a guess."""
    surrogate = table.surrogate
    made = {column.name for column in table.shape.columns if column.fills_itself or column.generated} | set(volatile)
    if surrogate is not None and snake_case(surrogate.name) not in sent_names:
        made.add(surrogate.name)
    if table.shape.primary_key and made.isdisjoint(table.shape.primary_key):
        return table.shape.primary_key, "the primary key: the application chooses it", False
    for columns in table.shape.unique:
        if made.isdisjoint(columns):
            return columns, "unique; the primary key is made by each database itself", False
    chosen = tuple(
        column.name for column in table.shape.columns if column.name not in made and _says_which(column, table)
    )
    if not chosen:
        return (), "", False
    return chosen, "A GUESS: no key of the table is chosen by the application", True


def _says_which(column: Column, table: TableFacts) -> bool:
    """Tell whether a column may be a part of what identifies a row: required, of a plain type, and no measure or state."""
    name = snake_case(column.name)
    if table.reference_of(column.name):
        return True
    plain = plain_type(column.value_type) in _PLAIN_KEY_TYPES
    return plain and column.not_null and column.name not in table.defaults and not _MEASURE.search(name)


def _volatile(table: TableFacts, sent_names: frozenset[str]) -> Iterator[tuple[str, tuple[Volatile, str]]]:
    for column in table.shape.columns:
        if column.generated or column.fills_itself:
            continue
        for source, text in (
            ("its default", table.defaults.get(column.name, "")),
            ("a trigger", table.assigned.get(column.name, "")),
        ):
            tolerance = _made_by(column, text)
            if tolerance is not None:
                yield column.name, (tolerance, f"{source} is {' '.join(text.split())}")
                break
        else:
            yield from _by_name(table, column, sent_names)


def _made_by(column: Column, expression: str) -> Volatile | None:
    if _CHANCE.search(expression):
        return Volatile(ignore=True)
    if not _CLOCK.search(expression):
        return None
    return _clock_tolerance(column) or Volatile(ignore=True)


def _clock_tolerance(column: Column) -> Volatile | None:
    if not is_time(column.value_type):
        return None
    return Volatile(within_ms=DATE_WITHIN_MS if plain_type(column.value_type) == "date" else CLOCK_WITHIN_MS)


def _by_name(
    table: TableFacts, column: Column, sent_names: frozenset[str]
) -> Iterator[tuple[str, tuple[Volatile, str]]]:
    """Yield the tolerance of a column that, by its name, the application fills in by itself."""
    name = snake_case(column.name)
    surrogate = table.surrogate
    if surrogate is not None and column.name == surrogate.name and name not in sent_names:
        yield (
            column.name,
            (Volatile(ignore=True), "a UUID without a default: the application makes it, unless clients send it"),
        )
    elif (
        is_time(column.value_type) and name not in sent_names and _CLOCK_NAME.search(name) and not _PLANNED.search(name)
    ):
        tolerance = _clock_tolerance(column)
        if tolerance is not None and plain_type(column.value_type) != "date":
            yield column.name, (tolerance, "by its name and type, the time of a side's own clock")
    elif (
        certainty_of(name) is Certainty.SURE
        and not is_json(column.value_type)
        and name not in sent_names
        and "hash" in name
    ):
        yield column.name, (Volatile(ignore=True), "a hash of a secret: with a salt, each side makes its own")


def _keys(table: TableFacts, key: KeyProposal, through: Mapping[str, str]) -> tuple[tuple[AttributionKey, str], ...]:
    own = tuple(
        (AttributionKey(kind=key.label, column=column), f"holds the {key.label} of the routes")
        for column in key.columns.get(table.name, ())
    )
    reference = through.get(table.name, "")
    if own or not reference:
        return own
    return ((AttributionKey(kind=key.label, through=reference), f"has the {key.label} of the row that it references"),)
