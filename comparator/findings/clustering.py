"""Group differences with one cause into findings, and rate their severity. Pure.

A finding is identified by route, kind, template of the place and shape of the change, all as seen from the candidate relative to the legacy,
so that it stays the same finding when the sides change roles. Two differences of one finding:

    stamps.Google.score   candidate null   legacy "1.5"     route v2_score, kind type, place stamps.*.score,
    stamps.Github.score   candidate null   legacy "0.7"     shape null / numeric text

Rows of a table with a declared `discriminator` are told apart by its values as well: an event of the action SCU that is missing and one of the
action LDP are two findings.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_place import Step, path_text
from comparator.exchanges.json_values import ABSENT, NonFinite, Repeated, TruncatedBody, shortened, value_text
from comparator.exchanges.model import Side
from comparator.rules.actions import moment_of, number_of
from comparator.rules.json_paths import Automaton, parse_pattern
from comparator.settings import DYNAMIC_PLACES
from comparator.tables import Table

PLACES_MAX: Final = 10_000
"""Places for which member names are counted; names at further places are always structure."""
NAMES_MAX: Final = 40
"""With more different member names than this at one place, names there count as data and are written `*`."""
DISCRIMINATORS_MAX: Final = 200
"""Most values of one table's discriminator that are told apart: a column with more, such as an id, is not a discriminator."""
DISCRIMINATOR_CHARS_MAX: Final = 60
NO_TABLES: Final[Mapping[str, Table]] = {}


class Severity(StrEnum):
    """The severity of a finding for clients of the candidate.

    Attributes:
        BROKEN: another status or type, a missing field or row, an unreadable body.
        CHANGED: another value, an extra row.
        ADDITIVE: an additional field in the candidate's response.
    """

    BROKEN = "broken"
    CHANGED = "changed"
    ADDITIVE = "additive"


class FindingState(StrEnum):
    """The state of a finding, as set by people; a fixed finding that occurs again becomes `regressed`."""

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
    }
)


@dataclass(frozen=True, slots=True)
class Signature:
    """The identity of a finding; `kind` and `shape` are those of the candidate relative to the legacy.

    Attributes:
        route: name of the route.
        kind: kind of the difference.
        place: template of the place.
        shape: shape of the change.
        table: table of a difference of rows, "" for one of the responses.
        discriminator: values of the table's `discriminator` in the row, e.g. `action=SCU`; "" for none.
    """

    route: str
    kind: Kind
    place: str
    shape: str
    table: str = ""
    discriminator: str = ""

    @property
    def id(self) -> str:
        """A short stable id: the same in every process and after every restart."""
        text = f"{self.route}\0{self.kind}\0{self.place}\0{self.shape}"
        text += f"\0{self.discriminator}" if self.discriminator else ""
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def severity(self) -> Severity:
        """The severity of the finding."""
        return severity_of(self.kind)


_WORDS: Final = {
    Kind.MISSING: "only on legacy",
    Kind.EXTRA: "only on candidate",
    Kind.MISSING_ROW: "row only on legacy",
    Kind.EXTRA_ROW: "row only on candidate",
    Kind.ORDER: "other order",
}


def change_in_words(kind: Kind, shape: str) -> str:
    """Describe a kind of difference for people: `candidate null, legacy text`, `other value (number)`, `row only on candidate`.

    Never `missing`, which depends on the side that one thinks of.
    """
    if kind in _WORDS:
        return _WORDS[kind]
    candidate, separator, legacy = shape.partition(" / ")
    if separator:
        return f"other value ({legacy})" if candidate == legacy else f"candidate {candidate}, legacy {legacy}"
    subject, notation, _ = shape.partition(", notation")
    return f"other notation of one {subject}" if notation else kind.replace("_", " ")


