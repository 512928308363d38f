"""Recognise known differences: those that the operator expects and has declared with a reason. Pure.

In contrast to a rule, a declaration does not allow a difference: it stays a difference, with a verdict of its own (`known`). It explains
only what it is about: a difference at one of its places, in an exchange of which its conditions hold (`conditions`).
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from comparator.errors import RuleError
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_place import Step
from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.model import Side
from comparator.rules.conditions import (
    CompiledCondition,
    ExchangeEvidence,
    Names,
    column_values,
    compile_condition,
    compile_path,
    compile_regex,
    merged,
    names_in,
    placeholder,
    row_values,
    text_of,
)
from comparator.rules.json_paths import AnyDepth, AnyOne, Index, MemberEquals, Name, Pattern
from comparator.settings import CompareSettings, Condition, KnownDifference, KnownPlace
from comparator.tables import Table


@dataclass(frozen=True, slots=True)
class CompiledPlace:
    """A compiled place; `key` holds the columns of the table's natural key."""

    declared: KnownPlace
    path: Pattern
    row: tuple[tuple[Pattern, re.Pattern[str] | str], ...]
    candidate: re.Pattern[str] | None
    legacy: re.Pattern[str] | None
    key: tuple[str, ...]

    def has(self, difference: Difference, names: Names) -> bool:
        """Return whether a difference is at this place.

        Args:
            difference: seen with the legacy served: its `served` value is the legacy's.
            names: values that the conditions found.
        """
        if self.declared.kind not in {"", difference.kind}:
            return False
        return self._is_about(difference, names) and self._has_values(difference) and self._has_row(difference, names)

    def _is_about(self, difference: Difference, names: Names) -> bool:
        declared = self.declared
        if declared.status:
            return difference.kind is Kind.STATUS
        if declared.header:
            return difference.kind is Kind.HEADER and difference.path == (declared.header.lower(),)
        if declared.table != difference.table or declared.column not in {"", difference.column}:
            return False
        if not declared.path:
            return True
        return difference.kind not in {Kind.STATUS, Kind.HEADER} and _leads_to(self.path, difference.path, names)

    def _has_values(self, difference: Difference) -> bool:
        pairs = ((self.candidate, difference.mirrored), (self.legacy, difference.served))
        return all(
            expected is None or (value is not ABSENT and expected.fullmatch(text_of(value)) is not None)
            for expected, value in pairs
        )

    def _has_row(self, difference: Difference, names: Names) -> bool:
        if not self.row:
            return True
        row = column_values(self.key, difference.natural_key)
        if not difference.column:
            for side in (difference.served, difference.mirrored):
                row |= cast("Mapping[str, object]", side) if isinstance(side, Mapping) else {}
        return all(
            any(_is_expected(text_of(value), expected, names) for value in row_values(row, path))
            for path, expected in self.row
        )


def _is_expected(text: str, expected: re.Pattern[str] | str, names: Names) -> bool:
    if isinstance(expected, str):
        return text in names.get(expected, ())
    return expected.fullmatch(text) is not None


def _leads_to(pattern: Pattern, path: Sequence[Step], names: Names) -> bool:
    """Return whether a pattern matches a place. A pattern with a predicate does not: a place has no document to test it on."""
    if not pattern:
        return not path
    first, rest = pattern[0], pattern[1:]
    if isinstance(first, AnyDepth):
        return any(_leads_to(rest, path[at:], names) for at in range(len(path) + 1))
    return bool(path) and _takes(first, path[0], names) and _leads_to(rest, path[1:], names)


def _takes(segment: Name | Index | AnyOne | MemberEquals, step: Step, names: Names) -> bool:
    match segment:
        case AnyOne():
            return True
        case Name(name):
            named = placeholder(name)
            return type(step) is str and (step in names.get(named, ()) if named else step == name)
        case Index(number):
            return type(step) is int and step == number
        case MemberEquals():
            return False


@dataclass(frozen=True, slots=True)
class CompiledKnown:
    """A compiled declaration; `id` is its configuration path."""

    id: str
    declared: KnownDifference
    where: tuple[CompiledPlace, ...]
    when: tuple[CompiledCondition, ...]
    when_any: tuple[CompiledCondition, ...]

    @property
    def reason(self) -> str:
        """The explanation of the difference."""
        return self.declared.reason

    @property
    def ticket(self) -> str:
        """The issue in which the difference is discussed."""
        return self.declared.ticket

    def applies(self, today: dt.date) -> bool:
        """Return whether the declaration has not expired."""
        return self.declared.expires is None or today <= self.declared.expires

    def names(self, evidence: ExchangeEvidence) -> Names | None:
        """Evaluate the conditions.

        Returns:
            What they found in the exchange, by name; None if they do not hold of it.
        """
        every = [condition.names(evidence) for condition in self.when]
        some = [names for condition in self.when_any if (names := condition.names(evidence)) is not None]
        if None in every or (self.when_any and not some):
            return None
        return merged([*filter(None, every), *some])

    def explains(self, served_by: Side, difference: Difference, names: Names) -> bool:
        """Return whether a difference is at one of the places.

        Args:
            served_by: the side whose value is the difference's `served` one.
            difference: the difference.
            names: what the conditions found.
        """
        seen = difference if served_by is Side.LEGACY else difference.swapped()
        return any(place.has(seen, names) for place in self.where)


