"""Exchanges that a record filter selects."""

from dataclasses import replace

import pytest

from proxy.config.loader import load
from proxy.config.routes import RecordIf
from proxy.errors import SettingsError
from proxy.serving.record_filter import RecordCandidate, compile_filter, selects

GOOD = RecordCandidate(method="GET", status=200, duration_ms=50, response_bytes=100, ended_ns=1_000_000_000, recorded=3)


@pytest.mark.parametrize(
    ("conditions", "selected"),
    [
        (RecordIf(), True),
        (RecordIf(methods=("GET", "POST")), True),
        (RecordIf(methods=("POST",)), False),
        (RecordIf(statuses=("2xx",)), True),
        (RecordIf(statuses=("404", "5xx")), False),
        (RecordIf(duration_ms_min=50), True),
        (RecordIf(duration_ms_min=51), False),
        (RecordIf(response_bytes_min=101), False),
        (RecordIf(response_bytes_max=100), True),
        (RecordIf(response_bytes_max=99), False),
        (RecordIf(until_count=4), True),
        (RecordIf(until_count=3), False),
        (RecordIf(until="1970-01-01T00:00:01Z"), False),
        (RecordIf(until="1970-01-01T00:00:02+00:00"), True),
        (RecordIf(until="1970-01-01T00:00:01.5"), True),
    ],
)
def test_filter_selects_exchanges_that_satisfy_all_conditions(conditions: RecordIf, selected: bool) -> None:
    assert selects(compile_filter(conditions, "record_if"), GOOD) is selected


def test_exact_status_selects_no_other() -> None:
    record_filter = compile_filter(RecordIf(statuses=("404",)), "record_if")
    assert [selects(record_filter, replace(GOOD, status=status)) for status in (404, 400)] == [True, False]


def test_malformed_time_is_refused_with_its_location() -> None:
    with pytest.raises(SettingsError, match=r"^routes\[0\]\.record_if\.until: "):
        compile_filter(RecordIf(until="tomorrow"), "routes[0].record_if")


def test_malformed_status_is_refused_with_its_location() -> None:
    with pytest.raises(SettingsError, match="record_if"):
        load("routes: [{name: a, path: /a, record_if: {statuses: [ok]}}]", {})