def severity_of(kind: Kind) -> Severity:
    """Return the severity of a kind of difference, as the candidate's relative to the legacy's."""
    if kind in _BROKEN:
        return Severity.BROKEN
    return Severity.ADDITIVE if kind is Kind.EXTRA else Severity.CHANGED


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One finding in one comparison: the number of its differences, and the first of them."""

    signature: Signature
    count: int
    example: Difference


class Clusterer:
    """Determine the findings of comparisons.

    It counts the different member names at each place to recognise names that are data, so each process uses one instance.

    Args:
        dynamic: paths at which the last member's name is data (`compare.dynamic`).
        tables: description by table, for their discriminators (`compare.tables`).
        names_max: number of different names at one place above which they count as data.
    """

    def __init__(
        self,
        dynamic: Iterable[str] = DYNAMIC_PLACES,
        *,
        tables: Mapping[str, Table] = NO_TABLES,
        names_max: int = NAMES_MAX,
    ) -> None:
        self._discriminators = {
            name: tuple((column, table.natural_key.index(column)) for column in table.discriminator)
            for name, table in tables.items()
            if table.discriminator
        }
        self._discriminated: dict[str, set[str]] = {}
        self._dynamic = Automaton(parse_pattern(path) for path in dynamic)
        self._names: dict[tuple[Step | None, ...], set[Step]] = {}
        self._names_max = names_max

    def occurrences(self, route: str, comparison: Comparison) -> tuple[Occurrence, ...]:
        """Return the findings that occur in a comparison; none unless it is a mismatch."""
        if comparison.verdict is not Verdict.MISMATCH:
            return ()
        occurrences: dict[Signature, Occurrence] = {}
        for difference in comparison.differences:
            signature = self.signature(route, comparison.served_by, difference)
            earlier = occurrences.get(signature)
            occurrences[signature] = Occurrence(
                signature, earlier.count + 1 if earlier else 1, earlier.example if earlier else difference
            )
        return tuple(occurrences.values())

    def signature(self, route: str, served_by: Side, difference: Difference) -> Signature:
        """Return the signature of the finding that a difference belongs to."""
        # With the legacy as the served side, `missing` means that the candidate lacks a value.
        oriented = difference if served_by is Side.LEGACY else difference.swapped()
        return Signature(
            route,
            oriented.kind,
            self.template(oriented),
            shape_of(oriented),
            oriented.table,
            self._discriminator(oriented),
        )

    def _discriminator(self, difference: Difference) -> str:
        columns = self._discriminators.get(difference.table)
        # (a natural key of rules that were reloaded since may be shorter)
        if columns is None or len(difference.natural_key) <= max(index for _, index in columns):
            return ""
        pairs = ((column, value_text(difference.natural_key[index]).strip('"')) for column, index in columns)
        text = ", ".join(f"{column}={shortened(value, DISCRIMINATOR_CHARS_MAX)}" for column, value in pairs)
        values = self._discriminated.setdefault(difference.table, set())
        if len(values) < DISCRIMINATORS_MAX:
            values.add(text)
        return text if text in values else ", ".join(f"{column}=*" for column, _ in columns)

    def template(self, difference: Difference) -> str:
        """Return the place with indexes and names that are data written `*`: `stamps.*.score`, `items.*.id`."""
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
    """Return whether a name looks like an address, hash, UUID or number: long with several digits, or digits only."""
    digits = sum(character.isdigit() for character in name)
    return name.isdigit() or (len(name) >= 16 and digits >= 4) or name.startswith(("0x", "v0:", "did:"))


_SHAPELESS: Final = frozenset({Kind.MISSING_ROW, Kind.EXTRA_ROW, Kind.ORDER, Kind.TOO_LARGE, Kind.TRUNCATED_TABLE})


def shape_of(difference: Difference) -> str:
    """Describe candidate and legacy, in this order: `null / text`, `500 / 200`, `number, notation`. The legacy's value is here `served`."""
    legacy, candidate = difference.served, difference.mirrored
    if difference.kind is Kind.STATUS:
        return f"{candidate} / {legacy}"
    if difference.kind in _SHAPELESS:
        return difference.kind
    if difference.kind is Kind.LATE:
        return f"{candidate} / {legacy}"
    notation = _only_notation(legacy, candidate)
    if notation:
        return f"{notation}, notation"
    return f"{_class_of(candidate)} / {_class_of(legacy)}"


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
        case str() | TruncatedBody():
            return "text"
        case _:
            return "number"


class RandomSource(Protocol):
    """The part of `random.Random` that sampling uses."""

    def randrange(self, stop: int, /) -> int:
        """Return a uniformly distributed number from 0 to `stop` - 1."""
        ...


def reservoir_slot(seen: int, size: int, random: RandomSource) -> int | None:
    """Return the slot for the `seen`-th example (counted from 1) in a reservoir of `size`, None to drop it.

    Algorithm R (Vitter 1985): the reservoir is a uniform sample of all examples seen so far.
    """
    if seen <= size:
        return seen - 1
    slot = random.randrange(seen)
    return slot if slot < size else None
