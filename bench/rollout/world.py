"""The world: what many simulated rollouts see in one tick, drawn from one law.

Everything is aggregated per tick and route, which changes no law: the number of mismatches among independent requests is Poisson, that of
one reloading client is a group. Quantiles of latency are drawn from the law of the sample quantile given the clients in the block.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SHARES: Final = np.array([0.6, 0.12, 0.07, 0.05, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01, 0.01, 0.01, 0.01])
"""Shares of the 13 routes of config.yaml."""
SIGMA: Final = 0.4
"""Standard deviation of the logarithm of one key's durations."""
MIRROR_PENALTY: Final = np.log(1.3)
"""A mirrored request is slower, on either side: it meets colder caches."""
SLOW: Final = np.log(3.0)
Z95: Final = 1.6448536269514722


@dataclass(frozen=True)
class Scenario:
    """A candidate and its traffic. Rates are shares of the requests.

    Attributes:
        slower: the candidate's latency over the legacy's.
        noise: mismatches of a good candidate; `group` is the mean number that one key repeats.
        lone_errors: errors of each side alone; `legacy_errors` of the legacy on top.
        row_noise: row differences of a good candidate.
        transient_noise: mirrored runs of either side that differ and do not reproduce.
        keys, zipf, key_sigma: number of keys, skew of their traffic, spread of the logarithm of their latency; 0 keys: all alike.
        spells, spell_s: share of the time that each side is three times as slow by itself, and the length of such a spell.
        candidate_spells: a defect: the share of the time that the candidate is three times as slow on top of that.
        daily: traffic swings by this share between day and night.
        bursts: share of the minutes with five times the traffic.
        overlapped: share of the exchanges that overlap another one of their key; five times as many in a burst.
        wrong, wrong_rows, errors: defects of the candidate: wrong responses, wrong rows, 5xx.
        random_wrong, random_errors: the same, at random: a second run of the same request is right.
        wrong_overlapped: share of the overlapped requests that the candidate gets wrong.
        only_route: index of the only route with the defect.
        hours: the hours of the day in which it shows.
        from_hour: it shows from this hour of the rollout on.
    """

    name: str
    good: bool = True
    slower: float = 1.0
    noise: float = 1e-4
    group: float = 1.0
    lone_errors: float = 1e-4
    legacy_errors: float = 0.0
    row_noise: float = 0.0
    transient_noise: float = 1e-4
    keys: int = 0
    zipf: float = 1.0
    key_sigma: float = 0.5
    spells: float = 0.0
    spell_s: float = 30.0
    candidate_spells: float = 0.0
    daily: float = 0.0
    bursts: float = 0.0
    overlapped: float = 0.002
    wrong: float = 0.0
    wrong_rows: float = 0.0
    errors: float = 0.0
    random_wrong: float = 0.0
    random_errors: float = 0.0
    wrong_overlapped: float = 0.0
    only_route: int | None = None
    hours: tuple[int, int] | None = None
    from_hour: float = 0.0


@dataclass
class Grouped:
    """Hits of one kind by run and route: their number, the sum of squares by key, and the number of keys."""

    count: Floats
    squares: Floats
    keys: Floats

    def __add__(self, other: "Grouped") -> "Grouped":
        return Grouped(self.count + other.count, self.squares + other.squares, self.keys + other.keys)


@dataclass
class Tick:
    """The exchanges of one tick; arrays are of shape (runs, routes)."""

    requests: Floats
    overlapped: Floats
    candidate_mirrored: Floats
    mismatches: Grouped
    effects: Grouped
    candidate_errors: Grouped
    legacy_errors: Grouped
    candidate_transient: Grouped
    legacy_transient: Grouped
    slow: Floats
    """Share of the tick in which candidate and legacy are slow, of shape (runs, 2)."""
    harmed: Floats
    """Requests that the candidate served wrong, failed or late."""


