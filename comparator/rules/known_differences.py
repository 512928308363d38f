"""Known differences: what the operator declared to differ, and why.

Pure. They are no rules: what they explain is still a difference, counted under its own verdict.
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
    """One declaration, ready; `id` is its path in the configuration."""

    id: str
    declared: KnownDifference
    path: Automaton

    @property
    def reason(self) -> str:
        """Why the sides differ here."""
        return self.declared.reason

    @property
    def ticket(self) -> str:
        """Where it is discussed."""
        return self.declared.ticket

    def holds(self, today: dt.date) -> bool:
        """Whether its term is not over."""
        return self.declared.expires is None or today <= self.declared.expires

    def explains(self, route: str, served_by: Side, difference: Difference) -> bool:
        """Whether the declaration is about this difference."""
        declared = self.declared
        if declared.route not in {"", route} or declared.kind not in {"", difference.kind}:
            return False
        return self._is_about(difference) and self._has_values(served_by, difference)

    def _is_about(self, difference: Difference) -> bool:
        declared = self.declared
        if declared.status or declared.header:
            named = difference.kind is Kind.STATUS if declared.status else difference.kind is Kind.HEADER
            return named and (declared.status or difference.path == (declared.header.lower(),))
        if declared.table != difference.table or declared.column not in {"", difference.column}:
            return False
        if not declared.path:
            return True
        return difference.kind not in {Kind.STATUS, Kind.HEADER} and bool(self.path.rules_at(difference.path))

    def _has_values(self, served_by: Side, difference: Difference) -> bool:
        served, mirrored = difference.served, difference.mirrored
        candidate, legacy = (served, mirrored) if served_by is Side.CANDIDATE else (mirrored, served)
        wanted = ((self.declared.candidate, candidate), (self.declared.legacy, legacy))
        return all(text is None or value_text(value) == text for text, value in wanted)


def compile_known(settings: CompareSettings) -> tuple[CompiledKnown, ...]:
    """Make all declarations ready.

    Raises:
        RuleError: a declaration names no place, an unknown kind or table, has no reason, or its path cannot be read.
    """
    return tuple(_compile(declared, i, settings) for i, declared in enumerate(settings.known_differences))


def _compile(declared: KnownDifference, index: int, settings: CompareSettings) -> CompiledKnown:
    where = f"compare.known_differences[{index}]"
    if not (declared.path or declared.status or declared.header or declared.table):
        raise RuleError(where, "names no place: give path, status, header or table")
    if declared.kind and declared.kind not in set(Kind):
        raise RuleError(f"{where}.kind", f"{declared.kind!r} is none of {', '.join(Kind)}")
    if declared.table and declared.table not in settings.tables:
        raise RuleError(f"{where}.table", f"{declared.table!r} is not described in compare.tables")
    if not declared.reason:
        raise RuleError(f"{where}.reason", "is empty")
    try:
        patterns = [parse_pattern(declared.path)]
    except ValueError as error:
        raise RuleError(f"{where}.path", str(error)) from error
    return CompiledKnown(where, declared, Automaton(patterns))


def explained_by(
    known: Iterable[CompiledKnown], route: str, served_by: Side, difference: Difference
) -> list[CompiledKnown]:
    """All declarations that are about this difference, in their order."""
    return [declared for declared in known if declared.explains(route, served_by, difference)]
