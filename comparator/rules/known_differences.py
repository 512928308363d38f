"""Recognise known differences: those that the operator expects and has declared with a reason. Pure.

In contrast to a rule, a declaration does not allow a difference: it stays a difference, with a verdict of its own (`known`).
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from comparator.errors import RuleError
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import value_text
from comparator.exchanges.model import Side
from comparator.rules.json_paths import Automaton, parse_pattern
from comparator.settings import CompareSettings, KnownDifference


@dataclass(frozen=True, slots=True)
class CompiledKnown:
    """A compiled declaration; `id` is its configuration path."""

    id: str
    declared: KnownDifference
    path: Automaton

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

    def explains(self, route: str, served_by: Side, difference: Difference) -> bool:
        """Return whether the declaration matches a difference of this route."""
        declared = self.declared
        if declared.route not in {"", route} or declared.kind not in {"", difference.kind}:
            return False
        return self._is_about(difference) and self._has_values(served_by, difference)

    def _is_about(self, difference: Difference) -> bool:
        declared = self.declared
        if declared.status or declared.header:
            same_kind = difference.kind is Kind.STATUS if declared.status else difference.kind is Kind.HEADER
            return same_kind and (declared.status or difference.path == (declared.header.lower(),))
        if declared.table != difference.table or declared.column not in {"", difference.column}:
            return False
        if not declared.path:
            return True
        return difference.kind not in {Kind.STATUS, Kind.HEADER} and bool(self.path.rules_at(difference.path))

    def _has_values(self, served_by: Side, difference: Difference) -> bool:
        served, mirrored = difference.served, difference.mirrored
        candidate, legacy = (served, mirrored) if served_by is Side.CANDIDATE else (mirrored, served)
        expected = ((self.declared.candidate, candidate), (self.declared.legacy, legacy))
        return all(text is None or value_text(value) == text for text, value in expected)


def compile_known(settings: CompareSettings) -> tuple[CompiledKnown, ...]:
    """Compile `compare.known_differences`.

    Raises:
        RuleError: a declaration names no place, names an unknown kind or table, lacks a reason, or its path cannot be parsed.
    """
    return tuple(_compile(declared, i, settings) for i, declared in enumerate(settings.known_differences))


def _compile(declared: KnownDifference, index: int, settings: CompareSettings) -> CompiledKnown:
    where = f"compare.known_differences[{index}]"
    if not (declared.path or declared.status or declared.header or declared.table):
        raise RuleError(where, "names no place: give path, status, header or table")
    if declared.kind and declared.kind not in set(Kind):
        raise RuleError(f"{where}.kind", f"{declared.kind!r} is not one of {', '.join(Kind)}")
    if declared.table and declared.table not in settings.tables:
        raise RuleError(f"{where}.table", f"{declared.table!r} is not described in compare.tables")
    if not declared.reason:
        raise RuleError(f"{where}.reason", "is empty: explain the difference")
    try:
        patterns = [parse_pattern(declared.path)]
    except ValueError as error:
        raise RuleError(f"{where}.path", str(error)) from error
    return CompiledKnown(where, declared, Automaton(patterns))


def explained_by(
    known: Iterable[CompiledKnown], route: str, served_by: Side, difference: Difference
) -> list[CompiledKnown]:
    """Return the declarations that match a difference, in their order."""
    return [declared for declared in known if declared.explains(route, served_by, difference)]
