"""Parse the JSON paths of rules, and match all rules against a place at once by an automaton. Pure.

Grammar: an optional `$`, then segments: `name` or `.name`, `["any name"]`, `[3]`, `*` or `[*]` (any member or element), `**` (any number of
levels, also none), `[?name=="x"]` (an element or member that is an object whose member `name` equals the JSON literal).

The automaton is built lazily from sets of (pattern, next segment), as in the subset construction. Its alphabet is the names and indexes that
occur in patterns, plus "any other", so its size depends on the rules and never on the traffic. Example with the patterns 0 = `stamps.*.score`
and 1 = `**.at`, along the place `stamps.Google.score`:

    start     {0: at segment 0, 1: at segment 0 or 1}
    stamps    {0: at segment 1, 1: at segment 0 or 1}
    Google    {0: at segment 2, 1: at segment 0 or 1}      "any other": no pattern contains this name
    score     {0: at its end,   1: at segment 0 or 1}      pattern 0 matches here
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

from comparator.exchanges.json_place import Step


@dataclass(frozen=True, slots=True)
class Name:
    """The member of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """The element at this index."""

    index: int


@dataclass(frozen=True, slots=True)
class AnyOne:
    """Any member or element: `*`."""


@dataclass(frozen=True, slots=True)
class AnyDepth:
    """Any number of levels, also none: `**`."""


@dataclass(frozen=True, slots=True)
class MemberEquals:
    """A member or element that is an object whose member `name` equals `literal`: `[?name=="x"]`."""

    name: str
    literal: object


Segment = Name | Index | AnyOne | AnyDepth | MemberEquals
Pattern = tuple[Segment, ...]

_TOKEN = re.compile(
    r"""(?P<depth>\.?\*\*)
      | (?P<any>\.?\*|\[\*\])
      | \[\?\s*@?\.?(?P<where>[^\s=\]"]+)\s*==\s*(?P<literal>"(?:[^"\\]|\\.)*"|[^\]]+?)\s*\]
      | \[(?P<index>\d+)\]
      | \[(?P<quoted>"(?:[^"\\]|\\.)*")\]
      | \.?(?P<name>[^.\[\]*]+)
    """,
    re.VERBOSE,
)


def parse_pattern(text: str) -> Pattern:
    """Parse the path of a rule.

    Raises:
        ValueError: the path is invalid; the message names the position.
    """
    rest = text.removeprefix("$")
    if not rest:
        return ()
    segments: list[Segment] = []
    position = 0
    while position < len(rest):
        match = _TOKEN.match(rest, position)
        if match is None:
            raise ValueError(f"cannot parse {text!r} at {rest[position:]!r}")
        segments.append(_segment(match))
        position = match.end()
    return tuple(segments)


def _segment(match: re.Match[str]) -> Segment:
    if match["depth"]:
        return AnyDepth()
    if match["any"]:
        return AnyOne()
    if match["where"] is not None:
        return MemberEquals(match["where"], json.loads(match["literal"], parse_float=Decimal))
    if match["index"] is not None:
        return Index(int(match["index"]))
    if match["quoted"] is not None:
        return Name(json.loads(match["quoted"]))
    return Name(match["name"])


def values_at(value: Any, pattern: Pattern) -> Iterator[Any]:
    """Generate the values at the places of a document that a path names, in the order of the document."""
    if not pattern:
        yield value
        return
    first, rest = pattern[0], pattern[1:]
    if isinstance(first, AnyDepth):
        yield from values_at(value, rest)
        for child in _children(value):
            yield from values_at(child, pattern)
        return
    for child in _named_by(first, value):
        yield from values_at(child, rest)


def _named_by(segment: Name | Index | AnyOne | MemberEquals, value: Any) -> Iterable[Any]:
    """Return the members or elements of a value that one segment names."""
    match segment:
        case AnyOne():
            return _children(value)
        case MemberEquals():
            return [child for child in _children(value) if _is_satisfied(segment, child)]
        case Name(name):
            members: Mapping[str, Any] = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
            return [members[name]] if name in members else []
        case Index(index):
            return cast("list[Any]", value)[index : index + 1] if isinstance(value, list) else []


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


_State = tuple[int, int]
"""(index of the pattern, index of its next segment)."""

_OTHER: Final = None
_ANY_OTHER: Final = -1
"""A step that occurs in no pattern: indexes are never negative."""


