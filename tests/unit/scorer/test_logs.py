"""Log lines as JSON."""

import json
import logging
import sys

from scorer.logs import JsonFormatter


def line(**changes: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "scorer.x", "levelname": "INFO", "msg": "stage_changed", **changes})
    return json.loads(JsonFormatter().format(record))


def test_a_line_has_time_level_logger_and_event():
    assert {key: value for key, value in line().items() if key != "time"} == {
        "level": "INFO",
        "logger": "scorer.x",
        "event": "stage_changed",
    }


def test_extra_data_stands_beside_the_event():
    assert line(request_id="r1")["request_id"] == "r1"


def test_what_json_cannot_hold_is_its_text():
    assert line(kind=ValueError)["kind"] == "<class 'ValueError'>"


def test_an_error_comes_with_its_trace():
    try:
        int("why")
    except ValueError:
        shown = line(exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in str(shown["error"])
