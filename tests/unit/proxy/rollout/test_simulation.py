"""Simulated rollouts, judged by the real gates: the good candidate is promoted, the bad ones are rolled back."""

from dataclasses import replace

import pytest

from proxy.rollout.state_machine import Phase
from tests.support.rollout_simulation import BAD, GOOD, SimulatedCandidate, simulate

SEEDS = 3
EXPOSED_MAX = {"slow (p95 +20 %)": 20_000.0}
"""Limit of requests served late before the rollback; of wrong or failed ones it is a hundred."""


def test_good_candidate_is_promoted_and_never_rolled_back() -> None:
    """The command `make bench-rollout` does this many more times and prints the rate."""
    runs = [simulate(GOOD, seed) for seed in range(8)]
    assert {run.phase for run in runs} == {Phase.PROMOTED}


@pytest.mark.parametrize("candidate", BAD, ids=lambda one: one.name)
def test_bad_candidate_is_rolled_back_before_it_serves_many_clients(candidate: SimulatedCandidate) -> None:
    runs = [simulate(candidate, seed) for seed in range(SEEDS)]
    assert {run.phase for run in runs} == {Phase.ROLLING_BACK}
    assert max(run.reached for run in runs) <= 1.0
    assert max(run.harmed_requests for run in runs) < 1_000


@pytest.mark.parametrize("candidate", BAD, ids=lambda one: one.name)
def test_candidate_that_becomes_bad_at_a_quarter_is_rolled_back_there(candidate: SimulatedCandidate) -> None:
    runs = [simulate(replace(candidate, since_percent=25.0), seed) for seed in range(SEEDS)]
    assert {run.phase for run in runs} == {Phase.ROLLING_BACK}
    assert {run.reached for run in runs} == {25.0}
    assert max(run.harmed_requests for run in runs) < EXPOSED_MAX.get(candidate.name, 100.0)


def test_rollback_names_the_gate_and_the_finding() -> None:
    rows, rare = (simulate(candidate, 1) for candidate in BAD[3:])
    assert (rows.gate, rows.finding.partition("/")[0]) == ("effects", "rows")
    assert (rare.gate, rare.finding) == ("mismatches", "response/rare")
