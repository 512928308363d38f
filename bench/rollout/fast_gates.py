"""The gates in vectorised form: many rollouts at once, on counts. tests/property/bench/test_fast_gates.py holds them equal to the gates.

Only what is cheap for many runs is vectorised: which tests can be bad at all (enough keys, a rate above the limit). The few that can are
decided by the same functions of comparator.stats that the gates call.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.rollout.world import SHARES, Flags, Floats, Tick
from comparator.stats.betting import BETS
from comparator.stats.confidence import log_wealth, rate_interval
from proxy.config.rollout import AutoRollbackSettings, GateSettings
from proxy.rollout.alpha_spending import RECENT_S, WINDOWS_AT_ONCE, StepAlpha
from proxy.rollout.gates import LATENCY_CLIP, MOST_SPECIFIC_FIRST, SPELLS_MIN, GateName
from proxy.rollout.latency_blocks import CENTER_STEP, RESOLUTION, SPELL, WARM_UP

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
TESTED: Final = (
    GateName.MISMATCHES, GateName.TRANSIENT, GateName.EFFECTS, GateName.ERRORS, GateName.LATENCY, GateName.SLOW_SPELLS,
)  # fmt: skip
Totals = NDArray[np.float64]
BET_SHARES: Final = np.array(BETS)


def columns_of(tick: Tick) -> Totals:
    """Return the counts of a tick as an array of shape (fields, runs, routes + 1); the last route is all together."""
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
    columns = np.empty((len(FIELDS), len(judged), ROUTES + 1))
    for number, part in enumerate(parts):
        columns[number, :, :ROUTES] = part
        columns[number, :, ROUTES] = part.sum(axis=1)
    return columns


@dataclass(frozen=True, slots=True)
class Window:
    """A window of all runs: its kind (None for the whole step), the runs for which it is valid, and its evidence.

    Attributes:
        counts: all counts at its end, those at its begin are `before`; both of shape (fields, runs, routes + 1).
        latency: wealth of the latency bets, of shape (runs, bets).
    """

    length_s: int | None
    valid: Flags
    counts: Totals
    before: Totals
    latency: Floats

    def of(self, name: str) -> Floats:
        """Return the counts of one field, of shape (runs, routes + 1)."""
        return self.counts[INDEX[name]] - self.before[INDEX[name]]


@dataclass
class Begin:
    """The begin of a window: the counts and the wealth of the latency bets until then."""

    length_s: int
    at_s: float
    counts: Totals
    latency: Floats


@dataclass
class FastEvidence:
    """The evidence of all runs: counts since the simulation began, and those at the begin of each window, which are subtracted.

    Attributes:
        total: counts of all ticks; `entered` has those when the present step was entered.
        begins: of the windows of fresh evidence, the newest of each length last.
        spell_length, spell_counts: of candidate and legacy: blocks of the spell that is going on; blocks, spells and squares of lengths.
        spell_center, spell_first: the usual ratio, and the first blocks, which it begins with.
    """

    runs: int
    total: Totals = field(init=False)
    entered: Totals = field(init=False)
    begins: list[Begin] = field(default_factory=list[Begin])
    entered_s: Floats = field(init=False)
    latency_above: Floats = field(init=False)
    latency_below: Floats = field(init=False)
    blocks: Floats = field(init=False)
    spell_length: Floats = field(init=False)
    spell_counts: Floats = field(init=False)
    spell_center: Floats = field(init=False)
    spell_first: Floats = field(init=False)

    def __post_init__(self) -> None:
        shape, bets = (len(FIELDS), self.runs, ROUTES + 1), (self.runs, len(BETS))
        self.total, self.entered, self.entered_s = np.zeros(shape), np.zeros(shape), np.zeros(self.runs)
        self.latency_above, self.latency_below = np.zeros(bets), np.zeros(bets)
        self.blocks = np.zeros(self.runs)
        self.spell_length, self.spell_counts = np.zeros((self.runs, 2)), np.zeros((self.runs, 2, 3))
        self.spell_center, self.spell_first = np.zeros(self.runs), np.zeros((self.runs, WARM_UP))
        self._begin_windows(0.0)

    def of_step(self, name: str) -> Floats:
        """Return the counts of one field at the present step, all routes together."""
        return self.total[INDEX[name], :, ROUTES] - self.entered[INDEX[name], :, ROUTES]

    def add(self, columns: Totals, now_s: float) -> None:
        """Add a tick that ends at `now_s`; lengths of windows are multiples of it."""
        self.total += columns
        self._begin_windows(now_s)

    def _begin_windows(self, now_s: float) -> None:
        for length in RECENT_S:
            if now_s % length == 0:
                self.begins.append(Begin(length, now_s, self.total.copy(), self.latency_above.copy()))
        # One that begins now is judged from the next tick on, so for a moment there is one more of each length.
        self.begins = [one for one in self.begins if now_s - one.at_s <= one.length_s * WINDOWS_AT_ONCE]

    def add_blocks(self, done: Flags, log_ratio: Floats, log_limit: Floats, begin_s: Floats) -> None:
        """Add a block of latency to the runs that completed one."""
        rounded = np.round(log_ratio / RESOLUTION) * RESOLUTION
        distance = np.clip((rounded - log_limit) / LATENCY_CLIP, -1.0, 1.0)
        above = np.log1p(BET_SHARES * distance[:, None]) * done[:, None]
        below = np.log1p(-BET_SHARES * distance[:, None]) * done[:, None]
        self.latency_above += above
        self.latency_below += below
        self.blocks += done
        for begin in self.begins:
            # A block that began before the window is not in it.
            begin.latency += above * (begin_s < begin.at_s)[:, None]
        self._add_spells(done, rounded, log_limit)

    def _add_spells(self, done: Flags, rounded: Floats, log_limit: Floats) -> None:
        for run in np.nonzero(done & (self.blocks <= WARM_UP))[0]:
            self.spell_first[run, int(self.blocks[run]) - 1] = rounded[run]
            if self.blocks[run] == WARM_UP:
                self.spell_center[run] = np.sort(self.spell_first[run])[WARM_UP // 2]
        done = done & (self.blocks > WARM_UP)
        center = self.spell_center
        hits = rounded - log_limit > SPELL, np.minimum(center, log_limit) - rounded > SPELL
        self.spell_center = np.where(done, center + CENTER_STEP * np.clip(rounded - center, -SPELL, SPELL), center)
        for side, hit in enumerate(hits):
            length = np.where(done, np.where(hit, self.spell_length[:, side] + 1, 0.0), self.spell_length[:, side])
            grown = done & hit
            self.spell_length[:, side] = length
            self.spell_counts[:, side] += np.stack((grown, grown & (length == 1), grown * (2 * length - 1)), axis=1)

    def restart(self, of: Flags, now_s: float) -> None:
        """Drop the evidence of runs that entered another step."""
        self.entered[:, of] = self.total[:, of]
        self.latency_above[of] = self.latency_below[of] = 0.0
        self.blocks[of] = 0.0
        self.spell_length[of] = 0.0
        self.spell_counts[of] = 0.0
        self.entered_s[of] = now_s
        for begin in self.begins:
            begin.latency[of] = 0.0

    def keep(self, of: Flags) -> None:
        """Drop the other runs."""
        self.runs = int(of.sum())
        self.total, self.entered = self.total[:, of], self.entered[:, of]
        self.entered_s, self.blocks = self.entered_s[of], self.blocks[of]
        self.latency_above, self.latency_below = self.latency_above[of], self.latency_below[of]
        self.spell_length, self.spell_counts = self.spell_length[of], self.spell_counts[of]
        self.spell_center, self.spell_first = self.spell_center[of], self.spell_first[of]
        for begin in self.begins:
            begin.counts, begin.latency = begin.counts[:, of], begin.latency[of]

    def windows(self, now_s: float, lengths: Collection[int] = RECENT_S) -> list[Window]:
        """Return the step, and the windows of fresh evidence of some lengths."""
        windows = [Window(None, np.ones(self.runs, bool), self.total, self.entered, self.latency_above)]
        for begin in self.begins:
            valid = begin.at_s >= self.entered_s
            is_judged = now_s - begin.length_s * WINDOWS_AT_ONCE < begin.at_s < now_s
            if begin.length_s in lengths and is_judged and valid.any():
                windows.append(
                    Window(begin.length_s, valid, self.total, begin.counts, self.latency_above - begin.latency)
                )
        return windows


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

    def bad(
        self, evidence: FastEvidence, percent: Floats, now_s: float, *, lengths: Collection[int] = RECENT_S
    ) -> dict[GateName, Flags]:
        """Return for each gate the runs in which it is bad and may roll back, by the step and the windows of these lengths."""
        settings = self.settings
        self._limits.clear()
        bad = {name: np.zeros(evidence.runs, bool) for name in TESTED}
        crossed = (percent > 0) & (percent < 100)
        for window in evidence.windows(now_s, lengths):
            self._rates(bad[GateName.MISMATCHES], window, "mismatch", "judged", settings.mismatch_rate_max)
            self._rates(bad[GateName.EFFECTS], window, "effect", "judged", settings.effect_rate_max)
            self._transient(bad[GateName.TRANSIENT], evidence, window)
            self._errors(bad[GateName.ERRORS], window)
            needed = -math.log(self.alpha.of_test(window.length_s, 1, is_route=False))
            bad[GateName.LATENCY] |= (
                window.valid & crossed & (_log_mean_exp(window.latency) >= needed) & (evidence.blocks > 0)
            )
        self._spells(bad[GateName.SLOW_SPELLS], evidence, crossed)
        return bad

    def _spells(self, bad: Flags, evidence: FastEvidence, crossed: Flags) -> None:
        runs = np.nonzero(crossed & self.spells_are_suspicious(evidence))[0]
        if not len(runs):
            return
        (slow, _, slow_squares), (other, _, other_squares) = np.moveaxis(evidence.spell_counts[runs], 0, 2)
        effect = np.maximum(effect_of(slow, slow_squares), effect_of(other, other_squares))
        rest = evidence.blocks[runs] - WARM_UP - slow - other
        wealth = wealth_of_increase(
            self.settings.latency_spells_share_max, slow / effect, other / effect, rest / effect
        )
        bad[runs] = wealth >= -math.log(self.alpha.of_test(None, 1, is_route=False))

    def spells_are_suspicious(self, evidence: FastEvidence) -> Flags:
        """Return the runs in which the candidate alone was slow for more than the limit."""
        (slow, number, _), (other, _, _) = np.moveaxis(evidence.spell_counts, 0, 2)
        return (number >= SPELLS_MIN) & (
            slow - other > self.settings.latency_spells_share_max * (evidence.blocks - WARM_UP)
        )

    def _needed(self, length: int | None, *, is_route: bool) -> float:
        return -math.log(self.alpha.of_test(length, ROUTES, is_route=is_route))

    def _mark(self, bad: Flags, possible: Flags, window: Window, wealth: Callable[[int, int], float]) -> None:
        for run, route in zip(*np.nonzero(possible & window.valid[:, None]), strict=True):
            if not bad[run]:
                bad[run] = wealth(run, route) >= self._needed(window.length_s, is_route=route < ROUTES)

    def _rates(self, bad: Flags, window: Window, hits: str, trials: str, limit: float) -> None:
        x, n, k = window.of(hits), window.of(trials), window.of(f"{hits}_keys")
        possible = self._possible(window, x, n, k, limit)
        if not possible.any():
            return
        effects = effect_of(x, window.of(f"{hits}_squares"))
        self._mark(
            bad,
            possible,
            window,
            lambda run, route: log_wealth(
                limit, x[run, route] / effects[run, route], n[run, route] / effects[run, route], around=limit
            ),
        )

    def _possible(self, window: Window, hits: Floats, trials: Floats, keys: Floats, limit: float) -> Flags:
        """Return where a rate may be bad: no mixture earns more than the bet on the rate that was seen, without a design effect."""
        possible = (keys >= self.auto.keys_min) & (hits > limit * trials)
        if possible.any():
            x, n = hits[possible], np.maximum(hits[possible], trials[possible])
            rest = n - x
            earned = x * np.log(x / (limit * n)) + np.where(
                rest > 0, rest * np.log(np.maximum(rest, 1e-9) / (n * (1 - limit))), 0.0
            )
            possible[possible] = earned >= self._needed(window.length_s, is_route=False)
        return possible

    def _transient(self, bad: Flags, evidence: FastEvidence, window: Window) -> None:
        x, n, k = window.of("transient"), window.of("mirrored"), window.of("transient_keys")
        base = self.settings.transient_rate_max
        possible = self._possible(window, x, n, k, base)
        if not possible.any():
            return
        effects = effect_of(x, window.of("transient_squares"))

        def wealth(run: int, route: int) -> float:
            hits, trials = x[run, route] / effects[run, route], n[run, route] / effects[run, route]
            limit = self._transient_limit(evidence, run)
            return log_wealth(limit, hits, trials, around=limit) if hits > limit * trials else -math.inf

        self._mark(bad, possible, window, wealth)

    def _transient_limit(self, evidence: FastEvidence, run: int) -> float:
        if run not in self._limits:
            self._limits[run] = self._computed_limit(evidence, run)
        return self._limits[run]

    def _computed_limit(self, evidence: FastEvidence, run: int) -> float:
        base, overall = (
            self.settings.transient_rate_max,
            evidence.total[:, run, ROUTES] - evidence.entered[:, run, ROUTES],
        )
        hits, squares, trials = (
            float(overall[INDEX[name]]) for name in ("legacy_transient", "legacy_transient_squares", "unmirrored")
        )
        if not hits:
            return base
        effect = max(1.0, squares / hits)
        interval = rate_interval(hits / effect, max(hits, trials) / effect, alpha=self.alpha.opening, around=base)
        return base + interval.low

    def _errors(self, bad: Flags, window: Window) -> None:
        limit = self.settings.error_rate_increase_max
        plus, minus, n, keys = (window.of(name) for name in ("candidate", "legacy", "pairs", "candidate_keys"))
        # No bet gains while the mean is not above the limit, so only these can be bad.
        possible = window.valid[:, None] & (keys >= self.auto.keys_min) & (plus - minus > limit * n)
        runs, routes = np.nonzero(possible)
        if not len(runs):
            return
        needed = np.array([self._needed(window.length_s, is_route=is_route) for is_route in (False, True)])
        wealth = wealth_of_increase(limit, *_lone(window.counts[:, runs, routes] - window.before[:, runs, routes]))
        # A run stands here once for each of its routes: one of them is enough.
        np.logical_or.at(bad, runs, wealth >= needed[(routes < ROUTES).astype(int)])

    def latency_is_good(self, evidence: FastEvidence) -> Flags:
        """Return the runs in which both gates on latency are open."""
        fast = _log_mean_exp(evidence.latency_below) >= -math.log(self.alpha.opening)
        return (evidence.blocks > 0) & fast & ~self.spells_are_suspicious(evidence)

    def errors_are_good(self, evidence: FastEvidence) -> Flags:
        """Return the runs in which the gate on errors is open."""
        plus, minus, rest = _lone(evidence.total[:, :, ROUTES] - evidence.entered[:, :, ROUTES])
        wealth = wealth_of_increase(-self.settings.error_rate_increase_max, minus, plus, rest)
        return wealth >= -math.log(self.alpha.opening)

    def rates_are_good(self, evidence: FastEvidence, run: int) -> bool:
        """Return True when every other gate about the candidate is open for one run."""
        settings, needed = self.settings, -math.log(self.alpha.opening)
        overall = evidence.total[:, run, ROUTES] - evidence.entered[:, run, ROUTES]
        # Rows are compared in every comparison here, and the gates on rows need as many as the one on comparisons.
        if overall[INDEX["judged"]] < settings.comparisons_min:
            return False
        if overall[INDEX["effect_keys"]] >= self.auto.keys_min and (
            overall[INDEX["effect"]] > settings.effect_rate_max * overall[INDEX["judged"]]
        ):
            return False
        if not _below(overall, "mismatch", "judged", settings.mismatch_rate_max, needed):
            return False
        if not overall[INDEX["mirrored"]]:
            return True
        return _below(overall, "transient", "mirrored", self._transient_limit(evidence, run), needed)


def _below(overall: Totals, hits: str, trials: str, limit: float, needed: float) -> bool:
    x, v, n = (float(overall[INDEX[name]]) for name in (hits, f"{hits}_squares", trials))
    effect = max(1.0, v / x) if x else 1.0
    return x < limit * n and log_wealth(limit, x / effect, n / effect, around=limit) >= needed


def _lone(counts: Totals) -> tuple[Floats, Floats, Floats]:
    """Return the pairs that failed on one side alone, and the others, divided by the design effect; `counts` has the fields first."""
    names = "candidate", "legacy", "candidate_squares", "legacy_squares", "pairs"
    plus, minus, plus_squares, minus_squares, pairs = (counts[INDEX[name]] for name in names)
    effect = np.maximum(effect_of(plus, plus_squares), effect_of(minus, minus_squares))
    return plus / effect, minus / effect, np.maximum(0.0, pairs - plus - minus) / effect


def wealth_of_increase(limit: float, plus: Floats, minus: Floats, zero: Floats) -> Floats:
    """Return `comparator.stats.betting.log_wealth_of_increase` of many numbers at once."""
    scale = 1 + limit
    gain, loss = np.log1p(BET_SHARES * (1 - limit) / scale), np.log1p(-BET_SHARES * limit / scale)
    return _log_mean_exp(plus[:, None] * gain + minus[:, None] * np.log1p(-BET_SHARES) + zero[:, None] * loss)


def _log_mean_exp(terms: Floats) -> Floats:
    top = terms.max(axis=1)
    return top + np.log(np.exp(terms - top[:, None]).mean(axis=1))


def most_specific(bad: dict[GateName, Flags]) -> list[GateName]:
    """Return the gates in the order in which a rollback names them."""
    return [name for name in MOST_SPECIFIC_FIRST if name in bad]
