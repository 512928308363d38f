"""What the intervals and decisions claim, shown by simulation with a fixed seed."""

import math
import random

import pytest

from comparator.exchanges.model import Failed, FailureCause, Observation, Role, Side
from comparator.findings.evidence import (
    ComparisonEvidence,
    EvidenceRequirements,
    half_width,
    judge,
    judge_latency,
    quantile_interval,
)
from comparator.stats.confidence import (
    Judgement,
    JudgementOutcome,
    VerdictCounts,
    combine,
    difference_interval,
    judge_coverage,
    judge_error_rates,
    judge_match_rate,
    rate_interval,
)
from comparator.stats.quantile_sketch import ACCURACY, QuantileSketch, dump, load
from comparator.verdict import Comparison, Verdict, VerdictCause
from tests.support.comparisons import mirrored, response, served

RUNS = 200
LOOKS = [10 * 1.3**i for i in range(24)]
"""Looks at growing sample sizes, up to about 4,000: an interval that is only valid once would fail at some of them."""


def ever_outside(rate: float, source: random.Random, *, alpha: float) -> bool:
    """Whether the true rate is ever outside the interval while one run is watched."""
    hits = trials = 0
    for look in LOOKS:
        while trials < look:
            hits += source.random() < rate
            trials += 1
        interval = rate_interval(hits, trials, alpha=alpha)
        if not interval.low <= rate <= interval.high:
            return True
    return False


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.5, 0.99, 0.9995])
def test_repeated_looks_miss_the_true_rate_in_at_most_5_percent_of_runs(rate: float) -> None:
    source = random.Random(5)
    missed = sum(ever_outside(rate, source, alpha=0.05) for _ in range(RUNS))
    assert missed / RUNS <= 0.05


def test_ordinary_interval_misses_far_more_often() -> None:
    """The simulation can fail: the usual normal interval, watched the same way, does."""

    def ever_outside_normal(source: random.Random) -> bool:
        hits = trials = 0
        for look in LOOKS:
            while trials < look:
                hits += source.random() < 0.5
                trials += 1
            if abs(hits / trials - 0.5) > 1.96 * math.sqrt(0.25 / trials):
                return True
        return False

    source = random.Random(5)
    assert sum(ever_outside_normal(source) for _ in range(RUNS)) / RUNS > 0.15


def judged_runs(rate: float, wanted: float, *, compared_max: int, seed: int = 3) -> list[JudgementOutcome]:
    """The outcome of each run, watched every 250 comparisons until it is decided."""
    source = random.Random(seed)
    outcomes = []
    for _ in range(RUNS):
        counts, outcome = VerdictCounts(), JudgementOutcome.NOT_ENOUGH
        while counts.compared < compared_max and outcome is JudgementOutcome.NOT_ENOUGH:
            matched = sum(source.random() < rate for _ in range(250))
            counts += VerdictCounts(match=matched, mismatch=250 - matched)
            outcome = judge_match_rate(counts, required=wanted).outcome
        outcomes.append(outcome)
    return outcomes


def test_barely_good_candidate_is_bad_in_at_most_5_percent_of_runs() -> None:
    outcomes = judged_runs(0.99, 0.99, compared_max=5_000)
    assert outcomes.count(JudgementOutcome.BAD) / RUNS <= 0.05


def test_barely_bad_candidate_is_good_in_at_most_5_percent_of_runs() -> None:
    outcomes = judged_runs(0.9899, 0.99, compared_max=5_000)
    assert outcomes.count(JudgementOutcome.GOOD) / RUNS <= 0.05


def test_twice_the_allowed_mismatches_are_detected_within_10_000_comparisons() -> None:
    outcomes = judged_runs(0.98, 0.99, compared_max=10_000)
    assert outcomes.count(JudgementOutcome.BAD) / RUNS >= 0.99


def test_clearly_good_candidate_is_good_within_20_000_comparisons() -> None:
    outcomes = judged_runs(0.9999, 0.999, compared_max=20_000)
    assert outcomes.count(JudgementOutcome.GOOD) / RUNS >= 0.95


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (0, 10), (10, 10), (3, 10), (99_999, 100_000)])
def test_interval_contains_its_estimate_and_lies_in_the_unit_interval(hits: int, trials: int) -> None:
    interval = rate_interval(hits, trials)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


