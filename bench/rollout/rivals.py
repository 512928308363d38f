"""Simple forms of the rules of Argo Rollouts, Flagger and Kayenta, on the same world.

All check once a minute, from 1 % on, whether mismatches exceed 0.1 %, errors of the candidate exceed the legacy's by 0.1 %, and the p95 of
what the candidate served exceeds that of what the legacy served by 5 %. The comparison of responses is a gift: none of them has one.

    Argo Rollouts   AnalysisRun with interval 1 min, failureLimit 3: the fourth failed check of a step ends the rollout; steps of 30 min
    Flagger         threshold 5: the fifth failed check of a step ends it; steps of 30 min
    Kayenta         a rank test (one-sided, 1 %) of 60 minutes of p95 and of error rates for each step; it sees no responses
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from bench.rollout.world import Floats, Scenario, World
from proxy.config.rollout import RolloutSettings, steps_of

MISMATCHES_MAX: Final = 0.001
ERRORS_MAX: Final = 0.001
RATIO_MAX: Final = np.log(1.05)
KAYENTA_Z: Final = 2.326


class Rival(StrEnum):
    """The other tools."""

    ARGO = "Argo Rollouts"
    FLAGGER = "Flagger"
    KAYENTA = "Kayenta"


MINUTES: Final = {Rival.ARGO: 30, Rival.FLAGGER: 30, Rival.KAYENTA: 60}
FAILED_MAX: Final = {Rival.ARGO: 3, Rival.FLAGGER: 4}


@dataclass
class RivalEnded:
    """The end of each rollout: rolled back or promoted, after some hours, with harmed requests."""

    rolled_back: np.ndarray
    hours: Floats
    harmed: Floats


def roll_out_by(rival: Rival, scenario: Scenario, *, runs: int, per_s: float, seed: int) -> RivalEnded:
    """Simulate rollouts by the rule of another tool."""
    world = World(scenario, runs, per_s, seed)
    random = np.random.default_rng(seed + 1)
    rolled_back, hours, harmed = np.zeros(runs, bool), np.zeros(runs), np.zeros(runs)
    now_s = 0.0
    for step in steps_of(RolloutSettings(), "all")[1:-1]:
        failed = np.zeros(runs)
        minutes: list[tuple[Floats, Floats]] = []
        share = np.full(runs, step.percent / 100)
        for _ in range(MINUTES[rival]):
            now_s += 60
            tick = world.tick(now_s, 60, share)
            harmed += np.where(rolled_back, 0.0, tick.harmed)
            requests = tick.requests.sum(axis=1)
            served = requests - tick.candidate_mirrored.sum(axis=1)
            candidate, legacy = world.log_quantiles(share, served, requests - served, tick.slow)
            errors = tick.candidate_errors.count.sum(axis=1), tick.legacy_errors.count.sum(axis=1)
            known = served >= 1
            ratio = np.where(known, candidate - legacy, 0.0)
            if rival is Rival.KAYENTA:
                part = served / np.maximum(1, requests)
                rates = random.binomial(errors[0].astype(int), part) / np.maximum(1, served) - random.binomial(
                    errors[1].astype(int), 1 - part
                ) / np.maximum(1, requests - served)
                minutes.append((ratio, rates))
                continue
            check = tick.mismatches.count.sum(axis=1) > MISMATCHES_MAX * requests
            check |= errors[0] - errors[1] > ERRORS_MAX * requests
            check |= ratio > RATIO_MAX
            failed += check & ~rolled_back
            back = ~rolled_back & (failed > FAILED_MAX[rival])
            rolled_back |= back
            hours[back] = now_s / 3600
        if rival is Rival.KAYENTA:
            back = ~rolled_back & (
                _significant([one for one, _ in minutes]) | _significant([one for _, one in minutes])
            )
            rolled_back |= back
            hours[back] = now_s / 3600
    hours[~rolled_back] = now_s / 3600
    return RivalEnded(rolled_back, hours, harmed)


def _significant(minutes: list[Floats]) -> np.ndarray:
    """Test pairs of minutes by ranks: the candidate's values are higher than the legacy's (Wilcoxon's signed ranks, normal form)."""
    values = np.array(minutes)
    ranks = np.abs(values).argsort(axis=0).argsort(axis=0) + 1.0
    ranks = np.where(values == 0, 0.0, ranks)
    deviation = np.sqrt((ranks**2).sum(axis=0))
    return (np.sign(values) * ranks).sum(axis=0) > KAYENTA_Z * np.maximum(1e-9, deviation)
