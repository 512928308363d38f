"""Permitted outcomes of races."""

import json

from comparator.exchanges.model import Failed, FailureCause, Response
from comparator.exchanges.row_changes import Op, RowChange
from tests.golden import races
from tests.golden.conftest import SCENARIOS
from tests.golden.scenario import load
from tests.unit.golden.recorded import as_run


def stamp(passport: str, nullifier: str, *, provider: str = "Github") -> RowChange:
    credential = json.dumps({"credentialSubject": {"nullifiers": [nullifier]}})
    row = {"id": "1", "passport_id": passport, "provider": provider, "credential": credential}
    return RowChange("registry_stamp", Op.INSERT, None, row)


def score_event(*, raw: str, scores: dict[str, float]) -> RowChange:
    data = {"fields": {"stamp_scores": scores, "evidence": {"rawScore": raw}}}
    return RowChange("registry_event", Op.INSERT, None, {"action": "SCU", "data": json.dumps(data)})


def response(*, address: str = "0x1", score: str = "2.00000", status: int = 200) -> Response:
    body = {"address": address, "score": score, "error": None, "stamps": {}}
    return Response(status, (), json.dumps(body).encode())


def promises(*differences) -> list[str]:
    return [difference.place for difference in differences]


def test_recorded_outcome_that_keeps_all_promises_is_accepted():
    scenario = load(SCENARIOS / "concurrent_one_nullifier_eight_addresses.json")
    assert races.judge_race(scenario.steps[0], as_run(scenario)[0]) == []


def test_two_owners_of_one_nullifier_break_a_promise():
    found = races.broken_promises([], [stamp("1", "v0:a"), stamp("2", "v0:a")])
    assert promises(*found) == ["promise.one_owner_a_nullifier"]


def test_two_owners_of_two_nullifiers_break_no_promise():
    assert races.broken_promises([], [stamp("1", "v0:a"), stamp("2", "v0:b")]) == []


def test_duplicate_stamp_breaks_a_promise():
    found = races.broken_promises([], [stamp("1", "v0:a"), stamp("1", "v0:b")])
    assert promises(*found) == ["promise.one_stamp_a_provider"]


def test_sum_of_other_stamps_breaks_a_promise():
    found = races.broken_promises([], [score_event(raw="1.5", scores={"Github": 1.0})])
    assert promises(*found) == ["promise.whole_score"]


def test_sum_of_its_own_stamps_breaks_no_promise():
    assert races.broken_promises([], [score_event(raw="1.5", scores={"Github": 1.0, "Ens": 0.5})]) == []


def test_error_or_missing_response_breaks_a_promise():
    found = races.broken_promises([response(status=500), Failed(FailureCause.RESET, "gone")], [])
    assert promises(*found) == ["promise.response", "promise.response"]


def test_different_scores_of_one_address_break_a_promise():
    found = races.broken_promises([response(score="1.00000"), response()], [])
    assert promises(*found) == ["promise.one_answer_an_address"]


def test_unrecorded_outcome_is_reported():
    scenario = load(SCENARIOS / "concurrent_expired_link_takeover.json")
    run = as_run(scenario)[0]
    nobody = type(run)((response(address="0x1"), response(address="0x2", score="0.00000")), run.changes, run.offset)
    assert [difference.place for difference in races.judge_race(scenario.steps[0], nobody)] == ["outcome"]
