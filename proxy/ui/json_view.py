"""Align two responses by path for people, from the comparator's own differences. Pure.

What the comparator has paired stands beside each other, candidate left and legacy right, whichever served; what it has not found to differ
is folded. So the view never contradicts the verdict:

    candidate                      legacy
    ... 1 equal member: address                            folded
    "score": "6.46300"         ≠   "score": "3.76300"      differs
    "passing_score": true          "passing_score": true   a single equal member between two others stays
    "time": "04:00:30.93"      ≈   "time": "04:00:31.26"   suppressed: allowed by a rule, which is named
    "stamps": {                    "stamps": {
      "Gold": {...}            +   absent                  only on one side

It walks the served document; the mirrored side's values come from the differences. Values that a rule allows to differ are looked up on the
mirrored side by the same path, except behind an array whose elements were paired otherwise.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

from comparator.exchanges.comparison import Comparison, ExplainedDifference
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_place import Path, Step, path_text
from comparator.exchanges.json_values import ABSENT, Repeated, value_text
from comparator.exchanges.model import Side
from proxy.ui.marked_text import Parts, compared, cut, marked, plain
from proxy.ui.rule_words import RuleWords, distance, words_of

LINES_MAX: Final = 400
"""Lines of one document; the places beyond are counted."""
VALUE_LINES_MAX: Final = 40
"""Lines of one value that is only on one side."""
NAMES_MAX: Final = 8
"""Equal members that a fold names."""
NAME_CHARS_MAX: Final = 60


class Sign(StrEnum):
    """The meaning of a line.

    Attributes:
        EQUAL: both sides have it.
        DIFFERS: the sides have different values.
        ONLY: one side has it.
        SUPPRESSED: the sides differ, and a rule or a declaration allows it.
        FOLD: stands for equal members or elements.
        LEFT_OUT: stands for what is not shown.
    """

    EQUAL = "equal"
    DIFFERS = "differs"
    ONLY = "only"
    SUPPRESSED = "suppressed"
    FOLD = "fold"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of both sides.

    Attributes:
        sign: its meaning.
        depth: its indentation, in levels.
        candidate: the candidate's text, None where it has nothing.
        legacy: the legacy's text, None where it has nothing.
        why: why it differs, or what allows it.
        place: the place as config.yaml names it, on the first line of each difference; "" else.
        first: the first line of a value that is absent on the other side.
    """

    sign: Sign
    depth: int
    candidate: Parts | None
    legacy: Parts | None
    why: str = ""
    place: str = ""
    first: bool = True


