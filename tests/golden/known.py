"""The declared differences: where the scorer is told, or has reason, to do something else than the legacy did.

`known_differences.yaml` holds them. An entry explains a difference when its scenario is named (or its condition holds), and the
difference is at one of its places, written `kind place` with `*` for anything, e.g. `column registry_score.status` or
`changed stamps.*.dedup`. `row` narrows differences of rows to those whose columns have these values (`!` negates, `*` for
anything). An entry is stale, which fails the run, when the run contained what it speaks of and nothing differed there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import yaml

from comparator.difference import Difference
from tests.golden.conditions import CONDITIONS
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
    """One declared difference: for the scenarios named, or for every scenario in which the condition `when` holds."""

    name: str
    reason: str
    instead: str
    places: tuple[Place, ...]
    scenarios: tuple[str, ...] = ()
    when: str = ""

    def speaks_of(self, scenario: Scenario) -> bool:
        """Whether it may explain differences of this scenario."""
        if scenario.name in self.scenarios:
            return True
        return bool(self.when) and CONDITIONS[self.when](scenario)


@dataclass(slots=True)
class KnownDifferences:
    """All entries, and which of their places explained something in this run."""

    entries: tuple[Entry, ...]
    _met: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _used: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def split(self, scenario: Scenario, found: Iterable[Found]) -> tuple[list[tuple[Found, Entry]], list[Found]]:
        """The differences that are declared, each with its entry, and the others."""
        concerned = [entry for entry in self.entries if entry.speaks_of(scenario)]
        self._met |= {(entry.name, scenario.name) for entry in concerned}
        known: list[tuple[Found, Entry]] = []
        left: list[Found] = []
        for one in found:
            entry = next((entry for entry in concerned if self._explains(entry, one)), None)
            if entry:
                known.append((one, entry))
            else:
                left.append(one)
        return known, left

    def stale(self) -> list[str]:
        """What no longer applies, in words; empty when every entry that was met explained something."""
        words: list[str] = []
        for entry in self.entries:
            met = {scenario for name, scenario in self._met if name == entry.name}
            if not met:
                continue
            unused = [place.at for index, place in enumerate(entry.places) if (entry.name, index) not in self._used]
            whole = set(entry.scenarios) <= met
            if len(unused) == len(entry.places) and (entry.scenarios or not entry.when):
                words.append(f"{entry.name}: nothing differs any more in {', '.join(sorted(met))}")
            elif unused and whole and entry.scenarios:
                words.append(f"{entry.name}: nothing differs any more at {', '.join(unused)}")
        return words

    def _explains(self, entry: Entry, found: Found) -> bool:
        for index, place in enumerate(entry.places):
            if place.step in {None, found.step} and _is_at(place, found.difference):
                self._used.add((entry.name, index))
                return True
        return False


def load(file: Path = FILE) -> KnownDifferences:
    """Read the declared differences.

    Raises:
        msgspec.ValidationError: an entry is misspelled; the message names its path.
        ValueError: an entry names neither scenarios nor a condition, or an unknown condition.
    """
    entries = msgspec.convert(yaml.safe_load(file.read_text()) or [], tuple[Entry, ...])
    for entry in entries:
        if not entry.scenarios and not entry.when:
            raise ValueError(f"{entry.name} names neither scenarios nor a condition")
        if entry.when and entry.when not in CONDITIONS:
            raise ValueError(f"{entry.name}: there is no condition {entry.when!r}")
    return KnownDifferences(entries)


def described(difference: Difference) -> str:
    """A difference as places name it: its kind and where it is."""
    return f"{difference.kind} {difference.place}"


def _is_at(place: Place, difference: Difference) -> bool:
    if not fnmatchcase(described(difference), place.at.replace("[", "[[]")):
        return False
    values = _columns(difference)
    return all(_has(values.get(column), wanted) for column, wanted in place.row.items())


def _columns(difference: Difference) -> Mapping[str, object]:
    for value in (difference.served, difference.mirrored):
        if isinstance(value, Mapping) and not difference.column:
            return value
    return dict(zip(NATURAL_KEYS.get(difference.table, ()), difference.natural_key, strict=False))


def _has(value: object, wanted: str) -> bool:
    if wanted.startswith("!"):
        return not fnmatchcase(str(value), wanted[1:])
    return fnmatchcase(str(value), wanted)