def test_no_data_gives_the_whole_unit_interval() -> None:
    assert (rate_interval(0, 0).low, rate_interval(0, 0).high) == (0.0, 1.0)


def test_more_hits_than_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="3 hits of 2 trials"):
        rate_interval(3, 2)


def test_intervals_shrink_with_more_data() -> None:
    widths = [rate_interval(n // 2, n).high - rate_interval(n // 2, n).low for n in (10, 100, 1_000, 10_000)]
    assert widths == sorted(widths, reverse=True)


def test_too_few_comparisons_are_never_good_however_well_they_match() -> None:
    judgement = judge_match_rate(VerdictCounts(match=99), required=0.5, compared_min=100)
    assert (judgement.outcome, judgement.reason[:31]) == (
        JudgementOutcome.NOT_ENOUGH,
        "only 99 of at least 100 compare",
    )


def test_many_mismatches_are_bad_before_the_minimum_is_reached() -> None:
    assert judge_match_rate(VerdictCounts(mismatch=20), required=0.99, compared_min=100).outcome is JudgementOutcome.BAD


def test_reason_carries_the_denominator() -> None:
    judgement = judge_match_rate(VerdictCounts(match=950, known=20, transient=20, mismatch=10, failed=7), required=0.9)
    assert "990 of 1000 compared matched" in judgement.reason


def test_failed_comparisons_are_not_in_the_denominator() -> None:
    assert VerdictCounts(match=1, failed=5).compared == 1


def test_difference_of_error_rates_has_three_outcomes() -> None:
    outcomes = [
        judge_error_rates(legacy_errors=a, candidate_errors=b, compared=n, allowed=0.01).outcome
        for a, b, n in ((0, 0, 10_000), (0, 1_000, 10_000), (0, 1, 20))
    ]
    assert outcomes == [JudgementOutcome.GOOD, JudgementOutcome.BAD, JudgementOutcome.NOT_ENOUGH]


def test_difference_interval_contains_the_true_difference_in_nearly_all_runs() -> None:
    source = random.Random(9)
    held = 0
    for _ in range(RUNS):
        a = sum(source.random() < 0.05 for _ in range(500))
        b = sum(source.random() < 0.15 for _ in range(500))
        interval = difference_interval(a, 500, b, 500)
        held += interval.low <= 0.10 <= interval.high
    assert held / RUNS >= 0.95


def test_coverage_names_missing_branches() -> None:
    judgement = judge_coverage({"pass": 5, "dedup": 1}, ["pass", "dedup", "error"], each_min=2)
    assert (judgement.outcome, judgement.reason.rpartition("not: ")[2]) == (JudgementOutcome.NOT_ENOUGH, "dedup, error")


def test_one_bad_criterion_decides() -> None:
    several = [
        Judgement(JudgementOutcome.GOOD, "a"),
        Judgement(JudgementOutcome.BAD, "b"),
        Judgement(JudgementOutcome.NOT_ENOUGH, "c"),
    ]
    assert combine(several) == Judgement(JudgementOutcome.BAD, "b")


def test_nothing_judged_is_not_good() -> None:
    assert combine([]).outcome is JudgementOutcome.NOT_ENOUGH


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99, 1.0])
def test_sketch_is_within_its_accuracy(share: float) -> None:
    source = random.Random(11)
    values = sorted(source.lognormvariate(8, 2) for _ in range(5_000))
    sketch = QuantileSketch()
    for value in values:
        sketch.add(value)
    exact = values[round(share * 4_999)]
    assert abs(sketch.quantile(share) - exact) <= ACCURACY * exact * 1.000_001


def test_sketch_orders_negative_values_zero_and_positive_ones() -> None:
    sketch = QuantileSketch()
    for value in (5.0, -3.0, 0.0, 2.0, -10.0):
        sketch.add(value)
    found = [sketch.at_rank(rank) for rank in range(5)]
    assert [round(value) for value in found] == [-10, -3, 0, 2, 5]


