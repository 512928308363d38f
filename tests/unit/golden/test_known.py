"""Declared differences: what they explain, and when they are stale."""

import msgspec
import pytest

from comparator.difference import Difference, Kind
from tests.golden.judge import Found
from tests.golden.known import Entry, KnownDifferences, Place, load
from tests.golden.scenario import Scenario

STATUS = Found(1, Difference(Kind.COLUMN, (), "ERROR", "DONE", "registry_score", (), "status"))
LINK = Found(0, Difference(Kind.EXTRA_ROW, mirrored={"hash": "v1:x"}, table="registry_hashscorerlink"))


def scenario(name: str, *, multi: str = "off", nullifier: str = "v1:x") -> Scenario:
    stamp = {"credentialSubject": {"nullifiers": [nullifier]}}
    return Scenario(name, {"FF_MULTI_NULLIFIER": multi}, {"ceramic_cache_ceramiccache": [{"stamp": stamp}]}, ())


def entry(*places: Place, scenarios: tuple[str, ...] = ("here",), when: str = "") -> Entry:
    return Entry(name="one", reason="because", instead="this", places=places, scenarios=scenarios, when=when)


def declared(*places: Place, scenarios: tuple[str, ...] = ("here",), when: str = "") -> KnownDifferences:
    return KnownDifferences((entry(*places, scenarios=scenarios, when=when),))


def test_a_difference_at_a_declared_place_is_known():
    known, left = declared(Place(at="column registry_score.status")).split(scenario("here"), [STATUS])
    assert ([one for one, _ in known], left) == ([STATUS], [])


def test_the_same_difference_in_another_scenario_is_not():
    known, left = declared(Place(at="column registry_score.status")).split(scenario("there"), [STATUS])
    assert (known, left) == ([], [STATUS])


def test_a_difference_at_another_step_is_not():
    _, left = declared(Place(at="column registry_score.status", step=0)).split(scenario("here"), [STATUS])
    assert left == [STATUS]


def test_a_difference_at_another_place_is_not():
    _, left = declared(Place(at="column registry_score.error")).split(scenario("here"), [STATUS])
    assert left == [STATUS]


def test_a_row_is_known_by_its_columns():
    known, _ = declared(Place(at="extra_row *", row={"hash": "!v0*"})).split(scenario("here"), [LINK])
    assert [one for one, _ in known] == [LINK]


def test_a_row_with_other_columns_is_not():
    _, left = declared(Place(at="extra_row *", row={"hash": "v0*"})).split(scenario("here"), [LINK])
    assert left == [LINK]


def test_a_condition_concerns_scenarios_nobody_named():
    known, _ = declared(Place(at="extra_row *"), scenarios=(), when="counts_other_nullifiers").split(
        scenario("unseen"), [LINK]
    )
    assert [one for one, _ in known] == [LINK]


def test_a_condition_that_does_not_hold_concerns_nothing():
    _, left = declared(Place(at="extra_row *"), scenarios=(), when="counts_other_nullifiers").split(
        scenario("unseen", multi="on"), [LINK]
    )
    assert left == [LINK]


def test_an_entry_that_explained_nothing_is_stale():
    known = declared(Place(at="column registry_score.status"))
    known.split(scenario("here"), [])
    assert known.stale() == ["one: nothing differs any more in here"]


def test_a_place_that_explained_nothing_is_stale():
    known = declared(Place(at="column registry_score.status"), Place(at="changed error"))
    known.split(scenario("here"), [STATUS])
    assert known.stale() == ["one: nothing differs any more at changed error"]


def test_an_entry_whose_scenarios_were_not_run_is_not_stale():
    known = declared(Place(at="column registry_score.status"))
    known.split(scenario("there"), [STATUS])
    assert known.stale() == []


def test_the_repository_declares_only_what_can_be_read():
    assert all(one.reason and one.instead and one.places for one in load().entries)


def test_an_entry_without_a_reason_is_refused():
    with pytest.raises(msgspec.ValidationError, match="reason"):
        msgspec.convert({"name": "x", "instead": "y", "places": []}, Entry)
