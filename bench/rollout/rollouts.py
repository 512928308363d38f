"""Move many rollouts through the steps by the fast gates, and report how each ended."""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.rollout.fast_gates import INDEX, ROUTES, TESTED, FastEvidence, FastGates, columns_of, most_specific
from bench.rollout.world import Flags, Floats, Scenario, World
from proxy.config.rollout import GateSettings, RolloutSettings, steps_of
from proxy.rollout.alpha_spending import RECENT_S
from proxy.rollout.gates import GateName, step_alpha
from proxy.rollout.latency_blocks import BLOCK_S

UNDER_WAY: Final = 0
PROMOTED: Final = 1
ROLLED_BACK: Final = 2
COARSE_S: Final = 300
"""Length of a tick while all rollouts only wait for the end of the day-long step."""
KEPT_SHARE: Final = 0.7
"""Arrays are made smaller when fewer of their rollouts than this are under way."""


@dataclass
class Ended:
    """The end of each rollout: state, hours, hours until the last step was entered, percent, harmed requests, and gate."""

    state: np.ndarray
    hours: Floats
    hours_to_last_step: Floats
    percent: Floats
    harmed: Floats
    gate: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, runs: int) -> "Ended":
        """Start with all under way."""
        return cls(np.zeros(runs, int), np.zeros(runs), np.zeros(runs), np.zeros(runs), np.zeros(runs), [""] * runs)


@dataclass
class Blocks:
    """The block of latency that is under way in each run."""

    runs: int
    served: Floats = field(init=False)
    mirrored: Floats = field(init=False)
    slow: Floats = field(init=False)
    begin_s: Floats = field(init=False)
    length_s: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.served, self.mirrored = np.zeros(self.runs), np.zeros(self.runs)
        self.slow, self.begin_s, self.length_s = np.zeros((self.runs, 2)), np.zeros(self.runs), np.zeros(self.runs)

    def add(self, requests: Floats, mirrored: Floats, slow: Floats, begin_s: float, tick_s: int) -> None:
        """Add a tick."""
        self.begin_s = np.where(self.length_s == 0, begin_s, self.begin_s)
        self.served += requests - mirrored
        self.mirrored += mirrored
        self.slow += slow * tick_s
        self.length_s += tick_s

    def close(self, world: World, evidence: FastEvidence, share: Floats, settings: GateSettings) -> None:
        """Turn the blocks that have enough durations into evidence."""
        least, first, last = settings.latency_durations_min, share <= 0, share >= 1
        fewest = np.where(first, self.mirrored, np.where(last, self.served, np.minimum(self.served, self.mirrored)))
        done = (fewest >= least) & (self.length_s >= BLOCK_S)
        if not done.any():
            return
        slow = self.slow / np.maximum(1.0, self.length_s)[:, None]
        ratio = np.zeros(len(share))
        for of, halves in ((first, (False, True)), (last, (True, False)), (~first & ~last, (True, True))):
            if (of & done).any():
                drawn = world.ratio_of_block(share, self.served, self.mirrored, slow, halves=halves)
                ratio = np.where(of, drawn, ratio)
        limit = np.where(first | last, settings.latency_across_roles_max, settings.latency_ratio_max)
        evidence.add_blocks(done, ratio, np.log(limit), self.begin_s)
        self.restart(done)

    def restart(self, of: Flags) -> None:
        """Drop the blocks of these runs."""
        self.served[of] = self.mirrored[of] = self.length_s[of] = 0.0
        self.slow[of] = 0.0

    def keep(self, of: Flags) -> None:
        """Drop the other runs."""
        self.served, self.mirrored, self.slow = self.served[of], self.mirrored[of], self.slow[of]
        self.begin_s, self.length_s = self.begin_s[of], self.length_s[of]