@dataclass(frozen=True, slots=True)
class JsonView:
    """Both documents, aligned.

    Attributes:
        lines: the lines, at most LINES_MAX and a few.
        differing: places that differ.
        suppressed: places that differ and are allowed to.
        equal: members and elements beside these that are equal.
        left_out: places that are not shown.
    """

    lines: tuple[DiffLine, ...]
    differing: int
    suppressed: int
    equal: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A place at which the sides differ: the values of the serving and the mirrored side."""

    sign: Sign
    path: Path
    served: object
    mirrored: object
    why: str
    place: str


@dataclass(slots=True)
class _Node:
    """The marks at and below one place.

    Attributes:
        mark: the mark of the place itself.
        note: a rule that applies to the array or object without hiding it, e.g. that its order is not compared.
        only_mirrored: a value that only the mirrored side has at this place; of an array its index is that of the mirrored array.
        children: by step.
    """

    mark: Mark | None = None
    note: str = ""
    only_mirrored: Mark | None = None
    children: dict[Step, "_Node"] = field(default_factory=dict[Step, "_Node"])

    def count(self) -> int:
        """Return the number of marks at and below."""
        own = (self.mark is not None) + (self.only_mirrored is not None)
        return own + sum(child.count() for child in self.children.values())


def response_marks(comparison: Comparison, rules: Mapping[str, RuleWords]) -> Iterator[Mark]:
    """Yield the places of the bodies at which a comparison found the sides to differ.

    Args:
        comparison: the comparison.
        rules: words of the rules (`rules_in_words`).
    """
    for difference in comparison.differences:
        if _is_of_body(difference):
            yield _mark(difference, _sign(difference), why_of(difference, comparison.served_by))
    for known in comparison.known:
        if _is_of_body(known.difference):
            why = known_words(known)
            yield _mark(known.difference, Sign.SUPPRESSED, why)
    for hit in comparison.rule_hits:
        if not hit.table and not hit.expired:
            why = words_of(rules, hit.rule).line
            yield Mark(Sign.SUPPRESSED, hit.path, ABSENT, ABSENT, why, path_text(hit.path))


def known_words(known: ExplainedDifference) -> str:
    """Say that a difference is known, with its ticket and reason."""
    return f"known{f' [{known.ticket}]' if known.ticket else ''}: {known.reason}"


def _is_of_body(difference: Difference) -> bool:
    return not difference.table and difference.kind not in {Kind.STATUS, Kind.HEADER}


def _mark(difference: Difference, sign: Sign, why: str) -> Mark:
    return Mark(
        sign,
        difference.path,
        difference.served,
        difference.mirrored,
        why,
        path_text(difference.path) or difference.place,
    )


def _sign(difference: Difference) -> Sign:
    return Sign.ONLY if difference.kind in {Kind.MISSING, Kind.EXTRA} else Sign.DIFFERS


_WORDS: Final = {
    Kind.TYPE: "another type",
    Kind.ORDER: "another order",
    Kind.TOO_LARGE: "more differences than are kept",
    Kind.DUPLICATE_KEY: "a member name occurs twice",
    Kind.BODY: "another kind of body, or compared as a whole",
    Kind.INVALID_BODY: "cannot be read",
    Kind.TRUNCATED: "only the beginning was recorded",
}


def why_of(difference: Difference, served_by: Side) -> str:
    """Say in a few words how the sides differ at a place."""
    if difference.kind in {Kind.MISSING, Kind.EXTRA, Kind.MISSING_ROW, Kind.EXTRA_ROW}:
        side = served_by if difference.mirrored is ABSENT else served_by.other
        return f"only on {side}"
    words = _WORDS.get(difference.kind) or distance(difference.served, difference.mirrored)
    return f"{words}, beyond {difference.rule}" if difference.rule else words


class _Lines:
    """Collects lines with a bound, in the roles' order; `oriented` puts the candidate left."""

    def __init__(self, served_by: Side) -> None:
        self._swap = served_by is Side.LEGACY
        self.lines: list[DiffLine] = []
        self.equal = 0
        self.left_out = 0

    @property
    def full(self) -> bool:
        return len(self.lines) >= LINES_MAX

    def add(
        self,
        sign: Sign,
        depth: int,
        served: Parts | None,
        mirrored: Parts | None,
        *,
        why: str = "",
        place: str = "",
        first: bool = True,
    ) -> None:
        candidate, legacy = (mirrored, served) if self._swap else (served, mirrored)
        self.lines.append(DiffLine(sign, depth, candidate, legacy, why, place, first))

    def both(self, depth: int, text: str, *, why: str = "") -> None:
        self.add(Sign.EQUAL, depth, plain(text), plain(text), why=why)

    def one(self, sign: Sign, depth: int, text: str) -> None:
        """Add a line that stands for both sides."""
        self.lines.append(DiffLine(sign, depth, plain(text, 1_000), None))


