"""Conditions select the scenarios, steps and places that a declared difference may affect."""

import base64
import json

from tests.golden.conditions import CONDITIONS, Concern
from tests.golden.scenario import Call, Row, Scenario, Step

MINE, OTHER = "0xaa", "0xbb"


def stamp(
    *, provider: str = "Google", nullifiers: list[str] | None = None, old: str | None = None, of: str = MINE
) -> Row:
    subject = {"provider": provider, "nullifiers": nullifiers, "id": f"did:pkh:eip155:1:{of}"}
    return {"provider": provider, "stamp": {"credentialSubject": subject | ({"hash": old} if old else {})}}


def step(
    target: str = f"/score/{MINE}", *, body: object = None, status: int = 200, response: object = None, changes=None
) -> Step:
    sent = json.dumps(body).encode() if body is not None else b""
    return Step(
        (Call("GET", target, (), sent, {"status": status, "headers": {}, "body": response}),), db_changes=changes or {}
    )


def scenario(*stamps: Row, steps=(), links=(), multi: str = "off") -> Scenario:
    seed = {"ceramic_cache_ceramiccache": list(stamps), "registry_hashscorerlink": list(links)}
    return Scenario("one", {"FF_MULTI_NULLIFIER": multi}, seed, tuple(steps) or (step(),))


def concern(name: str, of: Scenario) -> Concern | None:
    return CONDITIONS[name](of)


def test_nullifiers_of_other_versions_meet_the_condition():
    found = concern("other_nullifiers_are_linked", scenario(stamp(nullifiers=["v0:a", "v1:b", "v0.0.0:c"])))
    assert found == Concern(frozenset({0}), {"nullifier": frozenset({"v1:b"})})


def test_nullifiers_in_a_request_meet_the_condition():
    sent = {"stamps": [stamp(nullifiers=["v1:b"])["stamp"]]}
    found = concern("other_nullifiers_are_linked", scenario(steps=[step(body=sent)]))
    assert found is not None
    assert found.steps == {0}


def test_flag_turns_the_condition_off():
    assert concern("other_nullifiers_are_linked", scenario(stamp(nullifiers=["v1:b"]), multi="on")) is None


def test_link_of_another_address_to_another_version_is_a_clash():
    held = stamp(nullifiers=["v0:a", "v1:b"])
    found = concern("other_nullifiers_clash", scenario(held, links=[{"hash": "v1:b", "address": OTHER}]))
    assert found is not None
    assert found.names == {"provider": frozenset({"Google"}), "nullifier": frozenset({"v0:a", "v1:b"})}


def test_own_link_to_another_version_is_not_a_clash():
    held = stamp(nullifiers=["v1:b"])
    assert concern("other_nullifiers_clash", scenario(held, links=[{"hash": "v1:b", "address": MINE}])) is None


def test_two_holders_of_another_version_clash():
    held = [stamp(nullifiers=["v1:b"]), stamp(nullifiers=["v1:b"], of=OTHER)]
    assert concern("other_nullifiers_clash", scenario(*held)) is not None


def test_old_field_selects_its_provider():
    found = concern("old_form_credentials", scenario(stamp(old="v0:h"), stamp(provider="Ens", nullifiers=["v0:a"])))
    assert found == Concern(frozenset({0}), {"provider": frozenset({"Google"}), "nullifier": frozenset({"v0:h"})})


def test_steps_of_other_addresses_are_not_selected():
    steps = [step(f"/score/{OTHER}"), step(f"/score/{MINE.upper()}")]
    found = concern("old_form_credentials", scenario(stamp(old="v0:h"), steps=steps))
    assert found is not None
    assert found.steps == {1}


def test_token_selects_its_address():
    claims = base64.urlsafe_b64encode(json.dumps({"did": f"did:pkh:eip155:1:{MINE}"}).encode()).decode().rstrip("=")
    call = Call("GET", "/", (("Authorization", f"Bearer a.{claims}.b"),), b"", {"status": 200, "headers": {}})
    found = concern("old_form_credentials", scenario(stamp(old="v0:h"), steps=[Step((call,))]))
    assert found is not None
    assert found.steps == {0}


def test_unsaved_links_select_the_later_steps():
    steps = [step(), step(response={"error": "Failed to save HashScorerLinks"}), step()]
    assert concern("links_not_saved", scenario(steps=steps)) == Concern(frozenset({1, 2}))


def test_points_parameter_selects_its_own_steps_only():
    steps = [step("/x?include_human_points=true"), step("/x?include_human_points=false")]
    assert concern("human_points_asked_for", scenario(steps=steps)) == Concern(frozenset({0}))


def test_served_paths_of_the_first_version_are_not_selected():
    steps = [step("/registry/gtc-stake/0x1/1"), step("/registry/stamps/0x1")]
    assert concern("first_version_called", scenario(steps=steps)) is None


def test_lost_stamps_select_their_providers():
    pair = {"before": {}, "after": {"provider": "Google", "deleted_at": "2026-01-01T00:00:00+00:00"}}
    lost = step(status=500, changes={"ceramic_cache_ceramiccache": {"updated": [pair]}})
    found = concern("replaced_stamps_lost", scenario(steps=[step(), lost]))
    assert found == Concern(frozenset({1}), {"provider": frozenset({"Google"})})


def test_ordinary_scenario_meets_no_condition():
    ordinary = scenario(stamp(nullifiers=["v0:a"]))
    assert [name for name in CONDITIONS if concern(name, ordinary)] == []