@dataclass
class Streaks:
    """Looks in a row that were bad, each on more evidence, by gate."""

    runs: int
    length: dict[GateName, np.ndarray] = field(init=False)
    amount: dict[GateName, Floats] = field(init=False)

    def __post_init__(self) -> None:
        self.length = {name: np.zeros(self.runs, int) for name in TESTED}
        self.amount = {name: np.zeros(self.runs) for name in TESTED}

    def look(self, bad: dict[GateName, Flags], evidence: FastEvidence) -> None:
        """Count a look."""
        trials, blocks = evidence.of_step("pairs"), evidence.blocks
        for name, is_bad in bad.items():
            grown = blocks if name in {GateName.LATENCY, GateName.SLOW_SPELLS} else trials
            more = is_bad & ((self.length[name] == 0) | (grown > self.amount[name]))
            self.length[name] = np.where(is_bad, self.length[name] + more, 0)
            self.amount[name] = np.where(more, grown, self.amount[name])

    def restart(self, of: Flags) -> None:
        """Forget the looks of these runs."""
        for name in TESTED:
            self.length[name][of] = 0

    def keep(self, of: Flags) -> None:
        """Drop the other runs."""
        self.length = {name: length[of] for name, length in self.length.items()}
        self.amount = {name: amount[of] for name, amount in self.amount.items()}


def tick_of(per_s: float) -> int:
    """Return the length of a tick in seconds, so that one has a few hundred requests: a minute, at 1/s five."""
    return 60 if per_s >= 5 else 300


