"""Compare two JSON documents under rules. Pure; it knows neither HTTP nor tables.

`Walk` walks both documents side by side. Given texts, it splits objects into members and parses only those that differ as bytes:

    {"score": "1.0", "stamps": {...40 kB...}, "error": null}
    {"score": "2.0", "stamps": {...40 kB...}, "error": null}     only "1.0" and "2.0" are parsed

Arrays are compared in order unless a rule says otherwise. With `unordered`, [1, 2, 2, 3] against [2, 1, 4, 2]: equal elements cancel (1, 2
and 2), and the remaining 3 and 4 are paired by similarity, here into one changed element. With `key_by: [id]`, elements are paired by
their member `id`, [{id 1, a}, {id 2, b}] against [{id 2, c}, {id 1, a}]: id 1 is equal and id 2 differs in one member.
"""

# Parsed JSON is of any type: pyright cannot know it, and the code checks it at every step.
# pyright: reportUnknownVariableType=false

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

import msgspec

from comparator.exchanges.difference import Difference, Kind, RuleHit
from comparator.exchanges.json_place import Step
from comparator.exchanges.json_values import ABSENT, NonFinite, Repeated, digest_of, value_text
from comparator.responses.exact_json import parse
from comparator.rules.actions import ComparisonTime, Ignore, KeyedBy, Unordered, allows_in
from comparator.rules.compile import CompiledRule, RuleSet
from comparator.rules.json_paths import Node

GREEDY_MATCH_MAX: Final = 2_500
"""Above this many pairs of unmatched elements, an unordered array is paired in order instead of by similarity."""

SIMILARITY_CHARACTERS_MAX: Final = 1_000_000
"""Above this total size of these pairs too, because each pair is walked once to determine its similarity."""

DIFFERENCES_MAX: Final = 1_000
"""Differences kept of one walk; further ones are summarised in one (`Kind.TOO_LARGE`)."""

RULE_HITS_MAX: Final = 10_000
"""Rule hits kept of one walk; rules still apply to further places."""

RAW_DIFFERING_MAX: Final = 4
"""An object is parsed as a whole if more than this many members, and more than half of all, differ as bytes."""

