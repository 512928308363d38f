"""The conditions of config.yaml's known differences hold of the exchanges that they are about, and of no others."""

import base64
import json
from functools import cache

import pytest

from comparator.rules.conditions import Names
from tests.golden.known import KnownDifferences, load
from tests.golden.scenario import Call, Row, Scenario, Step
from tests.support.golden_evidence import evidence_of_scenario

MINE, OTHER = "0xaa", "0xbb"
STAMPS, ANALYTICS = "ceramic_cache_ceramiccache", "account_accountapikeyanalytics"

declarations = cache(load)


def stamp(
    *, provider: str = "Google", nullifiers: list[object] | None = None, old: str | None = None, of: str = MINE
) -> Row:
    subject = {"provider": provider, "nullifiers": nullifiers, "id": f"did:pkh:eip155:1:{of}"}
    return held({"credentialSubject": subject | ({"hash": old} if old else {})}, provider=provider, of=of)


def held(credential: object, *, provider: str = "Google", of: str = MINE) -> Row:
    return {"provider": provider, "address": of, "stamp": credential}


def credential(**changes: object) -> dict[str, object]:
    subject = {"provider": "Google", "nullifiers": ["v0:a"], "id": f"did:pkh:eip155:1:{MINE}"}
    return {"issuer": "did:x", "expirationDate": "2099-01-01T00:00:00Z", "credentialSubject": subject, **changes}


def step(
    target: str = f"/score/{MINE}",
    *,
    method: str = "GET",
    status: int = 200,
    response: object = None,
    header: tuple[str, str] = ("Accept", "*/*"),
    changes: dict[str, dict[str, list[object]]] | None = None,
) -> Step:
    call = Call(method, target, (header,), b"", {"status": status, "headers": {}, "body": response})
    return Step((call,), db_changes=changes or {})


def inserted(table: str, **row: object) -> dict[str, dict[str, list[object]]]:
    return {table: {"inserted": [row]}}


def scenario(*stamps: Row, steps: tuple[Step, ...] = ()) -> Scenario:
    return Scenario("one", {}, {STAMPS: list(stamps)}, steps or (step(),))


def holding(of: Scenario, known: KnownDifferences | None = None) -> dict[str, dict[int, Names]]:
    """Return the steps in which conditions hold, with what they found, by declaration."""
    found = {
        entry.name: dict(entry.names_by_step(evidence_of_scenario(of)))
        for entry in (known or declarations()).entries
        if entry.known.when or entry.known.when_any
    }
    return {name: steps for name, steps in found.items() if steps}


def names(*sets: tuple[str, set[str]]) -> Names:
    return {name: frozenset(values) for name, values in sets}


LDP = inserted("registry_event", action="LDP", data={"nullifiers": ["v0:a", "v1:b"], "provider": "Google"})
NOT_FINITE = inserted("registry_score", status="ERROR", error="a weight is not finite")


def token(header: dict[str, object], *, tail: str = "") -> tuple[str, str]:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, {}))
    return "Authorization", f"Bearer {'.'.join(parts)}.c2ln{tail}"


def test_ordinary_scenario_meets_no_condition() -> None:
    assert holding(scenario(stamp(nullifiers=["v0:a"]))) == {}


@pytest.mark.parametrize("hash_", ["v1:b", "v9:b"])
def test_link_of_another_version_meets_the_condition(hash_: str) -> None:
    linked = step(changes=inserted("registry_hashscorerlink", hash=hash_))
    assert holding(scenario(steps=(step(), linked))) == {"every-nullifier-is-linked": {1: {}}}


@pytest.mark.parametrize("hash_", ["v0:a", "v0.0.0:c"])
def test_link_of_the_first_version_meets_no_condition(hash_: str) -> None:
    assert holding(scenario(steps=(step(changes=inserted("registry_hashscorerlink", hash=hash_)),))) == {}


