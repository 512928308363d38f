"""Scenario files, and the text form in which their values are compared."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.golden import times
from tests.golden.scenario import Call, load
from tests.golden.textual import row_text, time_text, value_text
from tests.golden.wire import encoded


def written(folder: Path, **more) -> Path:
    document = {"name": "one", "settings": {"A": "x", "LIST": ["a"]}, "seed": {}, "steps": [], **more}
    path = folder / "one.json"
    path.write_text(json.dumps(document))
    return path


def call(request: dict) -> dict:
    return {
        "request": {"method": "POST", "headers": {}, "path": "/", **request},
        "response": {"status": 200, "headers": {}},
    }


def test_list_settings_become_json_text(tmp_path: Path):
    assert load(written(tmp_path)).settings == {"A": "x", "LIST": '["a"]'}


def test_generated_rows_contain_their_index(tmp_path: Path):
    rule = {"table": "t", "start": 1, "count": 2, "row": {"id": "$i", "address": "0x{i:040x}"}}
    rows = load(written(tmp_path, seed_generate=[rule])).seed["t"]
    assert rows == [{"id": 1, "address": f"0x{1:040x}"}, {"id": 2, "address": f"0x{2:040x}"}]


def test_raw_body_is_sent_unchanged(tmp_path: Path):
    step = load(written(tmp_path, steps=[call({"body_text": "{not json"})])).steps[0]
    assert step.calls[0].body == b"{not json"


def test_json_body_has_its_content_type(tmp_path: Path):
    step = load(written(tmp_path, steps=[call({"body": []})])).steps[0]
    assert ("Content-Type", "application/json") in step.calls[0].headers


def test_recorded_host_of_upstream_services_is_replaced(tmp_path: Path):
    path = written(tmp_path, settings={"URL": "http://127.0.0.1:8090/x"})
    assert load(path, authority=("127.0.0.1:8090", "here:1")).settings == {"URL": "http://here:1/x"}


def test_request_is_sent_byte_for_byte():
    sent = Call("GET", "/a%2f b?x=[", (("Host", "h"),), b"", {})
    assert encoded(sent.method, sent.target, sent.headers, sent.body) == b"GET /a%2f b?x=[ HTTP/1.1\r\nHost: h\r\n\r\n"


def test_values_are_in_postgresql_text_format():
    row = {"id": 1, "error": None, "evidence": {"a": 1}, "last_score_timestamp": "2026-01-01T02:00:00.120000+02:00"}
    assert row_text("registry_score", row) == {
        "id": "1",
        "error": None,
        "evidence": '{"a": 1}',
        "last_score_timestamp": "2026-01-01 00:00:00.12+00",
    }


def test_booleans_are_single_letters():
    assert [value_text("boolean", value) for value in (True, False, None)] == ["t", "f", None]


def test_whole_seconds_have_no_fraction():
    assert time_text(datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)) == "2099-12-31 23:59:59+00"


def test_moved_time_keeps_its_format():
    assert times.shifted("2026-01-01T00:00:00.999Z", timedelta(seconds=1)) == "2026-01-01T00:00:01.999Z"


def test_only_declared_times_are_moved():
    document = {"response": {"body": {"now": "2026-01-01T00:00:00+00:00", "then": "2026-01-01T00:00:00+00:00"}}}
    moved = times.moved(document, {"/response/body/now": "now"}, timedelta(days=1))
    assert moved["response"]["body"] == {"now": "2026-01-02T00:00:00+00:00", "then": "2026-01-01T00:00:00+00:00"}
