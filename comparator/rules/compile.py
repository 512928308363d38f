"""Compiles the declared rules once, and says what is wrong with them by their path in the configuration.

Pure. Rules of a route are looked at before global ones; the first that allows a difference hides it and is reported.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final

from comparator.errors import RuleError
from comparator.rules.actions import Action, Ignore, KeyedBy, NumberWithin, SameNumber, TimeWithin, Unordered
from comparator.rules.json_paths import Automaton, Node, Pattern, parse_pattern
from comparator.settings import CompareSettings, HeaderRules, RouteCompare, RuleSettings

COMPARED_HEADERS: Final = frozenset({"content-type", "allow", "location", "www-authenticate", "retry-after"})
"""Response headers that are compared when nothing is declared: they carry the meaning of a status."""

BODY_KINDS: Final = frozenset({"", "json", "form", "multipart", "text", "binary"})


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready: `id` is its path in the configuration, `expires` the last day it holds."""

    id: str
    action: Action
    expires: dt.date | None = None

    def holds(self, today: dt.date) -> bool:
        """Whether its term is not over."""
        return self.expires is None or today <= self.expires


class RuleSet:
    """The rules of one document kind (a route's body, a JSON column), matched by one automaton.

    A walk carries a `Node` from `root` on; its `marks` are the rules that name its place, in order of precedence.
    """

    __slots__ = ("root",)

    def __init__(self, rules: Iterable[tuple[Pattern, CompiledRule]]) -> None:
        pairs = list(rules)
        self.root: Node = Automaton((pattern for pattern, _ in pairs), [rule for _, rule in pairs]).root


NO_RULES: Final = RuleSet(())


@dataclass(frozen=True, slots=True)
class RouteRules:
    """All that holds for the responses of one route: rules of the body, names of compared headers, forced body kind.

    `unwatched` is a memo: spellings of header names that were found to be no business of these rules.
    """

    body: RuleSet
    headers: frozenset[str]
    body_kind: str = ""
    unwatched: set[str] = field(default_factory=set[str], compare=False, repr=False)


def compile_rule(rule: RuleSettings, where: str) -> tuple[Pattern, CompiledRule]:
    """Make one rule ready.

    Raises:
        RuleError: the path cannot be read, or there is not exactly one action, or its value makes no sense.
    """
    try:
        pattern = parse_pattern(rule.path)
    except ValueError as error:
        raise RuleError(f"{where}.path", str(error)) from error
    actions = list(_actions(rule, where))
    if len(actions) != 1:
        raise RuleError(where, f"needs exactly one action, has {len(actions)}")
    return pattern, CompiledRule(where, actions[0], rule.expires)


def _actions(rule: RuleSettings, where: str) -> Iterable[Action]:
    """Every action the rule declares; a flat list of fields, read one by one."""
    if rule.ignore:
        yield Ignore()
    if rule.absolute is not None:
        yield NumberWithin(absolute=_tolerance(rule.absolute, f"{where}.absolute"))
    if rule.relative is not None:
        yield NumberWithin(relative=_tolerance(rule.relative, f"{where}.relative"))
    if rule.places is not None:
        yield NumberWithin(places=_not_negative(rule.places, f"{where}.places"))
    if rule.time_within_ms is not None:
        within_ms = _not_negative(rule.time_within_ms, f"{where}.time_within_ms")
        yield TimeWithin(dt.timedelta(milliseconds=within_ms))
    if rule.unordered:
        yield Unordered()
    if rule.key_by:
        yield KeyedBy(rule.key_by)
    if rule.same:
        yield _same(rule.same, f"{where}.same")


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
        raise RuleError(where, f"{text!r} is no decimal number") from error
    if not value.is_finite() or value < 0:
        raise RuleError(where, f"{text!r} is no tolerance")
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
    """Make the rules of one route ready: its own first, then the global ones.

    Raises:
        RuleError: with the configuration path of what is wrong.
    """
    own = settings.routes.get(route, RouteCompare())
    here = f"compare.routes.{route}"
    if own.body not in BODY_KINDS:
        raise RuleError(f"{here}.body", f"{own.body!r} is none of {', '.join(sorted(BODY_KINDS - {''}))}")
    rules = [compile_rule(rule, f"{here}.rules[{i}]") for i, rule in enumerate(own.rules)]
    rules += [compile_rule(rule, f"compare.rules[{i}]") for i, rule in enumerate(settings.rules)]
    return RouteRules(RuleSet(rules), _headers(settings.headers, own.headers), own.body)


def compile_routes(settings: CompareSettings) -> Mapping[str, RouteRules]:
    """Make the rules of all declared routes ready; the entry "" holds for every other route."""
    return {route: compile_route(settings, route) for route in ("", *settings.routes)}