_rule_hit: Final = cast("Callable[[tuple[object, ...]], RuleHit]", partial(tuple.__new__, RuleHit))  # pyright: ignore[reportUnknownMemberType]
"""Create a `RuleHit` from a tuple of its five fields, in half the time of its constructor."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Walk:
    """One comparison of two documents.

    Args:
        rules: rules of the documents.
        when: time of the comparison: the day by which rules expire, and how much later the mirrored side ran.
        table: table of the JSON column that the documents come from; "" for bodies.
        natural_key: natural key of the row.
        column: the JSON column.

    Attributes:
        differences: differences that no rule allows, in document order.
        rule_hits: places where a rule allowed a difference, or has expired, in document order.
        omitted: number of differences beyond DIFFERENCES_MAX.
    """

    __slots__ = ("_column", "_key", "_path", "_rules", "_table", "_when", "differences", "omitted", "rule_hits")

    def __init__(
        self,
        rules: RuleSet,
        when: ComparisonTime,
        *,
        table: str = "",
        natural_key: tuple[object, ...] = (),
        column: str = "",
    ) -> None:
        self._rules = rules
        self._when = when
        self._table, self._key, self._column = table, natural_key, column
        self._path: list[Step] = []
        self.differences: list[Difference] = []
        self.rule_hits: list[RuleHit] = []
        self.omitted = 0

    def bounded_differences(self, served: bytes, mirrored: bytes) -> list[Difference]:
        """Return the differences; if some were omitted, one more of kind TOO_LARGE with the digests of both texts."""
        if not self.omitted:
            return self.differences
        whole = Difference(
            Kind.TOO_LARGE, (), digest_of(served), digest_of(mirrored), self._table, self._key, self._column
        )
        return [*self.differences, whole]

    def compare(self, served: object, mirrored: object) -> None:
        """Walk both documents from their roots."""
        self._values(served, mirrored, self._rules.root)

    def compare_texts(self, served: bytes, mirrored: bytes) -> None:
        """Walk two documents given as JSON texts.

        Raises:
            InvalidJsonError: a part that differs as bytes is not JSON.
        """
        self._texts(served, mirrored, self._rules.root)

    def _texts(self, a: bytes, b: bytes, node: Node) -> None:
        differing = None
        if not node.accepts and not node.predicates and _in_one_layout(a, b):
            differing = _differing_members(a, b)
        if differing is None:
            self._values(parse(a), parse(b), node)
            return
        for name, served, mirrored in differing:
            self._path.append(name)
            self._texts(served, mirrored, node.below(name))
            self._path.pop()

    def _values(self, a: Any, b: Any, node: Node) -> None:
        kind = type(a)
        if kind is type(b):
            if kind is dict:
                if not node.accepts or not self._ignored(a, b, node):
                    self._objects(a, b, node)
                return
            if kind is list:
                if not node.accepts or not self._ignored(a, b, node):
                    self._arrays(a, b, node)
                return
            if a == b:
                return
        self._differ(a, b, node)

    def _ignored(self, a: Any, b: Any, node: Node) -> bool:
        """Return whether a rule ignores this object or array as a whole; it is a rule hit only if the documents differ there."""
        ignoring = [rule for rule in node.payloads if type(rule.action) is Ignore]
        if not ignoring:
            return False
        holding = next((rule for rule in ignoring if rule.applies(self._when.today)), None)
        if not same(a, b):
            self._hit_rule(holding or ignoring[0], expired=holding is None)
        return holding is not None

    def _objects(self, a: dict[str, Any], b: dict[str, Any], node: Node) -> None:
        get = b.get
        missing = 0
        for name, served in a.items():
            mirrored = get(name, ABSENT)
            kind = type(served)
            if kind is type(mirrored):
                if kind is not dict and kind is not list:
                    if served != mirrored:
                        self._scalars(name, served, mirrored, node)
                    continue
            elif mirrored is ABSENT:
                missing += 1
            self._member(name, served, mirrored, node)
        if len(b) != len(a) - missing:
            for name, mirrored in b.items():
                if name not in a:
                    self._member(name, ABSENT, mirrored, node)

    def _scalars(self, name: str, served: Any, mirrored: Any, node: Node) -> None:
        """Compare two unequal members of one scalar type: the fast path of `_differ` for a first rule that allows the difference."""
        # Inlined `_below`: two equal documents in two notations ("1" and "1.0") spend their time here.
        if node.predicates:
            below = node.below(name, served, mirrored)
        else:
            children, other = node.branches or node.branch()
            below = children.get(name, other)
        if below.payloads:
            rule = below.payloads[0]
            if rule.expires is None and rule.action.allows(served, mirrored):
                if len(self.rule_hits) < RULE_HITS_MAX:
                    self.rule_hits.append(_rule_hit((rule.id, (*self._path, name), False, self._table, self._column)))
                return
        self._path.append(name)
        self._differ(served, mirrored, below)
        self._path.pop()

    def _member(self, name: str, served: Any, mirrored: Any, node: Node) -> None:
        self._path.append(name)
        self._values(served, mirrored, _below(node, name, served, mirrored))
        self._path.pop()

    def _arrays(self, a: list[Any], b: list[Any], node: Node) -> None:
        for rule in node.payloads:
            if not isinstance(rule.action, Unordered | KeyedBy):
                continue
            if not rule.applies(self._when.today):
                if not same(a, b):
                    self._hit_rule(rule, expired=True)
                continue
            if not same(a, b):
                self._hit_rule(rule)
                self._match(a, b, node, rule.action)
            return
        if len(a) == len(b):
            self._same_length(a, b, node)
        else:
            self._other_length(a, b, node)

    def _same_length(self, a: list[Any], b: list[Any], node: Node) -> None:
        before, left_out = (len(self.differences), len(self.rule_hits)), self.omitted
        for index, (served, mirrored) in enumerate(zip(a, b, strict=True)):
            self._element(index, served, mirrored, node)
        if len(self.differences) - before[0] > 1 and Counter(map(fingerprint, a)) == Counter(map(fingerprint, b)):
            del self.differences[before[0] :], self.rule_hits[before[1] :]
            self.omitted = left_out
            self._add(Kind.ORDER, a, b)

    def _other_length(self, a: list[Any], b: list[Any], node: Node) -> None:
        """Pair equal elements at both ends, and the elements in between in order.

        [1, 2, 3, 4] against [1, 3, 4]: 1 is paired at the head, 4 and 3 at the tail, and 2 is missing.
        """
        shorter = min(len(a), len(b))
        head = 0
        while head < shorter and same(a[head], b[head]):
            head += 1
        tail = 0
        while tail < shorter - head and same(a[-1 - tail], b[-1 - tail]):
            tail += 1
        self._in_order(list(range(head, len(a) - tail)), list(range(head, len(b) - tail)), a, b, node)

    def _in_order(self, left: Sequence[int], right: Sequence[int], a: list[Any], b: list[Any], node: Node) -> None:
        for i, j in zip(left, right, strict=False):
            self._element(i, a[i], b[j], node)
        for i in left[len(right) :]:
            self._element(i, a[i], ABSENT, node)
        for j in right[len(left) :]:
            self._element(j, ABSENT, b[j], node)

    def _element(self, index: int, served: Any, mirrored: Any, node: Node) -> None:
        self._path.append(index)
        self._values(served, mirrored, node if node.dead else node.below(index, served, mirrored))
        self._path.pop()

    def _match(self, a: list[Any], b: list[Any], node: Node, action: Unordered | KeyedBy) -> None:
        groups: defaultdict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        members = action.members if isinstance(action, KeyedBy) else None
        for i, item in enumerate(a):
            groups[_key_of(item, members)][0].append(i)
        for j, item in enumerate(b):
            groups[_key_of(item, members)][1].append(j)
        left: list[int] = []
        right: list[int] = []
        for ours, others in groups.values():
            if members is None:
                left += ours[len(others) :]
                right += others[len(ours) :]
            else:
                self._in_order(ours, others, a, b, node)
        self._match_by_similarity(left, right, a, b, node)

    def _match_by_similarity(self, left: list[int], right: list[int], a: list[Any], b: list[Any], node: Node) -> None:
        if left and right and self._may_match_by_similarity(left, right, a):
            pairs = sorted((len(self._walk_pair(a[i], b[j], i, node).differences), i, j) for i in left for j in right)
            for _, i, j in pairs:
                if i in left and j in right:
                    left.remove(i)
                    right.remove(j)
                    self._element(i, a[i], b[j], node)
        self._in_order(left, right, a, b, node)

    def _may_match_by_similarity(self, left: list[int], right: list[int], a: list[Any]) -> bool:
        """Return whether walking every element against every other takes a bounded time."""
        if len(left) * len(right) > GREEDY_MATCH_MAX:
            return False
        return len(right) * sum(len(fingerprint(a[i])) for i in left) <= SIMILARITY_CHARACTERS_MAX

    def _walk_pair(self, served: Any, mirrored: Any, index: int, node: Node) -> "Walk":
        trial = Walk(self._rules, self._when)
        trial._element(index, served, mirrored, node)
        return trial

    def _differ(self, a: Any, b: Any, node: Node) -> None:
        """Handle two values that differ: a rule of the place may allow it, otherwise it is a difference."""
        judged = ""
        when = self._when
        for rule in node.payloads:
            if rule.action.allows(a, b) or (when.runs is not None and allows_in(rule.action, a, b, when.runs)):
                if rule.expires is None or when.today <= rule.expires:
                    self._hit_rule(rule)
                    return
                self._hit_rule(rule, expired=True)
            judged = judged or rule.id
        if type(a) is Repeated and type(b) is Repeated and same(list(a.values), list(b.values)):
            return
        self._add(_kind(a, b), a, b, judged)

    def _add(self, kind: Kind, a: Any, b: Any, rule: str = "") -> None:
        if len(self.differences) >= DIFFERENCES_MAX:
            self.omitted += 1
            return
        self.differences.append(Difference(kind, tuple(self._path), a, b, self._table, self._key, self._column, rule))

    def _hit_rule(self, rule: CompiledRule, *, expired: bool = False) -> None:
        if len(self.rule_hits) >= RULE_HITS_MAX:
            return
        self.rule_hits.append(RuleHit(rule.id, tuple(self._path), expired, self._table, self._column))


def _below(node: Node, name: str, served: Any, mirrored: Any) -> Node:
    """Do the same as `Node.below`, with one call less for nodes without predicates."""
    if node.predicates:
        return node.below(name, served, mirrored)
    children, other = node.branches or node.branch()
    return children.get(name, other)


def _kind(a: Any, b: Any) -> Kind:
    if b is ABSENT:
        return Kind.MISSING
    if a is ABSENT:
        return Kind.EXTRA
    if type(a) is Repeated or type(b) is Repeated:
        return Kind.DUPLICATE_KEY
    return Kind.CHANGED if type(a) is type(b) and type(a) is not NonFinite else Kind.TYPE


def _key_of(item: Any, members: tuple[str, ...] | None) -> str:
    if members is None:
        return fingerprint(item)
    if not isinstance(item, dict):
        return f"value {fingerprint(item)}"
    values = cast("dict[str, object]", item)
    return f"member {fingerprint([values.get(name) for name in members])}"


def same(a: Any, b: Any) -> bool:
    """Return whether two values are exactly equal. 1, 1.0 and true are three values; 1.0 and 1.00 are one."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is dict:
        return len(a) == len(b) and all(name in b and same(value, b[name]) for name, value in a.items())
    if kind is list:
        return len(a) == len(b) and all(map(same, a, b))
    if kind is Repeated:
        return len(a.values) == len(b.values) and all(map(same, a.values, b.values))
    return a == b