def json_view(
    served: object, mirrored: object, marks: Iterable[Mark], *, served_by: Side, is_document: bool = True
) -> JsonView:
    """Align two documents.

    Args:
        served: the serving side's document, as the comparator parses it.
        mirrored: the mirrored side's document.
        marks: the places at which they differ (`response_marks`).
        served_by: the serving side.
        is_document: both are documents that can be walked; False: only the marks are shown.
    """
    listed = list(marks)
    root = _tree(listed)
    lines = _Lines(served_by)
    whole = root.mark
    if not listed:
        lines.one(Sign.FOLD, 0, "both sides are equal")
    if root.children and whole is not None and whole.sign is not Sign.SUPPRESSED:
        # (beside places inside, a difference of the whole says that there are more of them than are kept)
        root.mark = None
    if root.mark is not None or (root.children and is_document):
        # (the braces of the whole document say nothing)
        bare = _is_object(served) and root.mark is None and not root.note
        _walk(lines, served, mirrored, root, -1 if bare else 0, "", "")
    elif root.children:
        lines.left_out += root.count()
    if whole is not root.mark and whole is not None:
        _value_lines(lines, whole, 0, "", "")
    if lines.left_out:
        lines.one(Sign.LEFT_OUT, 0, f"{lines.left_out:,} more places differ, and are not shown here")
    return JsonView(
        tuple(lines.lines),
        sum(mark.sign is not Sign.SUPPRESSED for mark in listed),
        sum(mark.sign is Sign.SUPPRESSED for mark in listed),
        lines.equal,
        lines.left_out,
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _tree(marks: Iterable[Mark]) -> _Node:
    root = _Node()
    for mark in marks:
        node = root
        for step in mark.path:
            node = node.children.setdefault(step, _Node())
        if mark.sign is not Sign.SUPPRESSED and mark.served is ABSENT and mark.mirrored is not ABSENT:
            node.only_mirrored = mark
        elif mark.sign is Sign.SUPPRESSED and mark.served is mark.mirrored is ABSENT and (node.mark or node.note):
            node.note = node.note or mark.why
        else:
            node.mark = mark
    return root


def _walk(lines: _Lines, served: object, mirrored: object, node: _Node, depth: int, label: str, comma: str) -> None:
    """Add the lines of a value that differs somewhere; `mirrored` is ABSENT where the pair is not known."""
    if lines.full:
        lines.left_out += node.count()
        return
    mark = node.mark
    if mark is not None and not (mark.sign is Sign.SUPPRESSED and node.children):
        _value_lines(lines, _with_values(mark, served, mirrored), depth, label, comma)
        return
    why = mark.why if mark is not None else node.note
    if isinstance(served, dict):
        _walk_object(lines, cast("dict[str, Any]", served), mirrored, node, depth, label, comma, why)
    elif isinstance(served, list):
        _walk_array(lines, cast("list[Any]", served), mirrored, node, depth, label, comma, why)
    else:
        # (the differences lie inside of a value that cannot be walked, e.g. a repeated member)
        lines.left_out += node.count()


def _with_values(mark: Mark, served: object, mirrored: object) -> Mark:
    """Return a mark with the values of its place, if it has none: a rule hit names its place only."""
    if mark.sign is not Sign.SUPPRESSED or mark.served is not ABSENT or mark.mirrored is not ABSENT:
        return mark
    apart = distance(served, mirrored)
    why = f"{mark.why}: {apart}" if apart else mark.why
    return Mark(mark.sign, mark.path, served, mirrored, why, mark.place)


def _walk_object(
    lines: _Lines,
    served: dict[str, Any],
    mirrored: object,
    node: _Node,
    depth: int,
    label: str,
    comma: str,
    why: str,
) -> None:
    others = cast("dict[str, Any]", mirrored) if isinstance(mirrored, dict) else {}
    added = [name for name, child in node.children.items() if child.only_mirrored is not None or name not in served]
    names = [*served, *(name for name in added if name not in served)]
    if depth >= 0:
        lines.both(depth, f"{label}{{", why=why)
    run: list[Step] = []
    shown = False
    for number, name in enumerate(names):
        child = node.children.get(name)
        if child is None:
            run.append(name)
            continue
        _equal_run(lines, served, run, depth + 1, between=shown)
        run, shown = [], True
        end = "," if number < len(names) - 1 else ""
        _child(lines, served.get(str(name), ABSENT), others.get(str(name), ABSENT), child, depth + 1, _label(name), end)
    _equal_run(lines, served, run, depth + 1, between=False)
    if depth >= 0:
        lines.both(depth, f"}}{comma}")


def _walk_array(
    lines: _Lines,
    served: list[Any],
    mirrored: object,
    node: _Node,
    depth: int,
    label: str,
    comma: str,
    why: str,
) -> None:
    others = cast("list[Any]", mirrored) if isinstance(mirrored, list) else []
    # With another length, or matched by a rule, elements are paired in a way that the place alone does not say.
    paired = len(others) == len(served) and not why
    last = max([len(served) - 1, *(step for step in node.children if isinstance(step, int))])
    lines.both(depth, f"{label}[", why=why)
    run: list[Step] = []
    shown = False
    for index in range(last + 1):
        child = node.children.get(index)
        if child is None:
            run.append(index)
            continue
        _equal_run(lines, served, run, depth + 1, between=shown)
        run, shown = [], True
        own = served[index] if index < len(served) else ABSENT
        # (a difference may lie behind the end of both, in elements that a rule has paired elsewhere)
        other = others[index] if paired and index < len(others) else ABSENT
        _child(lines, own, other, child, depth + 1, f"[{index}] ", ",")
    _equal_run(lines, served, run, depth + 1, between=False)
    lines.both(depth, f"]{comma}")


def _child(lines: _Lines, served: object, mirrored: object, child: _Node, depth: int, label: str, comma: str) -> None:
    if child.mark is not None or child.children:
        _walk(lines, served, mirrored, child, depth, label, comma)
    elif served is not ABSENT and child.only_mirrored is not None:
        lines.equal += 1
    if child.only_mirrored is not None:
        if lines.full:
            lines.left_out += 1
        else:
            _value_lines(lines, child.only_mirrored, depth, label, comma)


def _equal_run(lines: _Lines, served: Any, run: Sequence[Step], depth: int, *, between: bool) -> None:
    """Add equal members: one between two differences stands as it is, others are folded."""
    if not run:
        return
    lines.equal += len(run)
    if lines.full:
        return
    only = served[run[0]] if len(run) == 1 and between else None
    if only is not None and not isinstance(only, dict | list | Repeated):
        label = _label(run[0]) if isinstance(run[0], str) else f"[{run[0]}] "
        lines.both(depth, f"{label}{value_text(only)},")
        return
    lines.one(Sign.FOLD, depth, folded(run))


def folded(run: Sequence[Step]) -> str:
    """Name equal members or elements: `3 equal members: a, b, c`, `12 equal elements: [3] to [14]`."""
    if isinstance(run[0], int):
        first, last = run[0], run[-1]
        names = f"[{first}]" if first == last else f"[{first}] to [{last}]"
        return f"{len(run):,} equal element{'s' * (len(run) > 1)}: {names}"
    names = ", ".join(cut(str(name), NAME_CHARS_MAX) for name in run[:NAMES_MAX])
    more = f" and {len(run) - NAMES_MAX:,} more" if len(run) > NAMES_MAX else ""
    return f"{len(run):,} equal member{'s' * (len(run) > 1)}: {names}{more}"


def _label(name: Step) -> str:
    return f"{cut(json.dumps(name, ensure_ascii=not str(name).isprintable()), 200)}: "


def _value_lines(lines: _Lines, mark: Mark, depth: int, label: str, comma: str) -> None:
    served, mirrored = mark.served, mark.mirrored
    if mark.sign is Sign.SUPPRESSED:
        served, mirrored = _summary(served), _summary(mirrored)
    if not (_is_container(served) or _is_container(mirrored)):
        left, right = _scalars(served, mirrored, label, comma)
        lines.add(mark.sign, depth, left, right, why=mark.why, place=mark.place)
        return
    texts = [_pretty(value, label, comma) for value in (served, mirrored)]
    height = max(map(len, texts))
    for number in range(height):
        indent, left = _nth(texts[0], number)
        other_indent, right = _nth(texts[1], number)
        first = number == 0
        lines.add(
            mark.sign,
            depth + max(indent, other_indent),
            marked(left) if left is not None else None,
            marked(right) if right is not None else None,
            why=mark.why if first else "",
            place=mark.place if first else "",
            first=first,
        )


def _scalars(served: object, mirrored: object, label: str, comma: str) -> tuple[Parts | None, Parts | None]:
    left, right = _text(served), _text(mirrored)
    if served is ABSENT or mirrored is ABSENT:
        one = (*plain(label), *marked(left or right), *plain(comma))
        return (None, one) if served is ABSENT else (one, None)
    own, other = compared(left, right)
    if left == right:
        # (two values with one text, e.g. a number and a text of a number in our own notation)
        own, other = marked(left), marked(right)
    return (*plain(label), *own, *plain(comma)), (*plain(label), *other, *plain(comma))


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list) and len(cast("Sequence[Any]", value)) > 0