class KnownInExchange:
    """The declarations whose conditions hold of one exchange."""

    __slots__ = ("_holding", "_served_by")

    def __init__(self, known: Iterable[CompiledKnown], route: str, served_by: Side, evidence: ExchangeEvidence) -> None:
        self._served_by = served_by
        self._holding = [
            (declared, names)
            for declared in known
            if not declared.declared.routes or route in declared.declared.routes
            if (names := declared.names(evidence)) is not None
        ]

    def explaining(self, difference: Difference) -> list[CompiledKnown]:
        """Return the declarations that explain a difference, in their order."""
        return [declared for declared, names in self._holding if declared.explains(self._served_by, difference, names)]


def compile_known(settings: CompareSettings) -> tuple[CompiledKnown, ...]:
    """Compile `compare.known_differences`.

    Raises:
        RuleError: a declaration has no name, reason or place, names an unknown kind, table or condition, or holds a wrong path or regular
            expression.
    """
    twice = [name for name, count in Counter(one.name for one in settings.known_differences).items() if count > 1]
    if twice:
        raise RuleError("compare.known_differences", f"the name {twice[0]!r} is used more than once")
    return tuple(_compile(declared, i, settings.tables) for i, declared in enumerate(settings.known_differences))


def _compile(declared: KnownDifference, index: int, tables: Mapping[str, Table]) -> CompiledKnown:
    where = f"compare.known_differences[{index}]"
    for field, problem in (("name", "is empty"), ("reason", "is empty: explain the difference")):
        if not getattr(declared, field):
            raise RuleError(f"{where}.{field}", problem)
    if not declared.where:
        raise RuleError(f"{where}.where", "is empty: give the places at which the sides differ")
    conditions = {
        field: tuple(
            _compile_condition(condition, f"{where}.{field}[{i}]", tables)
            for i, condition in enumerate(getattr(declared, field))
        )
        for field in ("when", "when_any")
    }
    found = {one.declared.name for field in conditions.values() for one in field} - {""}
    places = tuple(
        _compile_place(place, f"{where}.where[{i}]", tables, found) for i, place in enumerate(declared.where)
    )
    known_as = f"compare.known_differences[{declared.name}]"
    return CompiledKnown(known_as, declared, places, conditions["when"], conditions["when_any"])


def _compile_condition(declared: Condition, where: str, tables: Mapping[str, Table]) -> CompiledCondition:
    if declared.table and declared.table not in tables:
        raise RuleError(f"{where}.table", f"{declared.table!r} is not described in compare.tables")
    return compile_condition(declared, where)


def _compile_place(declared: KnownPlace, where: str, tables: Mapping[str, Table], found: set[str]) -> CompiledPlace:
    if not (declared.path or declared.status or declared.header or declared.table):
        raise RuleError(where, "names no place: give path, status, header or table")
    if declared.kind and declared.kind not in set(Kind):
        raise RuleError(f"{where}.kind", f"{declared.kind!r} is not one of {', '.join(Kind)}")
    if declared.table and declared.table not in tables:
        raise RuleError(f"{where}.table", f"{declared.table!r} is not described in compare.tables")
    if declared.row and not declared.table:
        raise RuleError(f"{where}.row", "needs table")
    place = CompiledPlace(
        declared=declared,
        path=compile_path(declared.path, f"{where}.path"),
        row=tuple(
            (
                compile_path(path, f"{where}.row"),
                placeholder(text) or compile_regex(text, f"{where}.row.{path}") or re.compile(""),
            )
            for path, text in declared.row.items()
        ),
        candidate=compile_regex(declared.candidate, f"{where}.candidate"),
        legacy=compile_regex(declared.legacy, f"{where}.legacy"),
        key=tables[declared.table].natural_key if declared.table else (),
    )
    used = {*names_in(place.path), *(text for _, text in place.row if isinstance(text, str))}
    if unknown := sorted(used - found):
        raise RuleError(where, f"uses {{{unknown[0]}}}, but no condition has the name {unknown[0]!r}")
    return place