def test_clash_with_another_version_selects_provider_and_nullifiers() -> None:
    found = holding(scenario(steps=(step(changes=LDP),)))
    expected = names(("provider", {"Google"}), ("nullifier", {"v0:a", "v1:b"}))
    assert found == {"every-nullifier-can-clash": {0: expected}, "every-nullifier-is-linked": {0: {}}}


def test_old_field_selects_its_provider_and_nullifiers() -> None:
    found = holding(scenario(stamp(old="v0:h", nullifiers=["v1:n"]), stamp(provider="Ens", nullifiers=["v0:a"])))
    expected = names(("provider", {"Google"}), ("nullifier", {"v0:h", "v1:n"}))
    assert found == {"old-form-credentials-do-not-count": {0: expected}}


def test_row_of_a_scored_old_form_credential_selects_its_provider() -> None:
    row = inserted("registry_stamp", provider="Google", credential={"credentialSubject": {"hash": "v0:h"}})
    found = holding(scenario(steps=(step(changes=row),)))
    assert found["old-form-credentials-do-not-count"][0]["provider"] == {"Google"}


def test_steps_of_other_addresses_are_not_selected() -> None:
    of = scenario(stamp(old="v0:h"), steps=(step(f"/score/{OTHER}"), step(f"/score/{MINE.upper()}")))
    assert list(holding(of)["old-form-credentials-do-not-count"]) == [1]


def test_token_selects_its_address() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"did": f"did:pkh:eip155:1:{MINE}"}).encode()).decode().rstrip("=")
    of = scenario(stamp(old="v0:h"), steps=(step("/", header=("Authorization", f"Bearer a.{claims}.b")),))
    assert "old-form-credentials-do-not-count" in holding(of)


@pytest.mark.parametrize("text", ["Failed to save HashScorerLinks", "Unexpected number of HashScorerLinks"])
def test_unsaved_links_select_the_later_steps(text: str) -> None:
    of = scenario(steps=(step(), step(response={"error": text}), step()))
    assert holding(of) == {"links-are-saved": {1: {}, 2: {}}}


def test_points_parameter_selects_its_own_steps_only() -> None:
    of = scenario(steps=(step("/x?include_human_points=true"), step("/x?include_human_points=false")))
    assert holding(of) == {"human-points-on-request": {0: {}}}


def test_first_version_of_the_api_selects_the_later_steps() -> None:
    of = scenario(steps=(step(), step("/registry/submit-passport", method="POST"), step()))
    assert holding(of) == {"no-first-api-version": {1: {}, 2: {}}}


@pytest.mark.parametrize("target", ["/registry/gtc-stake/0x1/1", "/registry/stamps/0x1"])
def test_served_paths_of_the_first_version_are_not_selected(target: str) -> None:
    assert holding(scenario(steps=(step(target),))) == {}


def test_lost_stamps_select_their_providers() -> None:
    pair = {
        "before": {"provider": "Google", "deleted_at": None},
        "after": {"provider": "Google", "deleted_at": "2026-01-01T00:00:00Z"},
    }
    lost = step("/ceramic-cache/stamps/bulk", method="PATCH", status=500, changes={STAMPS: {"updated": [pair]}})
    found = holding(scenario(steps=(step(), lost)))
    assert found["replaced-stamps-are-kept"] == {1: names(("provider", {"Google"}))}


def test_stamps_that_had_been_deleted_before_are_not_lost() -> None:
    deleted = {**stamp(nullifiers=["v0:a"]), "deleted_at": "2026-01-01T00:00:00Z"}
    assert holding(scenario(deleted, steps=(step(status=500),))) == {}


def test_failed_terms_proof_is_recognised_by_its_text() -> None:
    of = scenario(steps=(step(status=500, response={"detail": "Failed to process the tos acceptance proof"}), step()))
    assert holding(of) == {"failed-terms-proof-is-400": {0: {}}}


@pytest.mark.parametrize("value", [5, [], "text", credential(expirationDate=5), credential(expirationDate=None)])
def test_credential_of_another_type_meets_the_condition(value: object) -> None:
    assert "parts-of-other-types-drop-the-stamp" in holding(scenario(held(value)))