def _summary(value: object) -> object:
    """Return what stands for a value that a rule allows to differ: of an object or array its size alone."""
    if isinstance(value, dict):
        return _Size(f"{{{len(cast('dict[str, Any]', value)):,} members}}")
    if isinstance(value, list):
        return _Size(f"[{len(cast('list[Any]', value)):,} elements]")
    return value


@dataclass(frozen=True, slots=True)
class _Size:
    """Stands for an object or array."""

    text: str


def _text(value: object) -> str:
    return value.text if isinstance(value, _Size) else value_text(value)


def _nth(texts: Sequence[tuple[int, str]], number: int) -> tuple[int, str | None]:
    return texts[number] if number < len(texts) else (0, None)


def _pretty(value: object, label: str, comma: str) -> list[tuple[int, str]]:
    """Return the lines of a value, each with its level, at most VALUE_LINES_MAX; none for an absent value."""
    if value is ABSENT:
        return []
    lines: list[tuple[int, str]] = []
    for line in _written(value, 0, label, comma):
        if len(lines) == VALUE_LINES_MAX:
            lines.append((0, f"… {_size(value) - VALUE_LINES_MAX:,} more lines"))
            break
        lines.append(line)
    return lines


def _size(value: object) -> int:
    """Return the number of lines of a value."""
    match value:
        case dict() if value:
            return 2 + sum(map(_size, cast("dict[str, Any]", value).values()))
        case list() if value:
            return 2 + sum(map(_size, cast("list[Any]", value)))
        case _:
            return 1


def _written(value: object, level: int, label: str, comma: str) -> Iterator[tuple[int, str]]:
    match value:
        case dict() if value:
            members = cast("dict[str, Any]", value)
            yield level, f"{label}{{"
            for number, (name, item) in enumerate(members.items(), 1):
                yield from _written(item, level + 1, _label(name), "," if number < len(members) else "")
            yield level, f"}}{comma}"
        case list() if value:
            items = cast("list[Any]", value)
            yield level, f"{label}["
            for number, item in enumerate(items, 1):
                yield from _written(item, level + 1, "", "," if number < len(items) else "")
            yield level, f"]{comma}"
        case _:
            yield level, f"{label}{value_text(value)}{comma}"
