"""Clusters differences that have one cause into findings, and says how bad they are.

Pure. A finding is told apart by route, kind, place template and shape of change, all seen from the candidate against the
legacy, so that it stays the same finding when the sides change roles.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_place import Step, path_text
from comparator.exchanges.json_values import ABSENT, NonFinite, Repeated, value_text
from comparator.exchanges.model import Side
from comparator.rules.actions import moment_of, number_of
from comparator.rules.json_paths import Automaton, parse_pattern
from comparator.settings import DYNAMIC_PLACES
from comparator.verdict import Comparison, Verdict

PLACES_MAX: Final = 10_000
"""Places the cardinality guard remembers; the names at later places are taken as they are."""
NAMES_MAX: Final = 40
"""More different member names than this at one place, and the name counts as data."""


class Severity(StrEnum):
    """How bad a finding is for clients of the candidate.

    `broken`: other status or type, a missing field or row, an unreadable body. `changed`: other values, rows too many.
    `additive`: the candidate's response has a field or header more.
    """

    BROKEN = "broken"
    CHANGED = "changed"
    ADDITIVE = "additive"


class FindingState(StrEnum):
    """What people decided about a finding. A fixed one that is seen again is `regressed`."""

    NEW = "new"
    ACKNOWLEDGED = "acknowledged"
    FIXED = "fixed"
    REGRESSED = "regressed"


_BROKEN: Final = frozenset(
    {
        Kind.STATUS,
        Kind.TYPE,
        Kind.MISSING,
        Kind.MISSING_ROW,
        Kind.BODY,
        Kind.INVALID_BODY,
        Kind.TRUNCATED_TABLE,
        Kind.UNDESCRIBED,
    }
)


@dataclass(frozen=True, slots=True)
class Signature:
    """What makes differences one finding: `kind` and `shape` are the candidate's against the legacy's."""

    route: str
    kind: Kind
    place: str
    shape: str

    @property
    def id(self) -> str:
        """A short stable name: the same in every process and after every restart."""
        text = f"{self.route}\0{self.kind}\0{self.place}\0{self.shape}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        if self.kind in _BROKEN:
            return Severity.BROKEN
        return Severity.ADDITIVE if self.kind is Kind.EXTRA else Severity.CHANGED


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One finding seen in one comparison: how many differences, and the first of them."""

    signature: Signature
    count: int
    example: Difference


class Clusterer:
    """Finds the signatures of a comparison's differences.

    Keeps, for the cardinality guard, which member names it has seen where: one instance for each process.

    Args:
        dynamic: places whose member name is data (`compare.dynamic`).
        names_max: how many names a place may have before they count as data.
    """

    def __init__(self, dynamic: Iterable[str] = DYNAMIC_PLACES, *, names_max: int = NAMES_MAX) -> None:
        self._dynamic = Automaton(parse_pattern(path) for path in dynamic)
        self._names: dict[tuple[Step | None, ...], set[Step]] = {}
        self._names_max = names_max

    def occurrences(self, route: str, comparison: Comparison) -> tuple[Occurrence, ...]:
        """The findings a comparison shows; none unless it is a mismatch."""
        if comparison.verdict is not Verdict.MISMATCH:
            return ()
        found: dict[Signature, Occurrence] = {}
        for difference in comparison.differences:
            signature = self.signature(route, comparison.served_by, difference)
            known = found.get(signature)
            found[signature] = Occurrence(
                signature, known.count + 1 if known else 1, known.example if known else difference
            )
        return tuple(found.values())

    def signature(self, route: str, served_by: Side, difference: Difference) -> Signature:
        """The finding a difference belongs to."""
        # Seen from the legacy: what it has is "served", so that `missing` means that the candidate lacks it.
        oriented = difference if served_by is Side.LEGACY else difference.swapped()
        return Signature(route, oriented.kind, self.template(oriented), shape_of(oriented))

    def template(self, difference: Difference) -> str:
        """The place with indexes and data-like names written `*`: `stamps.*.score`, `registry_score.evidence.rawScore`."""
        outside = [name for name in (difference.table, difference.column) if name]
        steps: list[Step | None] = [*outside]
        if difference.kind in {Kind.STATUS, Kind.HEADER}:
            return path_text(difference.path) or difference.kind
        node = self._dynamic.root
        for name in outside:
            node = node.step(name)
        for step in difference.path:
            node = node.step(step)
            steps.append(None if node.accepts or self._is_data(steps, step) else step)
        return path_text(steps) or f"({difference.kind})"

    def _is_data(self, parent: Sequence[Step | None], step: Step) -> bool:
        if isinstance(step, int) or _looks_like_data(step):
            return True
        names = self._names.get(tuple(parent))
        if names is None:
            if len(self._names) >= PLACES_MAX:
                return False
            names = self._names[tuple(parent)] = set()
        if len(names) <= self._names_max:
            names.add(step)
        return len(names) > self._names_max


def _looks_like_data(name: str) -> bool:
    """Addresses, hashes, uuids, numbers: long names with several digits, or digits only."""
    digits = sum(character.isdigit() for character in name)
    return name.isdigit() or (len(name) >= 16 and digits >= 4) or name.startswith(("0x", "v0:", "did:"))


_SHAPELESS: Final = frozenset(
    {Kind.MISSING_ROW, Kind.EXTRA_ROW, Kind.ORDER, Kind.TOO_LARGE, Kind.UNDESCRIBED, Kind.TRUNCATED_TABLE}
)


def shape_of(difference: Difference) -> str:
    """What became of the legacy's value (`served` here) on the candidate: `text → null`, `200 → 500`, `number, notation`."""
    legacy, candidate = difference.served, difference.mirrored
    if difference.kind is Kind.STATUS:
        return f"{legacy} → {candidate}"
    if difference.kind in _SHAPELESS:
        return difference.kind
    if difference.kind is Kind.LATE:
        return f"{legacy} → {candidate}"
    notation = _only_notation(legacy, candidate)
    if notation:
        return f"{notation}, notation"
    return f"{_class_of(legacy)} → {_class_of(candidate)}"


def _only_notation(legacy: object, candidate: object) -> str:
    a, b = number_of(legacy), number_of(candidate)
    if a is not None and b is not None:
        return "number" if a == b else ""
    left, right = moment_of(legacy), moment_of(candidate)
    return "time" if left is not None and left == right else ""


def _class_of(value: object) -> str:
    if value is ABSENT:
        return "absent"
    match value:
        case None:
            return "null"
        case bool():
            return value_text(value)
        case dict():
            return "object"
        case list() | tuple():
            return "array"
        case NonFinite() | Repeated():
            return type(value).__name__.lower()
        case str() if moment_of(value) is not None:
            return "time"
        case str() if number_of(value) is not None:
            return "numeric text"
        case str():
            return "text"
        case _:
            return "number"


class RandomSource(Protocol):
    """What sampling needs of `random.Random`."""

    def randrange(self, stop: int, /) -> int:
        """A number from 0 up to but not including `stop`, all alike likely."""
        ...


def reservoir_slot(seen: int, size: int, random: RandomSource) -> int | None:
    """Where the `seen`-th example (from 1) goes in a reservoir of `size`, None for nowhere.

    Algorithm R (Vitter 1985): after any number of examples each has had the same chance to be kept.
    """
    if seen <= size:
        return seen - 1
    slot = random.randrange(seen)
    return slot if slot < size else None