@dataclass
class World:
    """Draws ticks for `runs` rollouts.

    Args:
        scenario: the law.
        runs: number of rollouts.
        per_s: mean requests per second.
        seed: of the generator.
        start_hour: hour of the day at which rollouts start.
    """

    scenario: Scenario
    runs: int
    per_s: float
    seed: int
    start_hour: float = 9.0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self._key_tables = KeyTables(self.scenario, self.runs, self.random) if self.scenario.keys else None
        self._slow_until = np.zeros((self.runs, 2))

    def keep(self, of: Flags) -> None:
        """Drop the other runs."""
        self.runs = int(of.sum())
        self._slow_until = self._slow_until[of]
        if self._key_tables is not None:
            self._key_tables.keep(of)

    def tick(self, now_s: float, tick_s: int, share: Floats) -> Tick:
        """Draw the tick of `tick_s` seconds that ends at `now_s`; `share` is the candidate's share of clients, of shape (runs,)."""
        law, random = self.scenario, self.random
        hour = (self.start_hour + now_s / 3600) % 24
        rate = self.per_s * tick_s * (1 + law.daily * np.sin((hour - 9) / 24 * 2 * np.pi))
        burst = random.random(self.runs) < law.bursts if law.bursts else np.zeros(self.runs, bool)
        factor = np.where(burst, 5.0, 1.0)
        served = self.served_share(share)
        # Parts of a Poisson number are independent Poisson numbers, so each is drawn by itself.
        mean = rate * factor
        overlaps = np.minimum(0.5, law.overlapped * factor)
        overlapped = self._few(mean * overlaps)
        alone = mean * (1 - overlaps)
        mirrored = random.poisson((alone * (1 - served))[:, None] * SHARES).astype(float)
        requests = mirrored + random.poisson((alone * served)[:, None] * SHARES)
        on, where = self._shows(now_s, hour), SHARES
        if law.only_route is not None:
            where = np.where(np.arange(len(SHARES)) == law.only_route, SHARES, 0.0)
        wrong, rows, errors = law.wrong * on, law.wrong_rows * on, law.errors * on
        # A random fault shows as a mismatch when both runs of the mirrored candidate have it, or when the served one had it.
        random_wrong, random_errors = law.random_wrong * on, law.random_errors * on
        once = served + (1 - served) * random_wrong
        effects = self._grouped(alone * law.row_noise, law.group) + self._single(alone * rows, where)
        mismatches = (
            self._grouped(alone * law.noise, law.group)
            + self._single(alone * (wrong + random_wrong * once), where)
            + effects
        )
        by_mirror = alone * (1 - served)
        transient = self._single(by_mirror * law.transient_noise) + self._single(
            by_mirror * random_wrong * (1 - random_wrong), where
        )
        few = min(law.group, 2.0)
        harmful = wrong + rows + errors + random_wrong + random_errors
        late = (law.slower - 1 if law.slower > 1 and not law.good else 0.0) + law.candidate_spells
        harmed = mean * where.sum() * min(1.0, harmful + late) + overlapped.sum(axis=1) * law.wrong_overlapped
        return Tick(
            requests,
            overlapped,
            mirrored,
            mismatches,
            effects,
            self._grouped(alone * law.lone_errors, few) + self._single(alone * (errors + random_errors), where),
            self._grouped(alone * (law.lone_errors + law.legacy_errors), few),
            transient,
            self._single(alone * served * law.transient_noise),
            self._slow_shares(tick_s),
            harmed * served,
        )

    def _shows(self, now_s: float, hour: float) -> float:
        law = self.scenario
        if now_s < law.from_hour * 3600:
            return 0.0
        if law.hours is None:
            return 1.0
        first, last = law.hours
        inside = first <= hour < last if first < last else hour >= first or hour < last
        return float(inside)

    def served_share(self, share: Floats) -> Floats:
        """Return the share of the traffic that the candidate serves: that of its keys."""
        return share if self._key_tables is None else self._key_tables.traffic_share(share)

    def _few(self, mean: Floats, where: Floats = SHARES) -> Floats:
        """Draw rare events by run and route: their number, then the route of each. `mean` is by run, over all of SHARES."""
        result = np.zeros((self.runs, len(SHARES)))
        runs = np.repeat(np.arange(self.runs), self.random.poisson(mean * where.sum()))
        if len(runs):
            edges = np.cumsum(where / where.sum())
            routes = np.minimum(np.searchsorted(edges, self.random.random(len(runs))), len(SHARES) - 1)
            np.add.at(result, (runs, routes), 1.0)
        return result

    def _single(self, mean: Floats, where: Floats = SHARES) -> Grouped:
        count = self._few(mean, where)
        return Grouped(count, count, count)

    def _grouped(self, mean: Floats, group: float) -> Grouped:
        if group <= 1.0:
            return self._single(mean)
        groups = self._few(mean / group)
        count, squares = np.zeros(groups.shape), np.zeros(groups.shape)
        runs, routes = np.nonzero(groups)
        if len(runs):
            repeats = groups[runs, routes].astype(int)
            sizes = self.random.geometric(1 / group, size=repeats.sum()).astype(float)
            starts = np.concatenate(([0], np.cumsum(repeats)[:-1]))
            count[runs, routes] = np.add.reduceat(sizes, starts)
            squares[runs, routes] = np.add.reduceat(sizes**2, starts)
        return Grouped(count, squares, groups)

    def _slow_shares(self, tick_s: int) -> Floats:
        law = self.scenario
        shares = np.array((law.spells + law.candidate_spells, law.spells))
        if not shares.any():
            return np.zeros((self.runs, 2))
        # Spells begin at random and last `spell_s`; one that is not over at the end of the tick goes on in the next one.
        left = np.maximum(0.0, self._slow_until)
        slow = np.minimum(left, tick_s)
        begun = self.random.poisson(shares / law.spell_s * tick_s, size=(self.runs, 2))
        at = self.random.random((self.runs, 2)) * tick_s
        inside = np.where(begun > 0, np.minimum(law.spell_s * begun, tick_s - at), 0.0)
        rest = np.where(begun > 0, np.maximum(0.0, law.spell_s * begun - (tick_s - at)), 0.0)
        self._slow_until = np.maximum(left - tick_s, rest)
        return np.minimum(1.0, (slow + inside) / tick_s)

    def ratio_of_block(
        self, share: Floats, served: Floats, mirrored: Floats, slow: Floats, *, halves: tuple[bool, bool]
    ) -> Floats:
        """Draw the logarithm of the ratio of one block.

        Args:
            share: share of clients that the candidate serves, by run.
            served: requests of the block that the candidate served.
            mirrored: requests of the block that the legacy served.
            slow: share of the block in which each side was slow.
            halves: the requests that the candidate served, and those that the legacy served, are compared.
        """
        terms: list[Floats] = []
        shift = np.log(self.scenario.slower) + slow_shift(slow[:, 0]) - slow_shift(slow[:, 1])
        for half, count, sign in ((halves[0], served, -1.0), (halves[1], mirrored, 1.0)):
            if half:
                spread = self._spread(share, candidate_served=sign < 0)
                noise = self.random.standard_normal(self.runs) * spread * np.sqrt(2 / np.maximum(1.0, count))
                terms.append(shift + sign * MIRROR_PENALTY + noise)
        return np.sum(terms, axis=0) / len(terms)

    def _spread(self, share: Floats, *, candidate_served: bool) -> Floats:
        """Return the standard error of the logarithm of the 95 % quantile, times the root of the number of requests."""
        if self._key_tables is None:
            # sqrt(p (1 - p)) / density: 0.845 for a lognormal with SIGMA.
            return np.full(self.runs, np.sqrt(0.0475) / (np.exp(-(Z95**2) / 2) / np.sqrt(2 * np.pi) / SIGMA))
        return self._key_tables.spread(share, candidate_served=candidate_served)

    def log_quantiles(self, share: Floats, served: Floats, mirrored: Floats, slow: Floats) -> tuple[Floats, Floats]:
        """Draw the logarithms of the 95 % quantiles of what the candidate served and of what the legacy served in one tick."""
        tables = self._key_tables
        result: list[Floats] = []
        for side, count in ((0, served), (1, mirrored)):
            center = tables.center(share, candidate_served=side == 0) if tables else Z95 * SIGMA
            spread = self._spread(share, candidate_served=side == 0)
            noise = self.random.standard_normal(self.runs) * spread / np.sqrt(np.maximum(1.0, count))
            own = np.log(self.scenario.slower) if side == 0 else 0.0
            result.append(center + noise + own + slow_shift(slow[:, side]))
        return result[0], result[1]


