"""Declared differences: the differences they explain, and the entries that are stale."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from comparator.exchanges.difference import Difference, Kind
from comparator.settings import KnownDifference
from tests.golden.judge import Found
from tests.golden.known import Entry, KnownDifferences, Place, load
from tests.golden.scenario import Call, Scenario, Step

OLD = "old_form_credentials"
STATUS = Found(1, Difference(Kind.COLUMN, (), "ERROR", "DONE", "registry_score", (), "status"))
LINK = Found(0, Difference(Kind.EXTRA_ROW, mirrored={"hash": "v1:x"}, table="registry_hashscorerlink"))


def scenario(name: str, *, multi: str = "off", nullifier: str = "v1:x", provider: str = "Google") -> Scenario:
    stamp = {"credentialSubject": {"nullifiers": [nullifier], "provider": provider, "id": "did:x:0xaa"}}
    call = Call("GET", "/0xaa", (), b"", {"status": 200, "headers": {}})
    seed = {"ceramic_cache_ceramiccache": [{"stamp": stamp, "provider": provider}]}
    return Scenario(name, {"FF_MULTI_NULLIFIER": multi}, seed, (Step((call,)), Step((call,))))


def declared(*places: Place, when: str = "") -> KnownDifferences:
    return KnownDifferences(
        (Entry(name="one", reason="r", instead="i", places=places, scenarios=("here",), when=when),)
    )


def test_difference_at_a_declared_place_is_known():
    known, left = declared(Place(table="registry_score", column="status", kind="column")).split(
        scenario("here"), [STATUS]
    )
    assert ([one for one, _ in known], left) == ([STATUS], [])


def test_same_difference_in_another_scenario_is_not_known():
    known, left = declared(Place(table="registry_score", column="status", kind="column")).split(
        scenario("there"), [STATUS]
    )
    assert (known, left) == ([], [STATUS])


def test_difference_at_another_step_is_not_known():
    _, left = declared(Place(table="registry_score", column="status", kind="column", step=0)).split(
        scenario("here"), [STATUS]
    )
    assert left == [STATUS]


def test_difference_at_another_place_is_not_known():
    _, left = declared(Place(table="registry_score", column="error", kind="column")).split(scenario("here"), [STATUS])
    assert left == [STATUS]


def test_row_is_known_by_its_columns():
    known, _ = declared(Place(table="registry_hashscorerlink", kind="extra_row", row={"hash": "v1*"})).split(
        scenario("here"), [LINK]
    )
    assert [one for one, _ in known] == [LINK]


def test_row_with_other_columns_is_not_known():
    _, left = declared(Place(table="registry_hashscorerlink", kind="extra_row", row={"hash": "v0*"})).split(
        scenario("here"), [LINK]
    )
    assert left == [LINK]


def test_condition_applies_to_scenarios_that_are_not_named():
    known, _ = declared(
        Place(table="registry_hashscorerlink", kind="extra_row"), when="other_nullifiers_are_linked"
    ).split(scenario("unseen"), [LINK])
    assert [one for one, _ in known] == [LINK]


def test_unmet_condition_explains_nothing():
    known = declared(Place(table="registry_hashscorerlink", kind="extra_row"), when="other_nullifiers_are_linked")
    assert known.split(scenario("unseen", multi="on"), [LINK])[1] == [LINK]


def test_condition_restricts_the_values_of_a_row():
    known = declared(
        Place(table="registry_hashscorerlink", kind="extra_row", row={"hash": "{nullifier}"}),
        when="other_nullifiers_are_linked",
    )
    assert known.split(scenario("unseen", nullifier="v1:y"), [LINK])[1] == [LINK]


def test_condition_restricts_the_names_in_a_place():
    place = Place(path="stamps.{provider}.score", kind="changed")
    found = [Found(0, Difference(Kind.CHANGED, ("stamps", name, "score"), "1", "0")) for name in ("A.b*", "Other")]
    known = KnownDifferences((Entry(name="one", reason="r", instead="i", places=(place,), scenarios=(), when=OLD),))
    stamp = {"credentialSubject": {"hash": "v0:x", "provider": "A.b*", "id": "did:x:0xaa"}}
    old = replace(scenario("unseen"), seed={"ceramic_cache_ceramiccache": [{"stamp": stamp, "provider": "A.b*"}]})
    assert known.split(old, found)[1] == [found[1]]


def test_entry_that_explained_nothing_is_stale():
    known = declared(Place(table="registry_score", column="status", kind="column"))
    known.split(scenario("here"), [])
    assert known.stale() == ["one: nothing differs any more in here"]


def test_place_that_explained_nothing_is_stale():
    known = declared(Place(table="registry_score", column="status", kind="column"), Place(path="error", kind="changed"))
    known.split(scenario("here"), [STATUS])
    assert known.stale() == ["one: nothing differs any more at path: error, kind: changed"]


def test_conditional_entry_is_stale_when_its_named_scenario_no_longer_differs():
    known = declared(Place(table="registry_hashscorerlink", kind="extra_row"), when="other_nullifiers_are_linked")
    known.split(scenario("unseen"), [LINK])
    known.split(scenario("here"), [])
    assert known.stale() == ["one: nothing differs any more in here"]


def test_scenario_selected_by_condition_only_makes_no_entry_stale():
    known = declared(Place(table="registry_hashscorerlink", kind="extra_row"), when="other_nullifiers_are_linked")
    known.split(scenario("unseen"), [])
    assert known.stale() == []


def test_entry_whose_scenarios_did_not_run_is_not_stale():
    known = declared(Place(table="registry_score", column="status", kind="column"))
    known.split(scenario("there"), [STATUS])
    assert known.stale() == []


def test_declared_differences_of_the_repository_are_valid():
    assert all(one.reason and one.instead and one.places for one in load().entries)


def test_entry_without_a_reason_is_refused():
    with pytest.raises(msgspec.ValidationError, match="reason"):
        msgspec.convert({"name": "x", "instead": "y", "places": []}, Entry)


def test_entry_without_scenario_and_condition_is_refused(tmp_path: Path):
    file = tmp_path / "known.yaml"
    file.write_text("[{name: x, reason: r, instead: i, scenarios: [], places: []}]")
    with pytest.raises(ValueError, match="x has neither a scenario"):
        load(file)


def test_place_has_the_fields_of_a_known_difference_in_the_configuration():
    assert set(Place.__struct_fields__) - {"step", "row"} < set(KnownDifference.__struct_fields__)
