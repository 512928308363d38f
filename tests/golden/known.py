"""The declared differences: where the scorer is told, or has reason, to do something else than the legacy did.

`known_differences.yaml` holds them. An entry names the scenarios that show the difference, and may have a condition: then it speaks
of every scenario in which the condition holds, which also says in which steps, and which names may stand for `{provider}` and
`{nullifier}`. A place is written `kind place` with `*` for anything, e.g. `column registry_score.status` or
`changed stamps.{provider}.dedup`; `row` narrows it to rows whose columns have these values. An entry is stale, which fails the
run, when a scenario that it names was run and it explained nothing there.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

import msgspec
import yaml

from comparator.exchanges.difference import Difference
from comparator.exchanges.json_place import path_text
from tests.golden.conditions import CONDITIONS, Concern
from tests.golden.identities import NATURAL_KEYS
from tests.golden.judge import Found
from tests.golden.scenario import Scenario

FILE = Path(__file__).parent / "known_differences.yaml"


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and what. `at` is `kind place`; `step` counts from 0; `row` are values of the row's columns."""

    at: str
    step: int | None = None
    row: dict[str, str] = {}


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One declared difference: for the scenarios named, or with `when` for every scenario in which that condition holds.

    `reason` says which sentence of the migration plan, or which defect of the legacy; `instead` what the scorer does.
    """

    name: str
    reason: str
    instead: str
    scenarios: tuple[str, ...]
    places: tuple[Place, ...]
    when: str = ""

    def concern(self, scenario: Scenario) -> Concern | None:
        """Where it may explain differences of this scenario; None when it does not speak of it."""
        if self.when:
            return CONDITIONS[self.when](scenario)
        return Concern(frozenset(range(len(scenario.steps)))) if scenario.name in self.scenarios else None


@dataclass(slots=True)
class KnownDifferences:
    """All entries, which scenarios were run, and what each entry explained: (entry, scenario) and (entry, place)."""

    entries: tuple[Entry, ...]
    _run: set[str] = field(default_factory=set[str])
    _shown: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _used: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def split(self, scenario: Scenario, found: Iterable[Found]) -> tuple[list[tuple[Found, Entry]], list[Found]]:
        """The differences that are declared, each with its entry, and the others."""
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
        """What no longer applies, in words: a scenario that no longer shows its entry, a place where nothing differs.

        Places are judged where an entry has no condition and all its scenarios were run.
        """
        words: list[str] = []
        for entry in self.entries:
            named = [scenario for scenario in entry.scenarios if scenario in self._run]
            silent = [scenario for scenario in named if (entry.name, scenario) not in self._shown]
            unused = [place.at for index, place in enumerate(entry.places) if (entry.name, index) not in self._used]
            if silent:
                words.append(f"{entry.name}: nothing differs any more in {', '.join(silent)}")
            elif unused and not entry.when and len(named) == len(entry.scenarios):
                words.append(f"{entry.name}: nothing differs any more at {', '.join(unused)}")
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
        ValueError: an entry names no scenario, or an unknown condition.
    """
    entries = msgspec.convert(yaml.safe_load(file.read_text()) or [], tuple[Entry, ...])
    for entry in entries:
        if not entry.scenarios:
            raise ValueError(f"{entry.name} names no scenario that shows it")
        if entry.when and entry.when not in CONDITIONS:
            raise ValueError(f"{entry.name}: there is no condition {entry.when!r}")
    return KnownDifferences(entries)


def described(difference: Difference) -> str:
    """A difference as places name it: its kind and where it is."""
    return f"{difference.kind} {difference.place}"


def _is_at(place: Place, concern: Concern, difference: Difference) -> bool:
    where = described(difference)
    if not any(fnmatchcase(where, pattern) for pattern in _patterns(place.at, concern)):
        return False
    values = _columns(difference)
    return all(_has(values.get(column), wanted, concern) for column, wanted in place.row.items())


def _patterns(at: str, concern: Concern) -> Iterator[str]:
    """The place once for each name it may speak of, as a pattern."""
    literal = at.replace("[", "[[]")
    names = [name for name in concern.names if f"{{{name}}}" in at]
    if not names:
        yield literal
    for name in names:
        for value in concern.names[name]:
            step = path_text([value])
            written = f".{step}" if not step.startswith("[") else step
            yield literal.replace(f".{{{name}}}", _escaped(written)).replace(f"{{{name}}}", _escaped(value))


def _has(value: object, wanted: str, concern: Concern) -> bool:
    if wanted.startswith("{") and wanted.endswith("}"):
        return value in concern.names.get(wanted[1:-1], ())
    return fnmatchcase(str(value), wanted)


def _escaped(text: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in text)


def _columns(difference: Difference) -> Mapping[str, object]:
    """The row's columns where the difference is a row, else those of its natural key."""
    key = dict(zip(NATURAL_KEYS.get(difference.table, ()), difference.natural_key, strict=False))
    rows = (value for value in (difference.served, difference.mirrored) if isinstance(value, Mapping))
    whole = next(rows, {}) if not difference.column else {}
    return dict(chain(key.items(), whole.items()))