def test_nullifier_of_another_type_meets_the_condition() -> None:
    assert "parts-of-other-types-drop-the-stamp" in holding(scenario(stamp(nullifiers=["v0:a", 5])))


@pytest.mark.parametrize("value", [{}, credential(), credential(expirationDate="soon"), credential(issuer=5)])
def test_credential_that_the_legacy_drops_too_meets_no_condition(value: object) -> None:
    assert holding(scenario(held(value))) == {}


@pytest.mark.parametrize(
    ("error", "met"),
    [
        ("'int' object has no attribute 'startswith'", True),
        ("fromisoformat: argument must be str", True),
        ("'NoneType' object has no attribute 'get'", False),
        ("Invalid isoformat string: 'soon'", False),
    ],
)
def test_error_of_another_type_meets_the_condition(error: str, met: bool) -> None:
    found = holding(scenario(steps=(step(changes=inserted("registry_score", status="ERROR", error=error)),)))
    assert ("parts-of-other-types-drop-the-stamp" in found) is met


@pytest.mark.parametrize(("proof", "met"), [(5, True), ([], True), ("0x", False), (None, False)])
def test_proof_value_of_another_type_meets_the_condition(proof: object, met: bool) -> None:
    stored = held(credential(proof={"proofValue": proof}))
    found = holding(scenario(steps=(step(changes=inserted(STAMPS, **stored)),)))
    assert ("proof-value-is-a-text" in found) is met


@pytest.mark.parametrize("part", ["expirationDate", "issuanceDate"])
@pytest.mark.parametrize(("date", "met"), [("2099-01-01T00:00:00+23:59", True), ("2099-01-01T00:00:00+14:00", False)])
def test_wide_offset_meets_the_condition(part: str, date: str, met: bool) -> None:
    assert ("wide-offsets-are-dates" in holding(scenario(held(credential(**{part: date}))))) is met


@pytest.mark.parametrize("weak", [step(changes=NOT_FINITE), step(response={"error": "a weight is not finite"})])
def test_weight_that_is_not_finite_meets_the_condition(weak: Step) -> None:
    assert holding(scenario(steps=(weak,))) == {"weights-are-finite": {0: {}}}


@pytest.mark.parametrize(
    ("method", "status", "met"), [("PATCH", 500, True), ("DELETE", 500, True), ("PATCH", 200, False)]
)
def test_failed_change_of_stamps_meets_the_condition(method: str, status: int, met: bool) -> None:
    found = holding(scenario(steps=(step("/ceramic-cache/stamps/bulk", method=method, status=status),)))
    assert ("nothing-is-stored-without-a-default-community" in found) is met


@pytest.mark.parametrize(
    ("header", "met"),
    [
        (token({"alg": "x", "crit": []}), True),
        (token({"crit": []}), True),
        (token({"alg": "xy", "crit": []}), True),
        (token({"alg": "x"}, tail="=="), True),
        (token({"alg": "x"}), False),
        (("Authorization", "abc"), False),
    ],
)
def test_token_that_only_the_legacy_reads_meets_the_condition(header: tuple[str, str], met: bool) -> None:
    assert ("tokens-are-read-strictly" in holding(scenario(steps=(step(header=header),)))) is met


@pytest.mark.parametrize(("name", "met"), [("X_API_KEY", True), ("x_api-key", True), ("X-API-Key", False)])
def test_key_header_with_underscores_meets_the_condition(name: str, met: bool) -> None:
    assert ("header-names-are-exact" in holding(scenario(steps=(step(header=(name, "k")),)))) is met


def test_failed_history_meets_the_condition() -> None:
    of = scenario(steps=(step("/v2/stamps/1/score/0x1/history?created_at=2024", status=500), step(status=500)))
    assert holding(of) == {"malformed-events-in-the-history": {0: {}}}


def test_analytics_of_a_failed_call_meet_the_condition() -> None:
    of = scenario(steps=(step(changes=inserted(ANALYTICS, status_code=500)), step()))
    assert holding(of) == {"analytics-in-own-words": {0: {}}}
