"""Which exchanges a capture rule takes."""

from dataclasses import replace

import pytest

from proxy.config.capture_rule import CaptureRule
from proxy.config.settings import load
from proxy.errors import SettingsError
from proxy.serving.capture_filter import Served, compile_rule, takes

GOOD = Served(method="GET", status=200, duration_ms=50, response_bytes=100, ended_ns=1_000_000_000, taken=3)


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        (CaptureRule(), True),
        (CaptureRule(methods=("GET", "POST")), True),
        (CaptureRule(methods=("POST",)), False),
        (CaptureRule(statuses=("2xx",)), True),
        (CaptureRule(statuses=("404", "5xx")), False),
        (CaptureRule(duration_ms_min=50), True),
        (CaptureRule(duration_ms_min=51), False),
        (CaptureRule(response_bytes_min=101), False),
        (CaptureRule(response_bytes_max=100), True),
        (CaptureRule(response_bytes_max=99), False),
        (CaptureRule(until_count=4), True),
        (CaptureRule(until_count=3), False),
        (CaptureRule(until="1970-01-01T00:00:01Z"), False),
        (CaptureRule(until="1970-01-01T00:00:02+00:00"), True),
        (CaptureRule(until="1970-01-01T00:00:01.5"), True),
    ],
)
def test_a_rule_takes_what_is_all_that_it_wants(rule: CaptureRule, taken: bool) -> None:
    assert takes(compile_rule(rule, "$"), GOOD) is taken


def test_an_exact_status_is_taken_alone() -> None:
    wanted = compile_rule(CaptureRule(statuses=("404",)), "$")
    assert [takes(wanted, replace(GOOD, status=status)) for status in (404, 400)] == [True, False]


def test_a_time_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(SettingsError, match=r"\$\.routes\[0\]\.capture\.until"):
        compile_rule(CaptureRule(until="tomorrow"), "$.routes[0].capture")


def test_a_status_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(SettingsError, match="capture"):
        load("routes: [{name: a, path: /a, capture: {statuses: [ok]}}]", {})
