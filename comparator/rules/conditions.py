"""Evaluate the conditions of known differences on one exchange: its request, its key, and what both sides did. Pure.

A condition selects values and tests them; those that pass can be taken under a name, which the places of the difference then use:

    {of: legacy, table: registry_stamp, having: {credential.credentialSubject.hash: ".+"}, take: provider, name: provider}

    the rows of registry_stamp that the legacy changed   [{provider: "Google", credential: ...}, {provider: "Ens", ...}]
    those whose credential has a hash                    [{provider: "Google", ...}]
    their providers                                      {"provider": {"Google"}}
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from comparator.errors import RuleError
from comparator.exchanges.json_values import ABSENT, value_text
from comparator.exchanges.model import HeaderList, Side
from comparator.exchanges.row_changes import Op, Row, RowChange
from comparator.rules.json_paths import Name, Pattern, parse_pattern, values_at
from comparator.settings import Condition

Names = Mapping[str, frozenset[str]]
"""Values that conditions found, by name."""


class Subject(StrEnum):
    """The part of an exchange that a condition is about."""

    REQUEST = "request"
    KEY = "key"
    CANDIDATE = "candidate"
    LEGACY = "legacy"


JSON_TYPES: Final = frozenset({"object", "array", "string", "number", "boolean", "null"})
_SELECTORS: Final = ("path", "table", "header")
_FIELDS: Final[Mapping[Subject, frozenset[str]]] = {
    Subject.REQUEST: frozenset({"methods", "target", "header", "path"}),
    Subject.KEY: frozenset(),
    Subject.CANDIDATE: frozenset({"status", "header", "path", "table", "ops"}),
    Subject.LEGACY: frozenset({"status", "header", "path", "table", "ops"}),
}
"""The fields that a condition on each subject may have, besides the tests of what is selected."""
_ALL_SUBJECTS_FIELDS: Final = frozenset[str]().union(*_FIELDS.values())


@dataclass(frozen=True, slots=True)
class RowImage:
    """A row that a side read or changed.

    Attributes:
        table: canonical name.
        row: the image.
        op: the change after which the row was so, by a delete before which; None for other images.
    """

    table: str
    row: Row
    op: Op | None = None


def images_of(changes: Iterable[RowChange]) -> tuple[RowImage, ...]:
    """Return the rows before and after each change."""
    images: list[RowImage] = []
    for change in changes:
        if change.after is not None:
            images.append(RowImage(change.table, change.after, change.op))
        if change.before is not None:
            images.append(RowImage(change.table, change.before, change.op if change.op is Op.DELETE else None))
    return tuple(images)


@dataclass(frozen=True, slots=True)
class SideEvidence:
    """One side's part: its response's status (0 for none), headers and document (ABSENT for none), and the rows that it changed."""

    status: int
    headers: HeaderList
    document: Callable[[], object]
    rows: Sequence[RowImage]


@dataclass(frozen=True, slots=True)
class ExchangeEvidence:
    """One exchange, as far as conditions look at it.

    Attributes:
        method, target, headers: of the request; empty where it is not known, and then no condition on it holds.
        document: returns the JSON body of the request, ABSENT for none.
        key: the ordering key, "" for none.
        sides: what each side did; of a side that did not take part no condition holds.
    """

    method: str
    target: str
    headers: HeaderList
    document: Callable[[], object]
    key: str
    sides: Mapping[Side, SideEvidence]


@dataclass(frozen=True, slots=True)
class _Selected:
    """A selected value; a row's columns are texts, of which a path decodes the JSON ones."""

    value: object
    is_row: bool = False

    def at(self, pattern: Pattern, *, decoded: bool = False) -> Iterator[object]:
        """Generate the values at a path; `decoded`: of a whole column its document, where it holds JSON."""
        if not self.is_row or not pattern:
            yield from values_at(self.value, pattern)
            return
        for column in values_at(self.value, pattern[:1]):
            if column is None:
                continue
            yield from values_at(_decoded(column) if decoded or len(pattern) > 1 else column, pattern[1:])


@dataclass(frozen=True, slots=True)
class CompiledCondition:
    """A compiled condition."""

    declared: Condition
    target: re.Pattern[str] | None
    header: re.Pattern[str] | None
    path: Pattern
    having: tuple[tuple[Pattern, re.Pattern[str]], ...]
    other_than: tuple[tuple[Pattern, tuple[str, ...]], ...]
    matches: re.Pattern[str] | None
    take: Pattern

    def names(self, evidence: ExchangeEvidence) -> Names | None:
        """Return what was found, by name; None if the condition does not hold."""
        found = [selected for selected in self._select(evidence) if self._passes(selected)]
        if not found:
            return None
        if not self.declared.name:
            return {}
        texts = frozenset(text_of(value) for selected in found for value in selected.at(self.take))
        return {self.declared.name: texts} if texts else None

    def _select(self, evidence: ExchangeEvidence) -> Iterator[_Selected]:
        declared = self.declared
        subject = Subject(declared.of)
        if subject is Subject.KEY:
            yield from [_Selected(evidence.key)] if evidence.key else []
            return
        if subject is Subject.REQUEST:
            if not evidence.method or (declared.methods and evidence.method not in declared.methods):
                return
            if self.target is not None and self.target.fullmatch(evidence.target) is None:
                return
            headers, document, rows = evidence.headers, evidence.document, ()
        else:
            side = evidence.sides.get(Side(subject.value))
            if side is None or (declared.status and side.status not in declared.status):
                return
            headers, document, rows = side.headers, side.document, side.rows
        yield from self._select_from(headers, document, rows)

    def _select_from(
        self, headers: HeaderList, document: Callable[[], object], rows: Sequence[RowImage]
    ) -> Iterator[_Selected]:
        declared = self.declared
        if self.header is not None:
            yield from (_Selected(value) for name, value in headers if self.header.fullmatch(name.lower()))
        elif declared.table:
            for image in rows:
                if image.table == declared.table and (not declared.ops or image.op in declared.ops):
                    yield _Selected(image.row, is_row=True)
        elif declared.path:
            whole = document()
            yield from map(_Selected, values_at(whole, self.path) if whole is not ABSENT else ())
        else:
            yield _Selected(ABSENT)

    def _passes(self, selected: _Selected) -> bool:
        if self.matches is not None and self.matches.fullmatch(text_of(selected.value)) is None:
            return False
        return all(
            any(expected.fullmatch(text_of(value)) for value in selected.at(pattern))
            for pattern, expected in self.having
        ) and all(
            any(type_name(value) not in types for value in selected.at(pattern, decoded=True))
            for pattern, types in self.other_than
        )


