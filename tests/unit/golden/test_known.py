"""Declared differences: what they explain in a recorded scenario, and when they are stale."""

from pathlib import Path

import msgspec
import pytest

from comparator.exchanges.difference import Difference, Kind
from comparator.rules.conditions import ExchangeEvidence
from comparator.settings import CompareSettings, Condition, KnownDifference, KnownPlace
from tests.golden.judge import Found
from tests.golden.known import Entry, KnownDifferences, Shown, compile_known, load, tables
from tests.golden.scenario import Call, Scenario, Step
from tests.support.golden_evidence import evidence_of_scenario

STATUS = Found(1, Difference(Kind.COLUMN, (), "ERROR", "DONE", "registry_score", (), "status"))
LINK = Found(0, Difference(Kind.EXTRA_ROW, mirrored={"hash": "v1:x"}, table="registry_hashscorerlink"))
AT_STATUS = KnownPlace(table="registry_score", column="status", kind="column")
HISTORY = Condition(of="request", target="/history")


def scenario(name: str, *targets: str) -> Scenario:
    calls = [Call("GET", target, (), b"", {"status": 200, "headers": {}}) for target in targets or ("/0xaa", "/0xaa")]
    return Scenario(name, {}, {}, tuple(Step((call,)) for call in calls))


def declared(*places: KnownPlace, when: tuple[Condition, ...] = (), lasting: bool = False) -> KnownDifferences:
    one = KnownDifference(name="one", reason="r", where=places, when=when)
    (known,) = compile_known(CompareSettings(known_differences=(one,), tables=tables()))
    return KnownDifferences((Entry(known, Shown(("here",), lasting)),))


def evidence(of: Scenario) -> dict[int, list[ExchangeEvidence]]:
    return evidence_of_scenario(of)


def split(known: KnownDifferences, of: Scenario, found: list[Found]) -> tuple[list[Found], list[Found]]:
    explained, left = known.split(of, found, evidence(of))
    return [one for one, _ in explained], left


def test_difference_at_a_declared_place_is_known():
    assert split(declared(AT_STATUS), scenario("here"), [STATUS]) == ([STATUS], [])


def test_declaration_also_explains_scenarios_that_are_not_named():
    assert split(declared(AT_STATUS), scenario("unseen"), [STATUS]) == ([STATUS], [])


def test_difference_at_another_place_is_not_known():
    other = KnownPlace(table="registry_score", column="error", kind="column")
    assert split(declared(other), scenario("here"), [STATUS]) == ([], [STATUS])


@pytest.mark.parametrize(("expected", "known"), [("v1.*", True), ("v0.*", False)])
def test_row_is_known_by_its_columns(expected: str, known: bool):
    place = KnownPlace(table="registry_hashscorerlink", kind="extra_row", row={"hash": expected})
    assert split(declared(place), scenario("here"), [LINK])[known] == []


def test_condition_selects_its_steps():
    at = [Found(step, STATUS.difference) for step in range(3)]
    known, left = split(declared(AT_STATUS, when=(HISTORY,)), scenario("here", "/", "/history", "/"), at)
    assert (known, left) == ([at[1]], [at[0], at[2]])


def test_lasting_difference_stays_in_the_later_steps():
    at = [Found(step, STATUS.difference) for step in range(3)]
    of = scenario("here", "/", "/history", "/")
    assert split(declared(AT_STATUS, when=(HISTORY,), lasting=True), of, at) == (at[1:], at[:1])


def test_entry_that_explained_nothing_is_stale():
    known = declared(AT_STATUS)
    split(known, scenario("here"), [])
    assert known.stale() == ["one: nothing differs any more in here"]


def test_entry_that_explained_something_is_not_stale():
    known = declared(AT_STATUS)
    split(known, scenario("here"), [STATUS])
    assert known.stale() == []


def test_scenario_that_is_not_named_makes_no_entry_stale():
    known = declared(AT_STATUS)
    split(known, scenario("unseen"), [])
    assert known.stale() == []


def test_entry_whose_scenarios_did_not_run_is_not_stale():
    known = declared(AT_STATUS)
    split(known, scenario("there"), [STATUS])
    assert known.stale() == []


def test_every_declaration_of_the_configuration_has_an_entry():
    assert all(entry.known.declared.instead and entry.known.reason for entry in load().entries)


def test_entry_without_a_declaration_is_refused(tmp_path: Path):
    file = tmp_path / "known.yaml"
    file.write_text("{odd: {}}")
    with pytest.raises(ValueError, match="odd"):
        load(file, CompareSettings())


def test_misspelled_entry_is_refused(tmp_path: Path):
    file = tmp_path / "known.yaml"
    file.write_text("{odd: {scenario: [x]}}")
    with pytest.raises(msgspec.ValidationError, match="scenario"):
        load(file)
