"""Which exchanges a capture rule takes."""

from dataclasses import replace

import pytest

from proxy.config.loader import load
from proxy.config.routes import RecordIf
from proxy.errors import SettingsError
from proxy.serving.record_filter import RecordCandidate, compile_filter, selects

GOOD = RecordCandidate(method="GET", status=200, duration_ms=50, response_bytes=100, ended_ns=1_000_000_000, recorded=3)


@pytest.mark.parametrize(
    ("rule", "taken"),
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
def test_a_rule_takes_what_is_all_that_it_wants(rule: RecordIf, taken: bool) -> None:
    assert selects(compile_filter(rule, "$"), GOOD) is taken


def test_an_exact_status_is_taken_alone() -> None:
    wanted = compile_filter(RecordIf(statuses=("404",)), "$")
    assert [selects(wanted, replace(GOOD, status=status)) for status in (404, 400)] == [True, False]


def test_a_time_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(SettingsError, match=r"^routes\[0\]\.record_if\.until: "):
        compile_filter(RecordIf(until="tomorrow"), "routes[0].record_if")


def test_a_status_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(SettingsError, match="record_if"):
        load("routes: [{name: a, path: /a, record_if: {statuses: [ok]}}]", {})
