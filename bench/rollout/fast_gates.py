"""The gates in vectorised form: many rollouts at once, on counts. tests/property/bench/test_fast_gates.py holds them equal to the gates.

Only what is cheap for many runs is vectorised: which tests can be bad at all (enough keys, a rate above the limit). The few that can are
decided by the same functions of comparator.stats that the gates call.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.rollout.world import SHARES, Flags, Floats, Tick
from comparator.stats.betting import BETS, log_wealth_of_decrease, log_wealth_of_increase
from comparator.stats.confidence import log_wealth, rate_interval
from proxy.config.rollout import AutoRollbackSettings, GateSettings
from proxy.rollout.alpha_spending import RECENT_S, StepAlpha
from proxy.rollout.gates import LATENCY_CLIP, MOST_SPECIFIC_FIRST, GateName
from proxy.rollout.latency_blocks import RESOLUTION

ROUTES: Final = len(SHARES)
FIELDS: Final = (
    "judged", "pairs", "mirrored", "unmirrored",
    "mismatch", "mismatch_squares", "mismatch_keys",
    "effect", "effect_squares", "effect_keys",
    "candidate", "candidate_squares", "candidate_keys",
    "legacy", "legacy_squares",
    "transient", "transient_squares", "transient_keys",
    "legacy_transient", "legacy_transient_squares",
)  # fmt: skip
INDEX: Final = {name: number for number, name in enumerate(FIELDS)}
TESTED: Final = (GateName.MISMATCHES, GateName.TRANSIENT, GateName.EFFECTS, GateName.ERRORS, GateName.LATENCY)
Counts = NDArray[np.float32]
BET_SHARES: Final = np.array(BETS)


def columns_of(tick: Tick) -> Counts:
    """Return the counts of a tick as an array of shape (runs, routes + 1, fields); the last route is all together."""
    lone = tick.candidate_errors.count + tick.legacy_errors.count
    judged = np.maximum(0.0, tick.requests - lone)
    parts = [
        judged, tick.requests, tick.candidate_mirrored, tick.requests - tick.candidate_mirrored,
        tick.mismatches.count, tick.mismatches.squares, tick.mismatches.keys,
        tick.effects.count, tick.effects.squares, tick.effects.keys,
        tick.candidate_errors.count, tick.candidate_errors.squares, tick.candidate_errors.keys,
        tick.legacy_errors.count, tick.legacy_errors.squares,
        tick.candidate_transient.count, tick.candidate_transient.squares, tick.candidate_transient.keys,
        tick.legacy_transient.count, tick.legacy_transient.squares,
    ]  # fmt: skip
    columns = np.empty((len(judged), ROUTES + 1, len(FIELDS)), np.float32)
    for number, part in enumerate(parts):
        columns[:, :ROUTES, number] = part
        columns[:, ROUTES, number] = part.sum(axis=1)
    return columns


@dataclass
class FastEvidence:
    """The evidence of all runs: counts of the step and of each window of fresh evidence, and the wealth of the latency bets.

    `recent[w]` holds the counts before and after the last multiple of the window's length; both together are the window. Those of the
    longer windows lack what came since the last multiple of the shortest one, which is `recent[0][1]`.
    """

    runs: int
    step: Counts = field(init=False)
    recent: list[list[Counts]] = field(init=False)
    begin_s: list[float] = field(init=False)
    entered_s: Floats = field(init=False)
    latency_above: Floats = field(init=False)
    latency_below: Floats = field(init=False)
    latency_recent: list[list[Floats]] = field(init=False)
    blocks: Floats = field(init=False)

    def __post_init__(self) -> None:
        shape, bets = (self.runs, ROUTES + 1, len(FIELDS)), (self.runs, len(BETS))
        self.step = np.zeros(shape, np.float32)
        self.recent = [[np.zeros(shape, np.float32), np.zeros(shape, np.float32)] for _ in RECENT_S]
        self.begin_s = [-float(length) for length in RECENT_S]
        self.entered_s = np.zeros(self.runs)
        self.latency_above, self.latency_below = np.zeros(bets), np.zeros(bets)
        self.latency_recent = [[np.zeros(bets), np.zeros(bets)] for _ in RECENT_S]
        self.blocks = np.zeros(self.runs)

    def add(self, columns: Counts, now_s: float) -> None:
        """Add a tick that ends at `now_s`; lengths of windows are multiples of it."""
        self.step += columns
        newest = self.recent[0][1]
        newest += columns
        if now_s % RECENT_S[0]:
            return
        for number, length in enumerate(RECENT_S):
            if number:
                self.recent[number][1] += newest
            if now_s % length == 0:
                self.begin_s[number] = now_s - length
                latency = self.latency_recent[number]
                self.latency_recent[number] = [latency[1], np.zeros_like(latency[1])]
                if number:
                    self.recent[number] = [self.recent[number][1], np.zeros_like(columns)]
        self.recent[0] = [newest, np.zeros_like(columns)]

    def add_blocks(self, done: Flags, log_ratio: Floats, log_limit: Floats, begin_s: Floats) -> None:
        """Add a block of latency to the runs that completed one."""
        rounded = np.round(log_ratio / RESOLUTION) * RESOLUTION
        distance = np.clip((rounded - log_limit) / LATENCY_CLIP, -1.0, 1.0)
        above = np.log1p(BET_SHARES * distance[:, None]) * done[:, None]
        below = np.log1p(-BET_SHARES * distance[:, None]) * done[:, None]
        self.latency_above += above
        self.latency_below += below
        self.blocks += done
        for number, length in enumerate(RECENT_S):
            # A block that began before the last multiple of the length, or before the window, is in the earlier half, or in none.
            last = self.begin_s[number] + length
            inside = begin_s >= last
            before = ~inside & (begin_s >= self.begin_s[number])
            self.latency_recent[number][1] += above * inside[:, None]
            self.latency_recent[number][0] += above * before[:, None]

    def restart(self, of: Flags, now_s: float) -> None:
        """Drop the evidence of runs that entered another step."""
        self.step[of] = 0.0
        for halves in (*self.recent, *self.latency_recent):
            for half in halves:
                half[of] = 0.0
        self.latency_above[of] = self.latency_below[of] = 0.0
        self.blocks[of] = 0.0
        self.entered_s[of] = now_s

    def keep(self, of: Flags) -> None:
        """Drop the other runs."""
        self.runs = int(of.sum())
        self.step, self.entered_s, self.blocks = self.step[of], self.entered_s[of], self.blocks[of]
        self.latency_above, self.latency_below = self.latency_above[of], self.latency_below[of]
        self.recent = [[half[of] for half in halves] for halves in self.recent]
        self.latency_recent = [[half[of] for half in halves] for halves in self.latency_recent]

    def windows(self, *, longer: bool = True) -> list[tuple[int | None, Counts, Flags, Floats]]:
        """Return length, counts, runs for which the window is valid, and wealth of the latency bets of each window.

        Args:
            longer: include the windows that are longer than the shortest one.
        """
        result: list[tuple[int | None, Counts, Flags, Floats]] = [
            (None, self.step, np.ones(self.runs, bool), self.latency_above)
        ]
        newest = self.recent[0][1]
        for number, length in enumerate(RECENT_S):
            valid = self.begin_s[number] >= self.entered_s
            if valid.any() and (longer or not number):
                before, after = self.recent[number]
                counts = before + newest if number == 0 else before + after + newest
                latency = self.latency_recent[number][0] + self.latency_recent[number][1]
                result.append((length, counts, valid, latency))
        return result


def effect_of(count: Floats, squares: Floats) -> Floats:
    """Return the design effect of hits."""
    return np.maximum(1.0, squares / np.maximum(1.0, count))


@dataclass
class FastGates:
    """Judges all runs by the gates that look at the candidate.

    Args:
        settings: section `rollout.gates`.
        auto: section `rollout.auto_rollback`.
        alpha: the share of a step.
    """

    settings: GateSettings
    auto: AutoRollbackSettings
    alpha: StepAlpha
    _limits: dict[int, float] = field(default_factory=dict[int, float])
    """The limits of transient rates by run, of the last look."""

    def bad(self, evidence: FastEvidence, percent: Floats, *, longer: bool = True) -> dict[GateName, Flags]:
        """Return for each gate the runs in which it is bad and may roll back; without `longer` by the step and the shortest window."""
        settings = self.settings
        self._limits.clear()
        bad = {name: np.zeros(evidence.runs, bool) for name in TESTED}
        for length, counts, valid, latency in evidence.windows(longer=longer):
            self._rates(
                bad[GateName.MISMATCHES], counts, valid, length, "mismatch", "judged", settings.mismatch_rate_max
            )
            self._rates(bad[GateName.EFFECTS], counts, valid, length, "effect", "judged", settings.effect_rate_max)
            self._transient(bad[GateName.TRANSIENT], evidence, counts, valid, length)
            self._errors(bad[GateName.ERRORS], counts, valid, length)
            needed = -math.log(self.alpha.of_test(length, 1, is_route=False))
            crossed = (percent > 0) & (percent < 100)
            bad[GateName.LATENCY] |= valid & crossed & (_log_mean_exp(latency) >= needed) & (evidence.blocks > 0)
        return bad

    def _needed(self, length: int | None, *, is_route: bool) -> float:
        return -math.log(self.alpha.of_test(length, ROUTES, is_route=is_route))

    def _mark(self, bad: Flags, possible: Flags, length: int | None, wealth: Callable[[int, int], float]) -> None:
        for run, route in zip(*np.nonzero(possible), strict=True):
            if not bad[run]:
                bad[run] = wealth(run, route) >= self._needed(length, is_route=route < ROUTES)

    def _rates(
        self, bad: Flags, counts: Counts, valid: Flags, length: int | None, hits: str, trials: str, limit: float
    ) -> None:
        names = hits, f"{hits}_squares", f"{hits}_keys", trials
        x, v, k, n = (counts[:, :, INDEX[name]].astype(float) for name in names)
        possible = valid[:, None] & (k >= self.auto.keys_min) & (x > limit * n)
        effects = effect_of(x, v)
        self._mark(
            bad,
            possible,
            length,
            lambda run, route: log_wealth(
                limit, x[run, route] / effects[run, route], n[run, route] / effects[run, route], around=limit
            ),
        )

    def _transient(self, bad: Flags, evidence: FastEvidence, counts: Counts, valid: Flags, length: int | None) -> None:
        names = "transient", "transient_squares", "transient_keys", "mirrored"
        x, v, k, n = (counts[:, :, INDEX[name]].astype(float) for name in names)
        base = self.settings.transient_rate_max
        possible = valid[:, None] & (k >= self.auto.keys_min) & (x > base * n)
        effects = effect_of(x, v)

        def wealth(run: int, route: int) -> float:
            hits, trials = x[run, route] / effects[run, route], n[run, route] / effects[run, route]
            if log_wealth(base, hits, trials, around=base) < self._needed(length, is_route=route < ROUTES) - 2:
                # Even the lowest limit that there may be is not contradicted; the true one takes longer to compute.
                return -math.inf
            limit = self._transient_limit(evidence, run)
            return log_wealth(limit, hits, trials, around=limit) if hits > limit * trials else -math.inf

        self._mark(bad, possible, length, wealth)

    def _transient_limit(self, evidence: FastEvidence, run: int) -> float:
        if run not in self._limits:
            self._limits[run] = self._computed_limit(evidence, run)
        return self._limits[run]

    def _computed_limit(self, evidence: FastEvidence, run: int) -> float:
        base, overall = self.settings.transient_rate_max, evidence.step[run, ROUTES]
        hits, squares, trials = (
            float(overall[INDEX[name]]) for name in ("legacy_transient", "legacy_transient_squares", "unmirrored")
        )
        if not hits:
            return base
        effect = max(1.0, squares / hits)
        interval = rate_interval(hits / effect, max(hits, trials) / effect, alpha=self.alpha.opening, around=base)
        return base + interval.low

    def _errors(self, bad: Flags, counts: Counts, valid: Flags, length: int | None) -> None:
        limit = self.settings.error_rate_increase_max
        plus, minus, n = (counts[:, :, INDEX[name]] for name in ("candidate", "legacy", "pairs"))
        keys = counts[:, :, INDEX["candidate_keys"]]
        # No bet gains while the mean is not above the limit, so only these can be bad.
        possible = valid[:, None] & (keys >= self.auto.keys_min) & (plus - minus > limit * n)
        self._mark(bad, possible, length, lambda run, route: log_wealth_of_increase(limit, *_lone(counts[run, route])))

    def latency_is_good(self, evidence: FastEvidence) -> Flags:
        """Return the runs in which the latency gate is open."""
        return (evidence.blocks > 0) & (_log_mean_exp(evidence.latency_below) >= -math.log(self.alpha.opening))

    def rates_are_good(self, evidence: FastEvidence, run: int) -> bool:
        """Return True when every other gate about the candidate is open for one run."""
        settings, overall, needed = self.settings, evidence.step[run, ROUTES], -math.log(self.alpha.opening)
        if overall[INDEX["effect_keys"]] >= self.auto.keys_min and (
            overall[INDEX["effect"]] > settings.effect_rate_max * overall[INDEX["judged"]]
        ):
            return False
        limit = settings.error_rate_increase_max
        if log_wealth_of_decrease(limit, *_lone(overall)) < needed:
            return False
        if not _below(overall, "mismatch", "judged", settings.mismatch_rate_max, needed):
            return False
        if not overall[INDEX["mirrored"]]:
            return True
        return _below(overall, "transient", "mirrored", self._transient_limit(evidence, run), needed)


def _below(overall: Counts, hits: str, trials: str, limit: float, needed: float) -> bool:
    x, v, n = (float(overall[INDEX[name]]) for name in (hits, f"{hits}_squares", trials))
    effect = max(1.0, v / x) if x else 1.0
    return x < limit * n and log_wealth(limit, x / effect, n / effect, around=limit) >= needed


def _lone(counts: Counts) -> tuple[float, float, float]:
    names = "candidate", "legacy", "candidate_squares", "legacy_squares", "pairs"
    plus, minus, plus_squares, minus_squares, pairs = (float(counts[INDEX[name]]) for name in names)
    effect = max(1.0, plus_squares / plus if plus else 1.0, minus_squares / minus if minus else 1.0)
    return plus / effect, minus / effect, max(0.0, pairs - plus - minus) / effect


def _log_mean_exp(terms: Floats) -> Floats:
    top = terms.max(axis=1)
    return top + np.log(np.exp(terms - top[:, None]).mean(axis=1))


def most_specific(bad: dict[GateName, Flags]) -> list[GateName]:
    """Return the gates in the order in which a rollback names them."""
    return [name for name in MOST_SPECIFIC_FIRST if name in bad]
