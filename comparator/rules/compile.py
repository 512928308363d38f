"""Compile the rules of `compare:`; invalid ones are reported with their configuration path. Pure.

Rules of a route take precedence over global ones. The first rule that allows a difference is the one that is reported as hit.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final

from comparator.errors import RuleError
from comparator.rules.actions import (
    Action,
    EpochUnit,
    GeneratedText,
    Ignore,
    KeyedBy,
    NumberWithin,
    SameNumber,
    TimeWithin,
    Unordered,
)
from comparator.rules.json_paths import Automaton, Node, Pattern, parse_pattern
from comparator.settings import CompareSettings, HeaderRules, RouteCompare, RuleSettings

COMPARED_HEADERS: Final = frozenset({"content-type", "allow", "location", "www-authenticate", "retry-after"})
"""Response headers that are compared by default: they belong to the meaning of a status code."""

BODY_KINDS: Final = frozenset({"", "json", "form", "multipart", "text", "binary"})


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A compiled rule; `id` is its configuration path, `expires` the last day (UTC) on which it applies, None for no end."""

    id: str
    action: Action
    expires: dt.date | None = None

    def applies(self, today: dt.date) -> bool:
        """Return whether the rule has not expired."""
        return self.expires is None or today <= self.expires


class RuleSet:
    """The rules of one kind of document (a route's body, a JSON column), matched by one automaton.

    A walk starts at `root` and takes one step per level; the `payloads` of a node are the rules of its place by precedence.
    """

    __slots__ = ("root",)

    def __init__(self, rules: Iterable[tuple[Pattern, CompiledRule]]) -> None:
        pairs = list(rules)
        self.root: Node = Automaton((pattern for pattern, _ in pairs), [rule for _, rule in pairs]).root


NO_RULES: Final = RuleSet(())


@dataclass(frozen=True, slots=True)
class RouteRules:
    """The compiled rules for the responses of one route.

    Attributes:
        body: rules of the body.
        headers: lower-case names of the compared headers.
        body_kind: body kind to use instead of the one that Content-Type names; "" for none.
        ignored_headers: cache of the spellings of header names that are known to be irrelevant.
    """

    body: RuleSet
    headers: frozenset[str]
    body_kind: str = ""
    ignored_headers: set[str] = field(default_factory=set[str], compare=False, repr=False)


def compile_rule(rule: RuleSettings, where: str) -> tuple[Pattern, CompiledRule]:
    """Compile one rule.

    Args:
        rule: the rule.
        where: its configuration path.

    Raises:
        RuleError: the path cannot be parsed, there is not exactly one action, or its value is out of range.
    """
    try:
        pattern = parse_pattern(rule.path)
    except ValueError as error:
        raise RuleError(f"{where}.path", str(error)) from error
    actions = list(_actions(rule, where))
    if len(actions) != 1:
        raise RuleError(where, f"must have exactly one action, but has {len(actions)}")
    if rule.epoch and rule.time_within_ms is None:
        raise RuleError(f"{where}.epoch", "requires time_within_ms")
    return pattern, CompiledRule(where, actions[0], rule.expires)


def _actions(rule: RuleSettings, where: str) -> Iterable[Action]:
    """Yield every action that the rule declares."""
    if rule.ignore:
        yield Ignore()
    if rule.absolute is not None:
        yield NumberWithin(absolute=_tolerance(rule.absolute, f"{where}.absolute"))
    if rule.relative is not None:
        yield NumberWithin(relative=_tolerance(rule.relative, f"{where}.relative"))
    if rule.places is not None:
        yield NumberWithin(places=_not_negative(rule.places, f"{where}.places"))
    if rule.time_within_ms is not None:
        yield time_within(rule.time_within_ms, rule.epoch, where=f"{where}.time_within_ms", unit_at=f"{where}.epoch")
    if rule.generated:
        yield generated_text(rule.generated, f"{where}.generated")
    if rule.unordered:
        yield Unordered()
    if rule.key_by:
        yield KeyedBy(rule.key_by)
    if rule.same:
        yield _same(rule.same, f"{where}.same")


def time_within(within_ms: int, epoch: str, *, where: str, unit_at: str) -> TimeWithin:
    """Compile a tolerance of times.

    Args:
        within_ms: greatest allowed distance, in milliseconds.
        epoch: unit of numbers that are times, "" where numbers are none.
        where: configuration path of the tolerance.
        unit_at: configuration path of the unit.

    Raises:
        RuleError: the tolerance is negative, or the unit unknown.
    """
    within = dt.timedelta(milliseconds=_not_negative(within_ms, where))
    if not epoch:
        return TimeWithin(within)
    try:
        return TimeWithin(within, EpochUnit(epoch))
    except ValueError as error:
        raise RuleError(unit_at, f"{epoch!r} is not one of {', '.join(EpochUnit)}") from error


def generated_text(pattern: str, where: str) -> GeneratedText:
    """Compile the pattern of parts that a side generates for itself.

    Raises:
        RuleError: it is not a regular expression.
    """
    try:
        return GeneratedText(re.compile(pattern))
    except re.error as error:
        raise RuleError(where, f"{pattern!r} is not a regular expression: {error}") from error


def _same(name: str, where: str) -> Action:
    match name:
        case "number":
            return SameNumber()
        case "time":
            return TimeWithin(dt.timedelta(0))
        case _:
            raise RuleError(where, f'must be "number" or "time", not {name!r}')


def _tolerance(text: str, where: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise RuleError(where, f"{text!r} is not a decimal number") from error
    if not value.is_finite() or value < 0:
        raise RuleError(where, f"{text!r} is out of range: a tolerance is finite and not negative")
    return value


def _not_negative(value: int, where: str) -> int:
    if value < 0:
        raise RuleError(where, f"{value} is negative")
    return value


def _headers(*declared: HeaderRules) -> frozenset[str]:
    names = set(COMPARED_HEADERS)
    for rules in declared:
        names |= {name.lower() for name in rules.compare}
        names -= {name.lower() for name in rules.ignore}
    return frozenset(names)


def compile_route(settings: CompareSettings, route: str) -> RouteRules:
    """Compile the rules of one route: its own, then the global ones.

    Raises:
        RuleError: a rule is invalid.
    """
    own = settings.routes.get(route, RouteCompare())
    here = f"compare.routes.{route}"
    if own.body not in BODY_KINDS:
        raise RuleError(f"{here}.body", f"{own.body!r} is not one of {', '.join(sorted(BODY_KINDS - {''}))}")
    rules = [compile_rule(rule, f"{here}.rules[{i}]") for i, rule in enumerate(own.rules)]
    rules += [compile_rule(rule, f"compare.rules[{i}]") for i, rule in enumerate(settings.rules)]
    return RouteRules(RuleSet(rules), _headers(settings.headers, own.headers), own.body)


def compile_routes(settings: CompareSettings) -> Mapping[str, RouteRules]:
    """Compile the rules of all routes in `compare.routes`, by name; the entry "" is for every other route."""
    return {route: compile_route(settings, route) for route in ("", *settings.routes)}