def text_of(value: object) -> str:
    """Return the text that a regular expression is held against: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else value_text(value)


def type_name(value: object) -> str:
    """Return the JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int() | float() | Decimal():
            return "number"
        case list() | tuple():
            return "array"
        case _:
            return "object"


def row_values(row: Mapping[str, object], path: Pattern) -> Iterator[object]:
    """Generate the values of a row at a path: its first segment is a column, the others lead into its JSON."""
    return _Selected(row, is_row=True).at(path)


def _decoded(column: object) -> object:
    """Return the document of a JSON column, also of one that is a text with JSON in it; of another column its text."""
    value = column
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value, parse_float=Decimal)
        except ValueError:
            break
    return value


def compile_condition(declared: Condition, where: str) -> CompiledCondition:
    """Compile a condition.

    Args:
        declared: the condition.
        where: its configuration path.

    Raises:
        RuleError: a field does not belong to the subject, or a path or a regular expression is wrong.
    """
    if declared.of not in set(Subject):
        raise RuleError(f"{where}.of", f"{declared.of!r} is not one of {', '.join(Subject)}")
    given = {field for field in _ALL_SUBJECTS_FIELDS if getattr(declared, field)}
    foreign = sorted(given - _FIELDS[Subject(declared.of)])
    if foreign:
        raise RuleError(f"{where}.{foreign[0]}", f"a condition on `{declared.of}` has no {foreign[0]}")
    selectors = [field for field in _SELECTORS if getattr(declared, field)]
    if len(selectors) > 1:
        raise RuleError(where, f"selects by {' and by '.join(selectors)}: give one of them")
    _check_tests(declared, selectors, where)
    return CompiledCondition(
        declared=declared,
        target=compile_regex(declared.target, f"{where}.target"),
        header=compile_regex(declared.header, f"{where}.header"),
        path=compile_path(declared.path, f"{where}.path"),
        having=tuple(
            (compile_path(path, f"{where}.having"), _required(text, f"{where}.having.{path}"))
            for path, text in declared.having.items()
        ),
        other_than=tuple(
            (compile_path(path, f"{where}.other_than"), types) for path, types in declared.other_than.items()
        ),
        matches=compile_regex(declared.matches, f"{where}.matches"),
        take=compile_path(declared.take, f"{where}.take"),
    )


def _check_tests(declared: Condition, selectors: Sequence[str], where: str) -> None:
    if declared.of != Subject.KEY and not selectors:
        for field in ("having", "other_than", "matches", "name"):
            if getattr(declared, field):
                raise RuleError(f"{where}.{field}", "needs path, table or header, which select a value")
        if not (declared.methods or declared.target or declared.status):
            raise RuleError(where, "says nothing: give methods, target or status, or select a value and test it")
    if declared.of == Subject.KEY and not declared.matches:
        raise RuleError(where, "says nothing of the key: give matches")
    if declared.table and declared.name and not declared.take:
        raise RuleError(f"{where}.take", "is empty: name the column whose values are found")
    wrong = sorted({op for op in declared.ops if op not in set(Op)})
    if wrong:
        raise RuleError(f"{where}.ops", f"{wrong[0]!r} is not one of {', '.join(Op)}")
    for types in declared.other_than.values():
        if unknown := sorted(set(types) - JSON_TYPES):
            raise RuleError(f"{where}.other_than", f"{unknown[0]!r} is not one of {', '.join(sorted(JSON_TYPES))}")


def compile_regex(text: str, where: str) -> re.Pattern[str] | None:
    """Compile a regular expression, None for an empty text.

    Raises:
        RuleError: it is not a regular expression.
    """
    return _required(text, where) if text else None


def _required(text: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise RuleError(where, f"{text!r} is not a regular expression: {error}") from error


def compile_path(text: str, where: str) -> Pattern:
    """Parse a path.

    Raises:
        RuleError: it cannot be parsed.
    """
    try:
        return parse_pattern(text)
    except ValueError as error:
        raise RuleError(where, str(error)) from error


def names_in(path: Pattern) -> Iterator[str]:
    """Generate the names for which segments of a path stand: `{provider}`."""
    for segment in path:
        if isinstance(segment, Name) and (name := placeholder(segment.name)):
            yield name


def placeholder(text: str) -> str:
    """Return the name in `{name}`, "" for any other text."""
    return text[1:-1] if text.startswith("{") and text.endswith("}") and text[1:-1].isidentifier() else ""


def merged(found: Iterable[Names]) -> Names:
    """Return all values by name."""
    names: dict[str, frozenset[str]] = {}
    for one in found:
        for name, values in one.items():
            names[name] = names.get(name, frozenset()) | values
    return names


def column_values(columns: Sequence[str], natural_key: Sequence[object]) -> dict[str, object]:
    """Return the values of a row's natural key by column."""
    return dict(zip(columns, natural_key, strict=False))