class Node:
    """One state of the automaton.

    Attributes:
        accepts: indexes of the patterns that match the place of this node.
        payloads: payloads of these patterns, in the same order.
        predicates: predicates that the values below this place have to be checked against.
        dead: no pattern can match at or below this place.
        branches: see `branch`; None until it is called.
    """

    __slots__ = ("_automaton", "_names", "_next", "_states", "accepts", "branches", "dead", "payloads", "predicates")

    def __init__(self, automaton: "Automaton", states: frozenset[_State]) -> None:
        self._automaton = automaton
        self._states = states
        segments = [automaton.patterns[p][i] for p, i in states if i < len(automaton.patterns[p])]
        self.accepts: tuple[int, ...] = tuple(sorted(p for p, i in states if i == len(automaton.patterns[p])))
        self.predicates: tuple[MemberEquals, ...] = tuple(
            sorted({s for s in segments if isinstance(s, MemberEquals)}, key=lambda w: (w.name, repr(w.literal)))
        )
        self._names: frozenset[Step] = frozenset(
            s.name if isinstance(s, Name) else s.index for s in segments if isinstance(s, Name | Index)
        )
        self._next: dict[tuple[Step | None, tuple[MemberEquals, ...]], Node] = {}
        self.branches: tuple[dict[Step, Node], Node] | None = None
        self.payloads: tuple[Any, ...] = tuple([automaton.payloads[i] for i in self.accepts])
        self.dead = not segments and not self.accepts

    def step(self, step: Step, satisfied: tuple[MemberEquals, ...] = ()) -> "Node":
        """Return the node below `step`; `satisfied` are the `predicates` that the value there satisfies."""
        symbol: Step | None = step if step in self._names else _OTHER
        node = self._next.get((symbol, satisfied))
        if node is None:
            node = self._automaton.node(
                state
                for pattern, index in self._states
                for state in self._automaton.advance(pattern, index, symbol, satisfied)
            )
            self._next[symbol, satisfied] = node
        return node

    def branch(self) -> "tuple[dict[Step, Node], Node]":
        """Return the nodes below the steps that occur in patterns, and the node below every other step; cached in `branches`.

        A shortcut for walks, which take a step at every member. It is valid only for nodes without predicates, i.e. nearly all.
        """
        self.branches = {name: self.step(name) for name in self._names}, self.step(_ANY_OTHER)
        return self.branches

    def below(self, step: Step, *values: Any) -> "Node":
        """Return the node below `step`, where `values` are the values of both documents there."""
        if not self.predicates:
            children, other = self.branches or self.branch()
            return children.get(step, other)
        satisfied = tuple(p for p in self.predicates if any(_is_satisfied(p, value) for value in values))
        return self.step(step, satisfied)


def _is_satisfied(predicate: MemberEquals, value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    member = cast("dict[str, object]", value).get(predicate.name, predicate)
    return type(member) is type(predicate.literal) and member == predicate.literal


class Automaton:
    """The patterns of one rule set, matched together while a document is walked.

    Args:
        patterns: patterns by precedence.
        payloads: one value for each pattern, returned by nodes that match it; the pattern's index by default.
    """

    def __init__(self, patterns: Iterable[Pattern], payloads: Sequence[Any] | None = None) -> None:
        self.patterns = tuple(patterns)
        self.payloads: Sequence[Any] = range(len(self.patterns)) if payloads is None else payloads
        self._nodes: dict[frozenset[_State], Node] = {}
        self.root = self.node((p, 0) for p in range(len(self.patterns)))

    def node(self, states: Iterable[_State]) -> Node:
        """Return the node of a set of states, the same object for the same set."""
        closed = self._close(states)
        node = self._nodes.get(closed)
        if node is None:
            node = self._nodes[closed] = Node(self, closed)
        return node

    def _close(self, states: Iterable[_State]) -> frozenset[_State]:
        closed: set[_State] = set()
        for pattern, index in states:
            segments, at = self.patterns[pattern], index
            closed.add((pattern, at))
            while at < len(segments) and isinstance(segments[at], AnyDepth):
                at += 1
                closed.add((pattern, at))
        return frozenset(closed)

    def advance(
        self, pattern: int, index: int, symbol: Step | None, satisfied: tuple[MemberEquals, ...]
    ) -> Iterable[_State]:
        """Return the states that follow one state by one step; `symbol` is None for a step that occurs in no pattern."""
        segments = self.patterns[pattern]
        if index == len(segments):
            return ()
        segment = segments[index]
        match segment:
            case AnyDepth():
                return ((pattern, index),)
            case AnyOne():
                matches = True
            case Name(name):
                matches = type(symbol) is str and symbol == name
            case Index(number):
                matches = type(symbol) is int and symbol == number
            case MemberEquals():
                matches = segment in satisfied
        return ((pattern, index + 1),) if matches else ()

    def rules_at(self, path: Sequence[Step]) -> tuple[int, ...]:
        """Return the indexes of the patterns that match a place; predicates never match, as there is no document."""
        node = self.root
        for step in path:
            node = node.step(step)
        return node.accepts
