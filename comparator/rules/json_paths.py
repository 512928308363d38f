"""JSON paths: how rules name places in a document, and one automaton that finds all rules of a place at once.

Pure. Grammar: an optional `$`, then segments: `name` or `.name`, `["any name"]`, `[3]`, `*` or `[*]` (any key or element),
`**` (any number of levels, also none), `[?name=="x"]` (each array element or member value that is an object whose
member `name` equals the JSON literal). The automaton's alphabet is the literal names that occur in rules plus "any other", so its
size depends on the rules alone, never on the traffic.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

from comparator.exchanges.json_place import Step


@dataclass(frozen=True, slots=True)
class Name:
    """A member of exactly this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """The array element at this index."""

    index: int


@dataclass(frozen=True, slots=True)
class AnyOne:
    """Any member or element."""


@dataclass(frozen=True, slots=True)
class AnyDepth:
    """Any number of levels, also none."""


@dataclass(frozen=True, slots=True)
class MemberEquals:
    """A member or element that is an object whose member `name` is `literal`."""

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
    """Read a rule's path.

    Raises:
        ValueError: saying at which character the path stops making sense.
    """
    rest = text.removeprefix("$")
    if not rest:
        return ()
    segments: list[Segment] = []
    position = 0
    while position < len(rest):
        match = _TOKEN.match(rest, position)
        if match is None:
            raise ValueError(f"cannot read {text!r} at {rest[position:]!r}")
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


_State = tuple[int, int]
"""(index of the pattern, index of its next segment)."""

_OTHER: Final = None
_ANY_OTHER: Final = -1
"""A step that occurs in no pattern: indexes are never negative."""


class Node:
    """One state of the automaton: which patterns end here, and where each step leads.

    `accepts` are the indexes of the patterns that end here, `marks` what they carry. `dead` means that no pattern can match
    at or below this place. `branches`: see `branch`.
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
        """The state below `step`; `held` are those of `wheres` that the value there satisfies."""
        symbol: Step | None = step if step in self._names else _OTHER
        found = self._next.get((symbol, satisfied))
        if found is None:
            found = self._automaton.node(
                state
                for pattern, index in self._states
                for state in self._automaton.advance(pattern, index, symbol, satisfied)
            )
            self._next[symbol, satisfied] = found
        return found

    def branch(self) -> "tuple[dict[Step, Node], Node]":
        """Where the steps lead that occur in patterns, and where every other one leads; kept in `branches` from then on.

        For walks, which ask at every member; of use only without `wheres`, which nearly no node has.
        """
        self.branches = {name: self.step(name) for name in self._names}, self.step(_ANY_OTHER)
        return self.branches

    def below(self, step: Step, *values: Any) -> "Node":
        """The state below `step`, where `values` are what both documents have there."""
        if not self.predicates:
            children, other = self.branches or self.branch()
            return children.get(step, other)
        held = tuple(w for w in self.predicates if any(_holds(w, value) for value in values))
        return self.step(step, held)


def _holds(where: MemberEquals, value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    found = cast("dict[str, object]", value).get(where.name, where)
    return type(found) is type(where.literal) and found == where.literal


class Automaton:
    """All patterns of one rule set, matched together while a document is walked.

    Args:
        patterns: in order of precedence.
        marks: what a node that accepts a pattern carries for it (`Node.marks`); the pattern's index when not given.
    """

    def __init__(self, patterns: Iterable[Pattern], payloads: Sequence[Any] | None = None) -> None:
        self.patterns = tuple(patterns)
        self.payloads: Sequence[Any] = range(len(self.patterns)) if payloads is None else payloads
        self._nodes: dict[frozenset[_State], Node] = {}
        self.root = self.node((p, 0) for p in range(len(self.patterns)))

    def node(self, states: Iterable[_State]) -> Node:
        """The node of a set of states, the same object for the same set."""
        closed = self._close(states)
        found = self._nodes.get(closed)
        if found is None:
            found = self._nodes[closed] = Node(self, closed)
        return found

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
        """Where one state goes under one step."""
        segments = self.patterns[pattern]
        if index == len(segments):
            return ()
        segment = segments[index]
        match segment:
            case AnyDepth():
                return ((pattern, index),)
            case AnyOne():
                taken = True
            case Name(name):
                taken = type(symbol) is str and symbol == name
            case Index(wanted):
                taken = type(symbol) is int and symbol == wanted
            case MemberEquals():
                taken = segment in satisfied
        return ((pattern, index + 1),) if taken else ()

    def rules_at(self, path: Sequence[Step]) -> tuple[int, ...]:
        """Indexes of the patterns that name this place (predicates never hold here: there is no document)."""
        node = self.root
        for step in path:
            node = node.step(step)
        return node.accepts
