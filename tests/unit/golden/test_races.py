"""Permitted outcomes of races."""

import json
from dataclasses import replace

import pytest

from comparator.exchanges.model import Failed, FailureCause, Response
from comparator.exchanges.row_changes import Op, RowChange
from tests.golden import races
from tests.golden.conftest import SCENARIOS
from tests.golden.run import judge
from tests.golden.scenario import Call, Scenario, load
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


def call(target: str, body: object = None) -> Call:
    return Call("GET", target, (), json.dumps(body).encode() if body is not None else b"", {})


def test_owners_in_two_communities_break_no_promise():
    stamps = [stamp("1", "v0:a"), stamp("2", "v0:a")]
    assert races.broken_promises([], stamps, communities={"1": "7", "2": "8"}) == []


def test_two_owners_in_one_community_break_a_promise():
    found = races.broken_promises([], [stamp("1", "v0:a"), stamp("2", "v0:a")], communities={"1": "7", "2": "7"})
    assert promises(*found) == ["promise.one_owner_a_nullifier"]


def test_different_scores_in_two_communities_break_no_promise():
    calls = [call("/v2/stamps/1/score/0x1"), call("/v2/stamps/2/score/0x1")]
    assert races.broken_promises([response(score="1.00000"), response()], [], calls=calls) == []


def test_different_scores_in_one_community_break_a_promise():
    calls = [call("/v2/stamps/1/score/0x1"), call("/internal/score/v2/1/0x1")]
    found = races.broken_promises([response(score="1.00000"), response()], [], calls=calls)
    assert promises(*found) == ["promise.one_answer_an_address"]


@pytest.mark.parametrize(
    ("sent", "community"),
    [
        (call("/v2/stamps/12/score/0x1"), "12"),
        (call("/internal/score/v2/3/0x1"), "3"),
        (call("/internal/embed/score/4/0x1"), "4"),
        (call("/ceramic-cache/score/0x1?alternate_scorer_id=5"), "5"),
        (call("/internal/embed/stamps/0x1", {"scorer_id": 6, "stamps": []}), "6"),
        (call("/ceramic-cache/score/0x1", {"alternate_scorer_id": 7}), "7"),
        (call("/ceramic-cache/stamps/bulk", []), ""),
        (call("/v2/stamps/0x1"), ""),
    ],
)
def test_community_is_read_from_path_or_body(sent: Call, community: str):
    assert races.community_of(sent) == community


def race_and_step() -> Scenario:
    race = load(SCENARIOS / "concurrent_one_nullifier_eight_addresses.json")
    after = load(SCENARIOS / "score_above_threshold.json")
    return replace(race, steps=(*race.steps, *after.steps))


def test_step_after_a_race_that_ended_as_recorded_is_judged():
    scenario = race_and_step()
    race, after = as_run(scenario)
    wrong = replace(after, outcomes=(replace(after.outcomes[0], status=404),))
    assert [found.step for found in judge(scenario, [race, after])] == []
    assert "status" in {str(found.difference.kind) for found in judge(scenario, [race, wrong])}


def test_step_after_a_race_that_ended_otherwise_is_judged_by_its_promises():
    scenario = race_and_step()
    race, after = as_run(scenario)
    other = replace(race, outcomes=race.outcomes[1:] + race.outcomes[:1])
    wrong = replace(after, outcomes=(replace(after.outcomes[0], status=500),))
    assert judge(scenario, [other, after]) == []
    assert [found.difference.place for found in judge(scenario, [other, wrong])] == ["promise.response"]


@pytest.mark.parametrize(
    "pointer",
    [
        "/db_changes/registry_score",
        "/db_changes/registry_score/updated",
        "/db_changes/registry_score/inserted/0",
        "/db_changes",
    ],
)
def test_rows_that_the_recording_calls_undefined_are_not_judged(pointer: str):
    scenario = load(SCENARIOS / "score_above_threshold.json")
    step = scenario.steps[0]
    undefined = replace(scenario, steps=(replace(step, volatile={**step.volatile, pointer: "differs"}),))
    run = as_run(scenario)[0]
    without = replace(run, changes=tuple(change for change in run.changes if change.table != "registry_score"))
    assert judge(undefined, [without]) == []
