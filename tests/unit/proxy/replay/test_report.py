"""The report, and the rules by which a replay fails."""

import random

import msgspec
import pytest

from comparator.exchanges.model import Failed, FailureCause, Request, Response
from proxy.recordings.model import RecordedExchange
from proxy.replay.errors import OptionError
from proxy.replay.report import (
    FindingReport,
    LatencyReport,
    ReadReport,
    ReplayFacts,
    ReplayReport,
    SideReport,
    Verdicts,
    build_report,
    figure_of,
    latency_report,
    parse_fail_rules,
    render_json,
    render_text,
)
from proxy.replay.report_diff import differing_members
from proxy.replay.tally import OTHER_ROUTES, ROUTES_MAX, LatencyHistogram, Tally

MS = 1_000_000
OK = Response(200, (), b"")
FACTS = ReplayFacts("capture", "both", "2026-01-01T00:00:00+00:00", 2.0, True, "1x", 4, 10.0)


def tally(
    *,
    candidate_ms: int = 10,
    legacy_ms: int = 20,
    recorded_ms: int = 5,
    sides: str = "candidate legacy",
    count: int = 4,
) -> Tally:
    made = Tally()
    times = {"candidate": candidate_ms, "legacy": legacy_ms}
    for side in sides.split():
        for _ in range(count):
            item = RecordedExchange(Request("GET", "/", (), b""), OK, duration_ns=recorded_ms * MS, route="score")
            made.add(side, item, OK, wait_ns=MS, service_ns=times[side] * MS)
    return made


def report(made: Tally | None = None, **facts: object) -> ReplayReport:
    return build_report(made or tally(), msgspec.structs.replace(FACTS, **facts))


def value_of(result: ReplayReport, name: str) -> float:
    figure = figure_of(result, name)
    assert figure
    return figure.value


def broken(rules: str, result: ReplayReport) -> list[str]:
    return [output for rule in parse_fail_rules(rules) if (output := rule.violation(result))]


def test_latency_includes_the_wait_and_service_does_not() -> None:
    side = report().sides["candidate"]
    assert side.latency.quantiles_ms["0.95"] == pytest.approx(11, rel=0.01)
    assert side.service.quantiles_ms["0.95"] == pytest.approx(10, rel=0.01)


def test_ratio_is_candidate_over_legacy() -> None:
    assert value_of(report(), "p95-ratio") == pytest.approx(0.5, rel=0.01)


def test_ratio_of_one_side_is_over_the_recorded_times() -> None:
    assert value_of(report(tally(sides="candidate")), "p95-ratio") == pytest.approx(2, rel=0.01)


def test_rule_is_violated_only_when_all_of_the_interval_is_beyond_the_limit() -> None:
    result = report(verdicts={"a": Verdicts(compared=1_000, mismatch=30), "b": Verdicts(compared=1_000)})
    assert broken("mismatch-rate>0.014", result) == []
    assert broken("mismatch-rate>0.005", result) == ["mismatch-rate is 0.015 (0.00696 to 0.0276) > 0.005"]
    assert [rule.doubt(result) is not None for rule in parse_fail_rules("mismatch-rate>0.014,mismatch-rate>0.02")] == [
        True,
        False,
    ]


def aa_report(base: ReplayReport, source: random.Random, count: int) -> ReplayReport:
    """Return the report of a replay to two sides with the same law."""
    sides: dict[str, SideReport] = {}
    for side, counted in base.sides.items():
        histogram = LatencyHistogram()
        for _ in range(count):
            histogram.add(int(20 * MS * source.lognormvariate(0, 0.4)))
        sides[side] = msgspec.structs.replace(counted, service=latency_report(histogram))
    verdicts = Verdicts(compared=count, mismatch=source.random() < count * 1e-4)
    return msgspec.structs.replace(base, sides=sides, verdicts=verdicts)


def test_equal_sides_seldom_fail_the_thresholds_of_the_guide() -> None:
    """By their points alone half of these replays fail."""
    source, base = random.Random(4), report()
    runs = [aa_report(base, source, 276) for _ in range(30)]
    assert sum(bool(broken("mismatch-rate>0.001,p95-ratio>1.0", run)) for run in runs) <= 1
    points = [value_of(run, "p95-ratio") for run in runs]
    assert sum(value > 1 for value in points) > 6


def test_slow_side_fails() -> None:
    assert broken("p95-ratio>1.0", report(tally(candidate_ms=40, count=500)))


@pytest.mark.parametrize(("count", "shown"), [(276, False), (9_999, False), (10_000, True)])
def test_quantile_is_printed_only_with_ten_latencies_beyond_it(count: int, shown: bool) -> None:
    latency = LatencyReport(count, 1.0, {"0.999": 5.0, "1": 7.0})
    assert (latency.shown("0.999") is not None) is shown
    assert latency.shown("1") == 7.0


def test_interval_of_a_quantile_has_no_upper_end_without_latencies_beyond_it() -> None:
    few = report(tally(count=276)).sides["candidate"].latency
    assert few.intervals_ms["0.999"][1] is None
    assert few.intervals_ms["0.5"][1] is not None


def test_rule_without_data_is_violated() -> None:
    assert broken("mismatch-rate>0.5", report()) == ["mismatch-rate is unknown: there are no data for it"]