def test_merged_sketches_are_the_sketch_of_all_values() -> None:
    source = random.Random(2)
    parts, whole = [QuantileSketch(), QuantileSketch()], QuantileSketch()
    for i in range(1_000):
        value = source.expovariate(0.01)
        parts[i % 2].add(value)
        whole.add(value)
    parts[0].merge(load(dump(parts[1])))
    assert parts[0] == whole


def test_empty_sketch_has_no_quantile() -> None:
    assert math.isnan(QuantileSketch().quantile(0.5))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_quantile_interval_contains_the_true_quantile_at_all_looks(share: float) -> None:
    """Of an exponential distribution; watched at every look, in at least 95 of 100 runs."""
    source, held = random.Random(21), 0
    true = -math.log(1 - share)
    for _ in range(100):
        sketch, inside = QuantileSketch(), True
        for look in LOOKS[:18]:
            while sketch.count < look:
                sketch.add(source.expovariate(1))
            interval = quantile_interval(sketch, share)
            inside &= interval.low <= true <= interval.high
        held += inside
    assert held >= 95


def test_half_width_shrinks_like_the_root_of_the_count() -> None:
    assert half_width(40_000, alpha=0.05) < half_width(10_000, alpha=0.05) / 1.8


def latency_of(factor: float, count: int) -> JudgementOutcome:
    source, ratio = random.Random(4), QuantileSketch()
    for _ in range(count):
        ratio.add(factor * source.lognormvariate(0, 0.3))
    return judge_latency(ratio, share=0.5, allowed=0.25, alpha=0.05).outcome


def test_latency_has_three_outcomes() -> None:
    assert [latency_of(1.0, 3_000), latency_of(1.6, 3_000), latency_of(1.0, 30)] == [
        JudgementOutcome.GOOD,
        JudgementOutcome.BAD,
        JudgementOutcome.NOT_ENOUGH,
    ]


def matched() -> Comparison:
    return Comparison(Verdict.MATCH, None, Side.CANDIDATE)


def evidence_of(count: int, *, candidate_status: int = 200, candidate_us: int = 1000) -> ComparisonEvidence:
    evidence = ComparisonEvidence()
    for _ in range(count):
        a, b = served(response({}, status=candidate_status), us=candidate_us), mirrored(response({}), us=1000)
        evidence.add(matched(), a, b)
    evidence.add_branch("v2_score: pass")
    return evidence


WANTED = EvidenceRequirements(match_rate=0.99, compared_min=100, error_increase=0.01, branches=("v2_score: pass",))


def test_good_evidence_is_good_in_every_criterion() -> None:
    judged = judge(evidence_of(3_000), WANTED)
    assert judged.overall.outcome is JudgementOutcome.GOOD


@pytest.mark.parametrize("worse", [{"candidate_status": 500}, {"candidate_us": 5_000}])
def test_candidate_that_fails_more_or_is_slower_is_bad(worse: dict[str, int]) -> None:
    assert judge(evidence_of(3_000, **worse), WANTED).overall.outcome is JudgementOutcome.BAD


def test_evidence_of_two_processes_merges() -> None:
    one, other = evidence_of(10), evidence_of(5)
    one.merge(other)
    assert (one.answered, one.counts.match, one.ratio.count, one.branches["v2_score: pass"]) == (15, 15, 15, 2)


def test_durations_belong_to_the_side_whatever_its_role() -> None:
    evidence = ComparisonEvidence()
    a = served(response({}), side=Side.LEGACY, us=1_000)
    evidence.add(matched(), a, mirrored(response({}), side=Side.CANDIDATE, us=4_000))
    assert round(evidence.ratio.quantile(0.5), 1) == 4.0


def test_side_without_response_does_not_count_for_latency() -> None:
    evidence = ComparisonEvidence()
    gone = Observation(Side.LEGACY, Role.MIRRORED, Failed(FailureCause.TIMEOUT, ""), 1)
    evidence.add(Comparison(Verdict.FAILED, VerdictCause.MIRRORED_TIMEOUT, Side.CANDIDATE), served(response({})), gone)
    assert (evidence.answered, evidence.counts.failed) == (0, 1)
