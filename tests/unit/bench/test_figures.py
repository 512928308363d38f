"""Statistics of the proxy benchmark."""

from dataclasses import replace

import pytest

from bench.proxy.figures import Sample, aims, median, own_name, percentile, ratio, ratios, slope

SAMPLE = Sample(
    rps=1000.0,
    cpu_us=100.0,
    core=1.0,
    load_core=0.5,
    rss_mb=50.0,
    p50_ms=11.0,
    p99_ms=12.0,
    added_p50_ms=0.5,
    added_p99_ms=0.8,
    copies=1000,
    lost=0,
    errors=0,
)


def test_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    ours = [replace(SAMPLE, rps=rps) for rps in (1000.0, 100.0, 3000.0)]
    peer = [replace(SAMPLE, rps=rps) for rps in (500.0, 50.0, 1000.0)]
    assert ratio(ours, peer, lambda one: one.rps) == 2.0


def test_rounds_without_added_latency_are_ignored_in_the_ratio() -> None:
    ours = [replace(SAMPLE, added_p99_ms=added) for added in (-0.1, 0.4)]
    assert ratio(ours, [SAMPLE, SAMPLE], lambda one: one.added_p99_ms) == 0.5


def test_without_usable_rounds_there_is_no_ratio() -> None:
    unmeasured = replace(SAMPLE, added_p50_ms=None)
    assert ratio([unmeasured], [SAMPLE], lambda one: one.added_p50_ms) is None


def test_ratios_are_ours_over_the_peer() -> None:
    peer = replace(SAMPLE, rps=500.0, cpu_us=400.0, added_p50_ms=1.0, added_p99_ms=0.4)
    found = ratios([SAMPLE], [peer])
    assert found == {"rps": 2.0, "rps_rounds": [2.0], "cpu": 0.25, "added_p50": 0.5, "added_p99": 2.0}


def test_median_ignores_rounds_without_the_figure() -> None:
    rounds = [replace(SAMPLE, p99_ms=value) for value in (None, 3.0, 5.0)]
    assert median(rounds, lambda one: one.p99_ms) == 4.0


def test_median_of_no_rounds_is_none() -> None:
    assert median([replace(SAMPLE, p99_ms=None)], lambda one: one.p99_ms) is None


def test_an_aim_is_reached_by_requests_per_second() -> None:
    found = aims({"ours": [SAMPLE], "nginx": [replace(SAMPLE, rps=700.0)], "envoy": [replace(SAMPLE, rps=700.0)]})
    assert (found["rps_over_nginx"]["reached"], found["rps_over_envoy"]["reached"]) == (True, False)


def test_mirroring_and_journaling_peers_have_separate_aims() -> None:
    rounds = {name: [SAMPLE] for name in ("ours", "nginx", "nginx-log", "envoy-tap", "aiohttp-journal")}
    found = aims(rounds)
    assert [(name, one["aim"]) for name, one in found.items() if name.startswith("rps_over_")] == [
        ("rps_over_nginx", 1.3),
        ("rps_over_nginx_log", 1.3),
        ("rps_over_envoy_tap", 3.0),
        ("rps_over_aiohttp_journal", 10.0),
    ]


def test_added_latency_has_an_aim() -> None:
    assert aims({"ours": [replace(SAMPLE, added_p99_ms=1.5)]})["added_p99_ms"]["reached"] is False


def test_aims_need_our_own_figures() -> None:
    assert aims({"nginx": [SAMPLE]}) == {}


def test_this_checkout_comes_before_other_checkouts() -> None:
    assert own_name({"direct": [], "ours@/elsewhere": [], "ours": []}) == "ours"


def test_other_checkout_replaces_a_missing_own_one() -> None:
    assert own_name({"direct": [], "nginx": [], "ours@/elsewhere": []}) == "ours@/elsewhere"


def test_percentile_is_a_measured_value() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 1.0)] == [51, 100, 100]


def test_slope_is_growth_per_unit() -> None:
    assert slope([(0.0, 10.0), (1.0, 12.0), (2.0, 14.0)]) == pytest.approx(2.0)


def test_one_point_has_no_slope() -> None:
    assert slope([(0.0, 10.0)]) == 0.0
