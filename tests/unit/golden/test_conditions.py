"""Conditions select the scenarios, steps and places that a declared difference may affect."""

import base64
import json

import pytest

from tests.golden.conditions import CONDITIONS, Concern
from tests.golden.known import load
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


def credential(**changes: object) -> dict[str, object]:
    subject = {"provider": "Google", "nullifiers": ["v0:a"], "id": f"did:pkh:eip155:1:{MINE}"}
    return {"issuer": "did:x", "expirationDate": "2099-01-01T00:00:00Z", "credentialSubject": subject, **changes}


def held(value: object) -> Row:
    return {"provider": "Google", "stamp": value}


def submitting(value: object, *, method: str = "POST", header: tuple[str, str] = ("Accept", "*/*")) -> Step:
    body = json.dumps([{"provider": "Google", "stamp": value}]).encode()
    return Step((Call(method, "/ceramic-cache/stamps/bulk", (header,), body, {"status": 200, "headers": {}}),))


@pytest.mark.parametrize("value", [5, [], "text", credential(expirationDate=5), credential(expirationDate=None)])
def test_credential_of_another_type_meets_the_condition(value: object):
    name = "credential_parts_of_other_types"
    assert concern(name, scenario(held(value))) == concern(name, scenario(steps=[submitting(value or [1])]))


@pytest.mark.parametrize("value", [{}, credential(), credential(expirationDate="soon"), credential(issuer=5)])
def test_credential_that_the_legacy_drops_too_does_not_meet_the_condition(value: object):
    assert concern("credential_parts_of_other_types", scenario(held(value))) is None


@pytest.mark.parametrize(("proof", "met"), [(5, True), ([], True), ("0x", False), (None, False)])
def test_proof_value_of_another_type_meets_the_condition(proof: object, met: bool):
    found = concern("proof_value_is_not_text", scenario(steps=[submitting(credential(proof={"proofValue": proof}))]))
    assert (found is not None) is met


@pytest.mark.parametrize(("date", "met"), [("2099-01-01T00:00:00+23:59", True), ("2099-01-01T00:00:00+14:00", False)])
def test_wide_offset_meets_the_condition(date: str, met: bool):
    found = concern("offset_beyond_the_database", scenario(held(credential(expirationDate=date))))
    assert (found is not None) is met


def test_terms_refused_with_500_meet_the_condition():
    steps = [step(), step(status=500, response={"detail": "Failed to process the tos acceptance proof"})]
    assert concern("terms_proof_failed", scenario(steps=steps)) == Concern(frozenset({1}))


@pytest.mark.parametrize(("amount", "met"), [("1E-18", True), ("0E-18", True), ("1.000000000000000000", False)])
def test_amount_in_scientific_notation_meets_the_condition(amount: str, met: bool):
    found = concern("small_amounts_recorded", scenario(steps=[step(response={"results": [{"amount": amount}]})]))
    assert (found is not None) is met


@pytest.mark.parametrize(
    ("weight", "met"), [("Infinity", True), ("nan", True), ("1.5", False), (2, False), ("x", False)]
)
def test_weight_that_is_not_finite_meets_the_condition(weight: object, met: bool):
    seed = {"scorer_weighted_weightedscorer": [{"weights": {"Google": weight}}]}
    assert (concern("weights_are_not_finite", Scenario("one", {}, seed, (step(),))) is not None) is met


@pytest.mark.parametrize(("default", "met"), [("", True), ("1", False)])
def test_change_without_default_community_meets_the_condition(default: str, met: bool):
    steps = (step(), submitting(credential(), method="PATCH"), step())
    found = concern(
        "stamps_changed_without_default_community", Scenario("one", {"CERAMIC_CACHE_SCORER_ID": default}, {}, steps)
    )
    assert found == (Concern(frozenset({1, 2})) if met else None)


def token(header: dict[str, object], *, tail: str = "") -> tuple[str, str]:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, {}))
    return "Authorization", f"Bearer {'.'.join(parts)}.c2ln{tail}"


@pytest.mark.parametrize(
    ("header", "met"),
    [(token({"alg": "x", "crit": []}), True), (token({"alg": "x"}, tail="=="), True), (token({"alg": "x"}), False)],
)
def test_token_that_only_the_legacy_reads_meets_the_condition(header: tuple[str, str], met: bool):
    found = concern("token_read_leniently", scenario(steps=[submitting(credential(), header=header)]))
    assert (found is not None) is met


@pytest.mark.parametrize(("name", "met"), [("X_API_KEY", True), ("x_api-key", True), ("X-API-Key", False)])
def test_key_header_with_underscores_meets_the_condition(name: str, met: bool):
    found = concern("key_header_with_underscores", scenario(steps=[submitting(credential(), header=(name, "k"))]))
    assert (found is not None) is met


def test_failed_history_meets_the_condition():
    steps = [step("/v2/stamps/1/score/0x1/history?created_at=2024", status=500), step(status=500)]
    assert concern("history_of_malformed_event", scenario(steps=steps)) == Concern(frozenset({0}))


def test_analytics_of_a_failed_call_meet_the_condition():
    rows = {"account_accountapikeyanalytics": {"inserted": [{"status_code": 500}]}}
    assert concern("analytics_of_unhandled_errors", scenario(steps=[step(changes=rows), step()])) == Concern(
        frozenset({0})
    )


@pytest.mark.parametrize("text", ["Failed to save HashScorerLinks", "Unexpected number of HashScorerLinks"])
def test_both_texts_of_links_that_are_not_saved_meet_the_condition(text: str):
    assert concern("links_not_saved", scenario(steps=[step(), step(response={"error": text})])) == Concern(
        frozenset({1})
    )


def test_every_condition_declares_a_difference():
    assert {entry.when for entry in load().entries} - {""} == set(CONDITIONS)