def test_requests_without_response_and_server_errors_are_errors() -> None:
    made = tally()
    for outcome in (Failed(FailureCause.TIMEOUT, ""), Response(503, (), b"")):
        made.add("legacy", RecordedExchange(Request("GET", "/", (), b"")), outcome, wait_ns=0, service_ns=MS)
    assert value_of(report(made), "error-rate") == 0.2


@pytest.mark.parametrize("rules", ["mismatch-rate", "speed>1", "p42-ms>1", "p95-ratio>fast", "p95>1"])
def test_malformed_rules_are_refused(rules: str) -> None:
    with pytest.raises(OptionError):
        parse_fail_rules(rules)


def test_json_report_round_trips() -> None:
    result = report(verdicts={"score": Verdicts(compared=3, match=3)})
    assert msgspec.json.decode(render_json(result), type=ReplayReport) == result


def test_text_has_both_sides_rates_and_failures() -> None:
    text = render_text(msgspec.structs.replace(report(finished=False), violations=("p95-ratio is 2 > 1",)))
    assert "interrupted" in text
    assert "candidate, from due" in text
    assert "target 10.0/s, achieved 4.0/s" in text
    assert "FAILED: p95-ratio is 2 > 1" in text


def test_closed_loop_has_no_target_rate_and_no_delay() -> None:
    made = Tally()
    made.add("candidate", RecordedExchange(Request("GET", "/", (), b"")), OK, wait_ns=0, service_ns=MS)
    text = render_text(report(made, target_per_s=0.0))
    assert "as fast as responses arrived, achieved 0.5/s\n" in text
    assert "ms late" not in text
    assert "from due" not in text


def test_equal_reports_differ_in_times_only() -> None:
    slow = report(tally(candidate_ms=70), began="2027-01-01T00:00:00+00:00", duration_s=9.0)
    assert differing_members(report(), slow) == []
    assert slow != report()


def test_only_times_within_the_replay_are_masked_in_examples() -> None:
    example = FindingReport("f", "score", "extra_row", "t", "s", "changed", 1, "id", "", "at 2026-01-01 00:00:01.5+00")
    item = report(findings=(example,))
    later = msgspec.structs.replace(example, candidate="at 2026-01-01 00:00:02.25+00")
    other = msgspec.structs.replace(example, candidate="at 2099-01-01 00:00:02.25+00")
    assert differing_members(item, report(findings=(later,))) == []
    assert differing_members(item, report(findings=(other,))) == ["findings"]


def test_redaction_digests_in_examples_are_masked() -> None:
    example = FindingReport("f", "score", "extra_row", "t", "s", "changed", 1, "id", "", '"redacted:0123456789abcdef"')
    other = msgspec.structs.replace(example, candidate='"redacted:fedcba9876543210"')
    assert differing_members(report(findings=(example,)), report(findings=(other,))) == []


def test_differing_members_are_named() -> None:
    other = report(
        verdicts={"score": Verdicts(compared=1, mismatch=1)}, verdicts_digest="another", read=ReadReport(malformed=2)
    )
    assert differing_members(report(), other) == ["malformed", "routes", "verdicts", "verdicts_digest", "read"]


def test_missing_value_is_shown_as_nothing() -> None:
    example = FindingReport("f", "score", "extra", "t", "absent", "changed", 1, "id", "", "2")
    lines = render_text(report(verdicts={"a": Verdicts(compared=1, mismatch=1)}, findings=(example,))).splitlines()
    assert [line.strip() for line in lines[-2:]] == ["candidate 2", "legacy    nothing"]


def test_routes_of_a_recording_are_bounded() -> None:
    made = Tally()
    for number in range(ROUTES_MAX + 50):
        item = RecordedExchange(Request("GET", "/", (), b""), OK, route=f"r{number}")
        made.add("legacy", item, OK, wait_ns=0, service_ns=MS)
    assert len(made.routes()) == ROUTES_MAX + 1
    assert made.of("legacy", OTHER_ROUTES).sent == 50
    assert made.sent == ROUTES_MAX + 50


DIFFERING = {"score": Verdicts(compared=4, match=3, mismatch=1)}


@pytest.mark.parametrize(
    ("verdicts", "limits", "outcome", "reason"),
    [
        ({"score": Verdicts(compared=4, match=4)}, (), "PASS", ""),
        ({}, (), "INCOMPLETE", "nothing was compared"),
        (DIFFERING, (), "DIFFERS", "no limit was given for mismatches"),
        (DIFFERING, ("p95-ratio>2",), "DIFFERS", "no limit was given for mismatches"),
        (DIFFERING, ("p95-ratio>2", "mismatch-rate>0.9"), "PASS", ""),
        (DIFFERING, ("--fail-on-new",), "PASS", ""),
    ],
)
def test_replay_with_mismatches_passes_only_by_a_limit_for_them(
    verdicts: dict[str, Verdicts], limits: tuple[str, ...], outcome: str, reason: str
) -> None:
    judged = msgspec.structs.replace(report(verdicts=verdicts), limits=limits)
    assert judged.outcome == outcome
    assert " ".join(judged.reasons).startswith(reason)
    assert bool(judged.reasons) is bool(reason)


def test_replay_to_one_side_compares_nothing_and_passes() -> None:
    assert report(tally(sides="candidate")).outcome == "PASS"
