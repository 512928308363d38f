"""The declared differences of config.yaml, applied to recorded scenarios.

`compare.known_differences` of config.yaml declares what intentionally differs from the recorded legacy: the places, the reason, and the
conditions. `known_differences.yaml` adds what only recordings have: the scenarios that show a difference, and whether it is lasting. A
lasting one stays in all later steps of a scenario, because there, other than in production, nothing makes the rows of both sides equal after
each step.

A declaration is stale, which fails the run, if a scenario that shows it was run and it explained nothing there.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import yaml

from comparator.exchanges.difference import Difference
from comparator.exchanges.model import Side
from comparator.rules.conditions import ExchangeEvidence, Names, merged
from comparator.rules.known_differences import CompiledKnown, compile_known
from comparator.settings import CompareSettings
from comparator.tables import Table
from proxy.config.loader import load as load_settings
from tests.golden.identities import NATURAL_KEYS
from tests.golden.judge import Found
from tests.golden.scenario import Scenario
from tests.golden.textual import schema
from tests.support.paths import ROOT

FILE = Path(__file__).parent / "known_differences.yaml"


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scenarios that show a declared difference, and whether it lasts to the end of a scenario."""

    scenarios: tuple[str, ...] = ()
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One declared difference."""

    known: CompiledKnown
    shown: Shown

    @property
    def name(self) -> str:
        """The declaration's name."""
        return self.known.declared.name

    def names_by_step(self, evidence: Mapping[int, Sequence[ExchangeEvidence]]) -> Mapping[int, Names]:
        """Return what the conditions found, by each step in which the difference may occur."""
        found: dict[int, Names] = {}
        before: Names | None = None
        for step in sorted(evidence):
            here = [names for one in evidence[step] if (names := self.known.names(one)) is not None]
            if here or (self.shown.lasting and before is not None):
                found[step] = before = merged([*here, *([before] if self.shown.lasting and before else [])])
        return found


@dataclass(slots=True)
class KnownDifferences:
    """All entries, and the scenarios that were run and those that showed an entry."""

    entries: tuple[Entry, ...]
    _run: set[str] = field(default_factory=set[str])
    _shown: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def split(
        self, scenario: Scenario, found: Iterable[Found], evidence: Mapping[int, Sequence[ExchangeEvidence]]
    ) -> tuple[list[tuple[Found, Entry]], list[Found]]:
        """Split differences into declared ones, each with its entry, and others.

        Args:
            scenario: the scenario.
            found: its differences, the legacy's value as the served one.
            evidence: of each call, by step.
        """
        holding = [(entry, entry.names_by_step(evidence)) for entry in self.entries]
        self._run.add(scenario.name)
        known: list[tuple[Found, Entry]] = []
        left: list[Found] = []
        for one in found:
            explaining = [
                entry
                for entry, names in holding
                if one.step in names and entry.known.explains(Side.LEGACY, one.difference, names[one.step])
            ]
            self._shown |= {(entry.name, scenario.name) for entry in explaining}
            if explaining:
                known.append((one, explaining[0]))
            else:
                left.append(one)
        return known, left

    def stale(self) -> list[str]:
        """Describe stale entries: a scenario that was run without showing its declared difference."""
        silent = {
            entry.name: [name for name in entry.shown.scenarios if name in self._run - self._showing(entry)]
            for entry in self.entries
        }
        return [f"{name}: nothing differs any more in {', '.join(names)}" for name, names in silent.items() if names]

    def _showing(self, entry: Entry) -> set[str]:
        return {scenario for name, scenario in self._shown if name == entry.name}


def load(file: Path = FILE, compare: CompareSettings | None = None) -> KnownDifferences:
    """Read the declared differences.

    Args:
        file: the scenarios by declaration.
        compare: with the declarations; None: those of config.yaml.

    Raises:
        msgspec.ValidationError: the file is misspelled; the message names the path.
        RuleError: a declaration is wrong.
        ValueError: the file and the declarations do not have the same names.
    """
    declared = compare or load_settings((ROOT / "config.yaml").read_text(), os.environ).compare
    shown = msgspec.convert(yaml.safe_load(file.read_text()) or {}, dict[str, Shown])
    compiled = compile_known(msgspec.structs.replace(declared, tables=tables()))
    if odd := {one.declared.name for one in compiled} ^ shown.keys():
        raise ValueError(f"not both in compare.known_differences and in {file.name}: {', '.join(sorted(odd))}")
    return KnownDifferences(tuple(Entry(one, shown[one.declared.name]) for one in compiled))


def tables() -> dict[str, Table]:
    """Return the tables of the recordings, with the natural keys by which their rows are compared."""
    return {
        name: Table(natural_key=NATURAL_KEYS.get(name, tuple(facts["primary_key"]))) for name, facts in schema().items()
    }


def described(difference: Difference) -> str:
    """Return a difference in the notation of places: `kind place`."""
    return f"{difference.kind} {difference.place}"
