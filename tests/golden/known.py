"""The declared differences: behaviour of the scorer that intentionally differs from the recorded legacy.

`known_differences.yaml` holds them. An entry names the scenarios that have the difference. With a condition it applies to every
scenario that meets the condition, which also selects the steps and the names for `{provider}` and `{nullifier}`.

A place has the fields of `compare.known_differences` in config.yaml and their meaning (`path`, `status`, `header`, `table`, `column`,
`kind`, `candidate`, `legacy`), and the comparator decides whether it explains a difference. Two fields are added: `step`, and `row`
with values of the row's columns, where `*` stands for any text.

An entry is stale, which fails the run, if a scenario that it names was run and it explained nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

import msgspec
import yaml

from comparator.exchanges.difference import Difference
from comparator.exchanges.model import Side
from comparator.rules.json_paths import Automaton, parse_pattern
from comparator.rules.known_differences import CompiledKnown
from comparator.settings import KnownDifference
from tests.golden.conditions import CONDITIONS, Concern
from tests.golden.identities import NATURAL_KEYS
from tests.golden.judge import Found
from tests.golden.scenario import Scenario

FILE = Path(__file__).parent / "known_differences.yaml"


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The place of a difference, as in config.yaml; `step` counts from 0, `row` holds values of the row's columns."""

    path: str = ""
    status: bool = False
    header: str = ""
    table: str = ""
    column: str = ""
    kind: str = ""
    candidate: str | None = None
    legacy: str | None = None
    step: int | None = None
    row: dict[str, str] = {}

    def __str__(self) -> str:
        names = (name for name in self.__struct_fields__ if getattr(self, name) not in ("", False, None, {}))
        return ", ".join(f"{name}: {getattr(self, name)}" for name in names)


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One declared difference: for the named scenarios or, with `when`, for every scenario that meets that condition.

    `reason` names the sentence of the migration plan or the defect of the legacy; `instead` says what the scorer does.
    """

    name: str
    reason: str
    instead: str
    scenarios: tuple[str, ...]
    places: tuple[Place, ...]
    when: str = ""

    def concern(self, scenario: Scenario) -> Concern | None:
        """Return the concern of this scenario; None if the entry does not apply to it."""
        if self.when:
            return CONDITIONS[self.when](scenario)
        return Concern(frozenset(range(len(scenario.steps)))) if scenario.name in self.scenarios else None


@dataclass(slots=True)
class KnownDifferences:
    """All entries, the scenarios that were run, and the explained pairs (entry, scenario) and (entry, place)."""

    entries: tuple[Entry, ...]
    _run: set[str] = field(default_factory=set[str])
    _shown: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _used: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def split(self, scenario: Scenario, found: Iterable[Found]) -> tuple[list[tuple[Found, Entry]], list[Found]]:
        """Split differences into declared ones, each with its entry, and others."""
        concerned = [(entry, concern) for entry in self.entries if (concern := entry.concern(scenario))]
        self._run.add(scenario.name)
        known: list[tuple[Found, Entry]] = []
        left: list[Found] = []
        for one in found:
            explaining = [entry for entry, concern in concerned if self._explains(entry, concern, one)]
            self._shown |= {(entry.name, scenario.name) for entry in explaining}
            if explaining:
                known.append((one, explaining[0]))
            else:
                left.append(one)
        return known, left

    def stale(self) -> list[str]:
        """Describe stale entries: a scenario without its declared difference, a place where nothing differs.

        Places are checked for entries without a condition whose scenarios were all run.
        """
        words: list[str] = []
        for entry in self.entries:
            named = [scenario for scenario in entry.scenarios if scenario in self._run]
            silent = [scenario for scenario in named if (entry.name, scenario) not in self._shown]
            unused = [str(place) for index, place in enumerate(entry.places) if (entry.name, index) not in self._used]
            if silent:
                words.append(f"{entry.name}: nothing differs any more in {', '.join(silent)}")
            elif unused and not entry.when and len(named) == len(entry.scenarios):
                words.append(f"{entry.name}: nothing differs any more at {'; '.join(unused)}")
        return words

    def _explains(self, entry: Entry, concern: Concern, found: Found) -> bool:
        if found.step not in concern.steps:
            return False
        explaining = [
            index
            for index, place in enumerate(entry.places)
            if place.step in {None, found.step} and _is_at(place, concern, found.difference)
        ]
        self._used |= {(entry.name, index) for index in explaining}
        return bool(explaining)


def load(file: Path = FILE) -> KnownDifferences:
    """Read the declared differences.

    Raises:
        msgspec.ValidationError: an entry is misspelled; the message names its path.
        ValueError: an entry has neither a scenario nor a condition, an unknown condition, or a path that cannot be parsed.
    """
    entries = msgspec.convert(yaml.safe_load(file.read_text()) or [], tuple[Entry, ...])
    for entry in entries:
        if not (entry.scenarios or entry.when):
            raise ValueError(f"{entry.name} has neither a scenario that shows it nor a condition")
        if entry.when and entry.when not in CONDITIONS:
            raise ValueError(f"{entry.name}: there is no condition {entry.when!r}")
        for place in entry.places:
            parse_pattern(place.path)
    return KnownDifferences(entries)


def described(difference: Difference) -> str:
    """Return a difference in the notation of places: `kind place`."""
    return f"{difference.kind} {difference.place}"


def _is_at(place: Place, concern: Concern, difference: Difference) -> bool:
    if not any(known.explains("", Side.LEGACY, difference) for known in _compiled(place, concern)):
        return False
    values = _columns(difference)
    return all(_has(values.get(column), expected, concern) for column, expected in place.row.items())


def _compiled(place: Place, concern: Concern) -> Iterator[CompiledKnown]:
    """Generate the declaration, once for each name that may stand in its path."""
    for path in _paths(place.path, concern):
        declared = KnownDifference(
            reason="golden",
            ticket="golden",
            path=path,
            status=place.status,
            header=place.header,
            table=place.table,
            column=place.column,
            kind=place.kind,
            candidate=place.candidate,
            legacy=place.legacy,
        )
        yield CompiledKnown("", declared, Automaton([parse_pattern(path)]))


def _paths(path: str, concern: Concern) -> Iterator[str]:
    names = [name for name in concern.names if f"{{{name}}}" in path]
    if not names:
        yield path
    for name in names:
        for value in concern.names[name]:
            quoted = f"[{json.dumps(value)}]"
            yield path.replace(f".{{{name}}}", quoted).replace(f"{{{name}}}", quoted)


def _has(value: object, expected: str, concern: Concern) -> bool:
    if expected.startswith("{") and expected.endswith("}"):
        return value in concern.names.get(expected[1:-1], ())
    return fnmatchcase(str(value), expected)


def _columns(difference: Difference) -> Mapping[str, object]:
    """Return the columns of the row if the difference is a whole row, else those of its natural key."""
    key = dict(zip(NATURAL_KEYS.get(difference.table, ()), difference.natural_key, strict=False))
    rows = (value for value in (difference.served, difference.mirrored) if isinstance(value, Mapping))
    whole = next(rows, {}) if not difference.column else {}
    return dict(chain(key.items(), whole.items()))
