"""The judge reports nothing for an exact replay, and exactly the alteration for an altered one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from comparator.exchanges.model import Failed, FailureCause, Response
from comparator.exchanges.row_changes import Op, RowChange
from tests.golden.conftest import SCENARIOS
from tests.golden.known import described
from tests.golden.run import judge
from tests.golden.scenario import Scenario, load, paths_of
from tests.unit.golden.recorded import as_run

ALONE = [path for path in paths_of(SCENARIOS) if not path.stem.startswith("concurrent")]


def scored() -> Scenario:
    return load(SCENARIOS / "score_above_threshold.json")


def found_when(scenario: Scenario, *, outcome=None, changes=None) -> list[str]:
    """Return the differences when the first step has another response or other row changes."""
    first, *rest = as_run(scenario)
    altered = replace(
        first,
        outcomes=(outcome(first.outcomes[0]),) if outcome else first.outcomes,
        changes=tuple(changes(first.changes)) if changes else first.changes,
    )
    return [described(found.difference) for found in judge(scenario, [altered, *rest])]


def body_with(**members):
    return lambda response: replace(response, body=json.dumps({**json.loads(response.body), **members}).encode())


def row_with(table: str, **columns):
    def altered(changes):
        return [
            replace(change, after={**change.after, **columns}) if change.table == table else change
            for change in changes
        ]

    return altered


@pytest.mark.parametrize("path", ALONE, ids=[path.stem for path in ALONE])
def test_exact_replay_matches(path: Path):
    scenario = load(path)
    assert judge(scenario, as_run(scenario)) == []


def test_changed_body_value_is_reported_at_its_place():
    assert found_when(scored(), outcome=body_with(score="2.49999")) == ["changed score"]


def test_changed_body_type_is_reported():
    assert found_when(scored(), outcome=body_with(passing_score=1)) == ["type passing_score"]


def test_changed_status_is_reported():
    assert "status (status)" in found_when(scored(), outcome=lambda response: replace(response, status=201))


def test_missing_header_is_reported():
    def without_vary(response: Response) -> Response:
        return replace(response, headers=tuple((name, value) for name, value in response.headers if name != "vary"))

    assert found_when(scored(), outcome=without_vary) == ["header vary"]


def test_extra_header_is_reported():
    def with_cookie(response: Response) -> Response:
        return replace(response, headers=(*response.headers, ("Set-Cookie", "a=b"), ("Date", "today")))

    assert found_when(scored(), outcome=with_cookie) == ["header set-cookie"]


def test_missing_response_is_reported():
    assert found_when(scored(), outcome=lambda _: Failed(FailureCause.RESET, "gone"))[-1] == "status (status)"


def test_wrong_time_is_reported():
    assert found_when(scored(), outcome=body_with(last_score_timestamp="2020-01-01T00:00:00.000001+00:00")) == [
        "changed last_score_timestamp"
    ]


def test_time_in_another_format_is_reported():
    response = as_run(scored())[0].outcomes[0]
    assert isinstance(response, Response)
    moment = json.loads(response.body)["last_score_timestamp"].replace("+00:00", "Z")
    assert found_when(scored(), outcome=body_with(last_score_timestamp=moment)) == ["changed last_score_timestamp"]


def test_missing_row_is_reported():
    assert found_when(scored(), changes=lambda changes: [c for c in changes if c.table != "registry_event"]) == [
        "missing_row registry_event"
    ]


def test_extra_row_is_reported():
    extra = RowChange(
        "registry_stamp", Op.INSERT, None, {"id": "9", "provider": "X", "credential": "{}", "passport_id": "1"}
    )
    assert found_when(scored(), changes=lambda changes: [*changes, extra]) == ["extra_row registry_stamp"]


def test_changed_column_is_reported():
    assert found_when(scored(), changes=row_with("registry_score", status="ERROR")) == ["column registry_score.status"]


def test_different_surrogate_id_is_not_a_difference():
    def renumbered(changes):
        def again(row):
            data = json.loads(row["data"]) if "data" in row else None
            if data:
                data["pk"], data["fields"]["passport"] = 70, 71
            return {
                **row,
                **({"data": json.dumps(data)} if data else {}),
                **({"passport_id": "71"} if "passport_id" in row else {}),
            }

        ids = {"registry_score": "70", "registry_passport": "71", "registry_event": "72"}
        return [
            replace(change, after={**again(change.after), "id": ids.get(change.table, change.after["id"])})
            for change in changes
        ]

    assert found_when(scored(), changes=renumbered) == []


def test_event_with_another_score_row_is_reported():
    def elsewhere(changes):
        def altered(row):
            data = json.loads(row["data"])
            data["pk"] = 99
            return {**row, "data": json.dumps(data)}

        return [replace(c, after=altered(c.after)) if c.table == "registry_event" else c for c in changes]

    assert found_when(scored(), changes=elsewhere) == ["changed registry_event.data.pk"]


def test_unrecorded_upstream_call_is_reported():
    scenario = scored()
    first, *rest = as_run(scenario)
    runs = [replace(first, unexpected_calls=("GET /elsewhere",)), *rest]
    assert [str(found.difference.mirrored) for found in judge(scenario, runs)] == ["GET /elsewhere"]