class Rollouts:
    """Rollouts of one candidate with automatic promotion and rollback.

    Args:
        scenario: the candidate and its traffic.
        runs: number of rollouts.
        per_s: mean requests per second.
        seed: of the world.
        settings: section `rollout`.
    """

    def __init__(
        self, scenario: Scenario, *, runs: int, per_s: float, seed: int, settings: RolloutSettings | None = None
    ) -> None:
        rollout = settings or RolloutSettings()
        self.gates, self.auto = rollout.gates, rollout.auto_rollback
        steps = steps_of(rollout, "all")
        self.percents = np.array([step.percent for step in steps])
        self.time_min = np.array(
            [self.gates.time_min_s if step.time_min_s is None else step.time_min_s for step in steps]
        )
        self.fast = FastGates(self.gates, self.auto, step_alpha(self.gates, steps=len(steps)))
        self.tick_s = tick_of(per_s)
        self.world = World(scenario, runs, per_s, seed)
        self.evidence, self.blocks, self.streaks = FastEvidence(runs), Blocks(runs), Streaks(runs)
        self.step, self.harmed, self.overlapped = np.zeros(runs, int), np.zeros(runs), np.zeros((runs, ROUTES))
        self.at = np.arange(runs)
        """The position of each run in `ended`."""
        self.under_way = np.ones(runs, bool)
        self.ended = Ended.of(runs)
        self.longer = {name: np.zeros(runs, bool) for name in TESTED}
        self.now_s = 0.0

    def run(self, hours_max: float) -> Ended:
        """Run until all have ended or `hours_max` have passed."""
        while self.under_way.any() and self.now_s < hours_max * 3600:
            self._look(self._next_tick_s())
            if self.under_way.mean() < KEPT_SHARE:
                self._keep()
        of = self.at[self.under_way]
        self.ended.hours[of] = self.now_s / 3600
        self.ended.percent[of] = self.percents[self.step[self.under_way]]
        self.ended.harmed[of] = self.harmed[self.under_way]
        return self.ended

    def _next_tick_s(self) -> int:
        """Return the length of the next tick: longer while nothing can change but by a rollback."""
        step, entered = self.step[self.under_way], self.evidence.entered_s[self.under_way]
        waits = (self.time_min[step] >= 86_400) & (entered + self.time_min[step] > self.now_s + COARSE_S)
        good = self.world.scenario.good
        return COARSE_S if good and waits.all() and self.now_s % COARSE_S == 0 else self.tick_s

    def _look(self, tick_s: int) -> None:
        begin_s, self.now_s = self.now_s, self.now_s + tick_s
        percent = self.percents[self.step]
        share = percent / 100
        tick = self.world.tick(self.now_s, tick_s, share)
        self.evidence.add(columns_of(tick), self.now_s)
        self.overlapped += tick.overlapped
        self.blocks.add(tick.requests.sum(axis=1), tick.candidate_mirrored.sum(axis=1), tick.slow, begin_s, tick_s)
        self.blocks.close(self.world, self.evidence, share, self.gates)
        self.harmed += tick.harmed
        bad = self._bad(percent)
        self.streaks.look(bad, self.evidence)
        self._roll_back(bad)
        self._promote(bad)

    def _bad(self, percent: Floats) -> dict[GateName, Flags]:
        """Judge; between two multiples of the shortest window the longer ones keep what was found last, as evidence goes on the same way."""
        if self.now_s % RECENT_S[0] == 0:
            self.longer = self.fast.bad(self.evidence, percent, self.now_s, lengths=RECENT_S[1:])
        bad = self.fast.bad(self.evidence, percent, self.now_s, lengths=RECENT_S[:1])
        return {name: bad[name] | self.longer[name] for name in TESTED}

    def _roll_back(self, bad: dict[GateName, Flags]) -> None:
        for name in most_specific(bad):
            back = self.under_way & bad[name] & (self.streaks.length[name] >= self.auto.consecutive_evaluations)
            for run in np.nonzero(back)[0]:
                self.ended.gate[self.at[run]] = name.value
            self._end(back, ROLLED_BACK)

    def _end(self, of: Flags, state: int) -> None:
        places = self.at[of]
        self.ended.state[places] = state
        self.ended.hours[places] = self.now_s / 3600
        self.ended.percent[places] = self.percents[self.step[of]]
        self.ended.harmed[places] = self.harmed[of]
        self.under_way = self.under_way & ~of

    def _promote(self, bad: dict[GateName, Flags]) -> None:
        pairs, gates = INDEX["pairs"], self.gates
        seen = self.evidence.total[pairs, :, :ROUTES] - self.evidence.entered[pairs, :, :ROUTES]
        ready = self.under_way & (self.now_s - self.evidence.entered_s >= self.time_min[self.step])
        ready &= self.evidence.of_step("judged") >= gates.comparisons_min
        ready &= ~np.logical_or.reduce(list(bad.values()))
        ready &= (seen >= gates.route_comparisons_min).all(axis=1)
        ready &= _overlap_is_low(self.overlapped, seen, gates)
        ready &= self.fast.latency_is_good(self.evidence) & self.fast.errors_are_good(self.evidence)
        moved = np.array([bool(one) and self.fast.rates_are_good(self.evidence, run) for run, one in enumerate(ready)])
        if not moved.any():
            return
        self.step[moved] += 1
        self.evidence.restart(moved, self.now_s)
        self.blocks.restart(moved)
        self.streaks.restart(moved)
        for one in self.longer.values():
            one[moved] = False
        self.overlapped[moved] = 0.0
        last = len(self.percents) - 1
        self.ended.hours_to_last_step[self.at[moved & (self.step == last - 1)]] = self.now_s / 3600
        self._end(moved & (self.step == last), PROMOTED)

    def _keep(self) -> None:
        of = self.under_way
        self.world.keep(of)
        for part in (self.evidence, self.blocks, self.streaks):
            part.keep(of)
        self.longer = {name: one[of] for name, one in self.longer.items()}
        self.step, self.harmed, self.overlapped, self.at = (
            self.step[of],
            self.harmed[of],
            self.overlapped[of],
            self.at[of],
        )
        self.under_way = self.under_way[of]


def _overlap_is_low(overlapped: Floats, seen: Floats, gates: GateSettings) -> Flags:
    """Return the runs in which the gate on overlapped exchanges is open."""
    both = seen + overlapped
    over = (overlapped > gates.overlapped_share_max * both) & (both >= gates.route_comparisons_min)
    total = overlapped.sum(axis=1) > gates.overlapped_share_max * both.sum(axis=1)
    return ~over.any(axis=1) & ~total


def roll_out(scenario: Scenario, *, runs: int, per_s: float, seed: int, hours_max: float) -> Ended:
    """Simulate rollouts with the default settings."""
    return Rollouts(scenario, runs=runs, per_s=per_s, seed=seed).run(hours_max)


def hours_max_of(per_s: float) -> float:
    """Return the time after which a rollout counts as stuck: four days at 100/s, sixty at 1/s."""
    return 24 * (4 if per_s >= 50 else 20 if per_s >= 5 else 60)


def finite(value: float) -> float | None:
    """Return a number for JSON: None for nan."""
    return None if math.isnan(value) else value
