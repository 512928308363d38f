"""A slice of `make bench-rollout`: good candidates are never rolled back, bad ones are before they harm many clients.

Seeds are fixed. The command simulates a thousand rollouts of each good candidate.
"""

from dataclasses import replace

import numpy as np
import pytest

from bench.rollout.rivals import Rival, roll_out_by
from bench.rollout.rollouts import PROMOTED, ROLLED_BACK, Ended, roll_out
from bench.rollout.scenarios import BAD, GOOD
from bench.rollout.world import Scenario

BY_NAME = {scenario.name: scenario for scenario in (*GOOD, *BAD)}
FOUND_AT_ONCE = [
    scenario for scenario in BAD if scenario.hours is None and not scenario.from_hour and scenario.slower == 1.0
    and not scenario.wrong_overlapped and not scenario.candidate_spells
]  # fmt: skip


def simulated(scenario: Scenario, *, hours: float, runs: int = 40, per_s: float = 100.0) -> Ended:
    return roll_out(scenario, runs=runs, per_s=per_s, seed=11, hours_max=hours)


@pytest.mark.parametrize("scenario", GOOD, ids=lambda one: one.name)
def test_good_candidate_is_not_rolled_back_whatever_the_traffic(scenario: Scenario) -> None:
    ended = simulated(scenario, hours=1.5)
    assert not (ended.state == ROLLED_BACK).any()


def test_noise_in_groups_of_one_client_is_no_ground() -> None:
    """A tenth of the limit in groups of 20: 72 % of the rollouts, when such requests counted as independent."""
    ended = simulated(BY_NAME["as fast, noise in groups of 20 by one key"], hours=4.0, runs=100)
    assert not (ended.state == ROLLED_BACK).any()


def test_equal_candidate_reaches_the_day_long_step_within_a_day() -> None:
    ended = simulated(BY_NAME["good, exactly as fast"], hours=24.0, runs=60)
    reached = (ended.hours_to_last_step > 0) & (ended.hours_to_last_step <= 24)
    assert reached.mean() >= 0.95


def test_good_candidate_is_promoted_after_the_day() -> None:
    ended = simulated(BY_NAME["good, p95 x0.85"], hours=30.0, runs=10)
    assert (ended.state == PROMOTED).all()
    assert ended.hours.min() > 24


@pytest.mark.parametrize("scenario", FOUND_AT_ONCE, ids=lambda one: one.name)
def test_bad_candidate_is_rolled_back_before_it_serves_5_percent(scenario: Scenario) -> None:
    ended = simulated(scenario, hours=6.0, runs=10)
    assert (ended.state == ROLLED_BACK).all()
    assert ended.percent.max() <= 1.0


def test_independent_mismatches_are_still_found_within_ten_minutes() -> None:
    ended = simulated(BY_NAME["wrong 0.2 %"], hours=1.0, runs=60)
    assert float(np.median(ended.hours)) * 60 <= 10


@pytest.mark.parametrize("factor", [1.2])
def test_slow_candidate_is_rolled_back_at_the_first_percent(factor: float) -> None:
    ended = simulated(Scenario("slow", good=False, slower=factor), hours=12.0, runs=20)
    assert (ended.state == ROLLED_BACK).all()
    assert ended.percent.max() <= 1.0


def test_candidate_that_is_slow_in_spells_only_does_not_pass() -> None:
    ended = simulated(BY_NAME["three times as slow in spells of 60 s, 10 % of the time"], hours=16.0, runs=10)
    assert not (ended.state == PROMOTED).any()
    assert (ended.state == ROLLED_BACK).any()
    assert ended.percent.max() <= 1.0


def test_change_after_a_good_day_is_found_in_twice_the_time_of_fresh_evidence() -> None:
    fresh = Scenario("fresh", good=False, wrong=0.005)
    at_once = simulated(fresh, hours=1.0, runs=30)
    later = simulated(replace(fresh, from_hour=20.0), hours=22.0, runs=30)
    assert (later.state == ROLLED_BACK).all()
    # A look is made every minute, so a minute is added on either side.
    assert np.median(later.hours - 20.0) * 60 <= 2 * (np.median(at_once.hours) * 60 + 1)


def test_fault_that_shows_only_under_concurrency_does_not_pass() -> None:
    ended = simulated(BY_NAME["10 % overlapped, 3 % of these wrong"], hours=6.0, runs=10)
    assert not (ended.state == PROMOTED).any()
    assert (ended.percent == 0).all()
    assert ended.harmed.max() == 0


def test_rules_of_other_tools_roll_back_a_candidate_that_is_as_fast() -> None:
    scenario = BY_NAME["good, exactly as fast"]
    ended = {rival: roll_out_by(rival, scenario, runs=20, per_s=100.0, seed=3) for rival in Rival}
    assert ended[Rival.ARGO].rolled_back.mean() > 0.5
    assert ended[Rival.FLAGGER].rolled_back.mean() > 0.5