def fingerprint(value: Any) -> str:
    """Return a text that two values share exactly if they are the `same`."""
    kind = type(value)
    if kind is dict:
        return "{" + ",".join(f"{value_text(n)}:{fingerprint(value[n])}" for n in sorted(value)) + "}"
    if kind is list:
        return "[" + ",".join(map(fingerprint, value)) + "]"
    if kind is Repeated:
        return "repeated" + fingerprint(list(value.values))
    if kind is str or kind is int or kind is bool or value is None:
        return value_text(value)
    return f"decimal {hash(value)} {value.normalize() if value else 0}" if kind is not NonFinite else value.name


def _in_one_layout(a: bytes, b: bytes) -> bool:
    """Return whether both texts are objects with the same white space behind the first member's name."""
    if a[:1] != b"{" or b[:1] != b"{":
        return False
    first, second = a.find(b'":') + 2, b.find(b'":') + 2
    return a[first : first + 1].isspace() == b[second : second + 1].isspace()


def _differing_members(a: bytes, b: bytes) -> list[tuple[str, bytes, bytes]] | None:
    """Return the members of two objects that differ as bytes, None if the objects have to be parsed as a whole.

    They have to if their names differ, if most members differ, or if a text does not equal its members joined again in one of the two usual
    layouts (`{"a": 1, "b": 2}` and `{"a":1,"b":2}`): it may then contain repeated members or escaped names.
    """
    try:
        left, right = _members.decode(a), _members.decode(b)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if left.keys() != right.keys():
        return None
    differing = [(name, bytes(raw), bytes(right[name])) for name, raw in left.items() if raw != right[name]]
    if len(differing) > RAW_DIFFERING_MAX and len(differing) * 2 > len(left):
        return None
    return differing if _is_joined(a, left) and _is_joined(b, right) else None


def _is_joined(text: bytes, members: dict[str, msgspec.Raw]) -> bool:
    first = len(next(iter(members), "").encode()) + 3
    colon, comma = ('": ', b", ") if text[first + 1 : first + 2] == b" " else ('":', b",")
    joined = comma.join([f'"{name}{colon}'.encode() + bytes(raw) for name, raw in members.items()])
    return b"{%b}" % joined == text


def walk(served: object, mirrored: object, rules: RuleSet, when: ComparisonTime) -> Walk:
    """Walk two documents and return the finished walk."""
    json_walk = Walk(rules, when)
    json_walk.compare(served, mirrored)
    return json_walk
