"""Log lines as JSON."""

import json
import logging
import sys

from scorer.logs import JsonLineFormatter


def line(**changes: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "scorer.x", "levelname": "INFO", "msg": "stage_changed", **changes})
    return json.loads(JsonLineFormatter().format(record))


def test_line_has_time_level_and_event():
    assert {key: value for key, value in line().items() if key != "time"} == {
        "level": "INFO",
        "event": "stage_changed",
    }


def test_extra_data_is_beside_the_event():
    assert line(request_id="r1")["request_id"] == "r1"


def test_value_unknown_to_json_is_its_text():
    assert line(kind=ValueError)["kind"] == "<class 'ValueError'>"


def test_exception_has_its_traceback():
    try:
        int("why")
    except ValueError:
        logged = line(exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in str(logged["exception"])