def slow_shift(share: Floats) -> Floats:
    """Return by how much the logarithm of the 95 % quantile grows when a share of the requests is three times as slow."""
    return np.interp(share, _SLOW_SHARES, _SLOW_SHIFTS)


def upper_tail(z: Floats) -> Floats:
    """Return the probability that a standard normal is above z (Abramowitz and Stegun 26.2.17; error below 1e-7)."""
    t = 1 / (1 + 0.2316419 * np.abs(z))
    poly = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * poly
    return np.where(z >= 0, tail, 1 - tail)


def _slow_table() -> tuple[Floats, Floats]:
    shares = np.concatenate((np.linspace(0, 0.1, 41), np.linspace(0.125, 1, 36)))
    low, high = np.zeros(len(shares)), np.full(len(shares), SLOW + 1)
    for _ in range(50):
        middle = (low + high) / 2
        z = Z95 + middle / SIGMA
        above = (1 - shares) * upper_tail(z) + shares * upper_tail(z - SLOW / SIGMA) > 0.05
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return shares, (low + high) / 2


_SLOW_SHARES, _SLOW_SHIFTS = _slow_table()


class KeyTables:
    """Keys with traffic and latency of their own: tables by the share of clients, made when it is first asked for.

    There are POPULATIONS sets of keys; runs take turns in using them.
    """

    BINS: Final = 96
    POPULATIONS: Final = 250

    def __init__(self, law: Scenario, runs: int, random: np.random.Generator) -> None:
        weights = 1 / np.arange(1, law.keys + 1) ** law.zipf
        self._weights = weights / weights.sum()
        self._law = law
        self._seeds = random.integers(0, 2**63 - 1, size=min(runs, self.POPULATIONS))
        self._population = np.arange(runs) % len(self._seeds)
        self._edges = np.linspace(-4.5, 4.5, self.BINS + 1) * law.key_sigma
        self._middles = (self._edges[1:] + self._edges[:-1]) / 2
        self._tables: dict[float, tuple[Floats, Floats, Floats, Floats, Floats]] = {}

    def keep(self, of: Flags) -> None:
        """Drop the other runs."""
        self._population = self._population[of]

    def traffic_share(self, share: Floats) -> Floats:
        """Return the share of the traffic that comes from the candidate's clients."""
        return np.clip(self._pick(share, 0), 0.0, 1.0)

    def spread(self, share: Floats, *, candidate_served: bool) -> Floats:
        """Return the standard error of the log quantile times the root of the requests, given the keys of the block."""
        return self._pick(share, 1 if candidate_served else 2)

    def center(self, share: Floats, *, candidate_served: bool) -> Floats:
        """Return the logarithm of the quantile over these clients."""
        return self._pick(share, 3 if candidate_served else 4)

    def _pick(self, share: Floats, column: int) -> Floats:
        result = np.zeros(len(self._population))
        for one in np.unique(share):
            of = share == one
            result[of] = self._table(float(one))[column][self._population[of]]
        return result

    def _table(self, share: float) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        if share not in self._tables:
            masses = np.array([self._masses(seed, share) for seed in self._seeds])
            traffic = masses[:, 0].sum(axis=1)
            spread_1, center_1 = self._tails(masses[:, 0])
            spread_2, center_2 = self._tails(masses[:, 1])
            self._tables[share] = (traffic, spread_1, spread_2, center_1, center_2)
        return self._tables[share]

    def _masses(self, seed: int, share: float) -> Floats:
        """Return the traffic by latency of the candidate's keys and of the legacy's."""
        random = np.random.default_rng(seed)
        bins = np.digitize(random.standard_normal(self._law.keys) * self._law.key_sigma, self._edges[1:-1])
        mine = random.random(self._law.keys) < share
        parts = [np.bincount(bins, self._weights * part, minlength=self.BINS) for part in (mine, ~mine)]
        return np.array(parts, float)

    def _tails(self, masses: Floats) -> tuple[Floats, Floats]:
        mass = masses / np.maximum(1e-300, masses.sum(axis=1, keepdims=True))
        low, high = np.full((len(mass), 1), -4.0), np.full((len(mass), 1), 6.0)
        for _ in range(40):
            quantile = (low + high) / 2
            above = (mass * upper_tail((quantile - self._middles) / SIGMA)).sum(axis=1, keepdims=True) > 0.05
            low, high = np.where(above, quantile, low), np.where(above, high, quantile)
        z = (quantile - self._middles) / SIGMA
        tails = upper_tail(z)
        density = (mass * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / SIGMA).sum(axis=1)
        error = np.sqrt((mass * tails * (1 - tails)).sum(axis=1)) / np.maximum(1e-9, density)
        return np.minimum(error, 3.0), quantile[:, 0]
