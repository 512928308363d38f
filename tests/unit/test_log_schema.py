"""Scorer and proxy write log lines of one schema."""

import json
import logging

import pytest
from aiohttp.http_exceptions import BadStatusLine, InvalidURLError, LineTooLong
from aiohttp.web_protocol import RequestPayloadError

from proxy import logging_json
from scorer import logs


def record(**changes: object) -> logging.LogRecord:
    """A record as `logger.info("backend_ejected", extra={"backend": "candidate"})` makes it."""
    values: dict[str, object] = {
        "name": "any",
        "levelname": "WARNING",
        "levelno": logging.WARNING,
        "msg": "backend_ejected",
        "created": 1_767_225_600.25,
        "msecs": 250.0,
        "backend": "candidate",
        "weight": 0.5,
    }
    return logging.makeLogRecord(values | changes)


def lines(made: logging.LogRecord) -> list[dict[str, object]]:
    """The record formatted by either, decoded."""
    return [
        json.loads(formatter.format(made)) for formatter in (logs.JsonLineFormatter(), logging_json.JsonFormatter())
    ]


def test_line_is_equal_in_scorer_and_proxy():
    expected = {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "WARNING",
        "event": "backend_ejected",
        "backend": "candidate",
        "weight": 0.5,
    }
    assert lines(record()) == [expected, expected]


@pytest.mark.parametrize("formatter", [logs.JsonLineFormatter(), logging_json.JsonFormatter()])
def test_order_of_keys_is_time_level_event_data(formatter: logging.Formatter):
    assert list(json.loads(formatter.format(record()))) == ["time", "level", "event", "backend", "weight"]


CLIENT_FAULTS = [
    BadStatusLine("x"),
    LineTooLong(b"x", 1),
    InvalidURLError("x"),
    RequestPayloadError("x"),
]


@pytest.mark.parametrize("made_filter", [logs.MalformedRequestFilter(), logging_json.ClientFaultFilter()])
def test_requests_that_are_not_http_are_not_logged_as_errors_of_ours(made_filter: logging.Filter):
    kept = [
        made_filter.filter(record(exc_info=(type(error), error, None)))
        for error in [*CLIENT_FAULTS, ValueError("x"), ConnectionResetError()]
    ]
    assert kept == [False] * len(CLIENT_FAULTS) + [True, True]
    assert made_filter.filter(record())


def test_exception_is_a_text_in_both():
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("no number")
    scorer, proxy = lines(record(exc_info=(caught.type, caught.value, caught.tb)))
    assert scorer == proxy
    assert "invalid literal for int" in str(scorer["exception"])
