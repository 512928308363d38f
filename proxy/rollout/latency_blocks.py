"""Compare the latency of both sides on the same requests, block by block. Pure.

Clients stay on their side, so requests that the candidate served and requests that the legacy served come from different clients, and a
few slow ones decide which side looks slower. But each request runs on both sides: once served, once mirrored. Within the requests that one
side served the clients are the same, and what serving costs more or less than mirroring cancels between both halves:

    ratio = sqrt(  candidate served / legacy mirrored   *   candidate mirrored / legacy served  )
                   requests that the candidate served       requests that the legacy served

Each term is the quantile of a block: consecutive minutes until every term has enough durations. Slow spells last for seconds or minutes,
so single durations are not independent, but the ratios of blocks nearly are. At 0 % and at 100 % only one half exists. Then the ratio
of served and mirrored durations is all there is, and only a gross difference counts.

Durations are kept by minute and bucket (comparator.stats.duration_buckets).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from comparator.exchanges.model import Role, Side
from comparator.stats.duration_buckets import Buckets, log_quantile

BLOCK_S: Final = 120
"""Shortest duration of a block, in seconds."""
SPELL: Final = math.log(1.3)
"""A block counts as a slow spell when the logarithm of its ratio is further away than this: the candidate's above the limit, the
legacy's below the usual ratio."""
WARM_UP: Final = 9
"""Blocks whose median is the usual ratio to begin with; they are not judged."""
CENTER_STEP: Final = 0.05
"""Share of its distance, SPELL at most, by which each block moves the usual ratio."""
RESOLUTION: Final = 0.0025
"""Logarithms of ratios are rounded to multiples of this, so that many blocks are few values."""

Cell: TypeAlias = tuple[Side, Role]
MinuteDurations: TypeAlias = Mapping[Cell, Buckets]

CANDIDATE_SERVED: Final[Cell] = (Side.CANDIDATE, Role.SERVED)
CANDIDATE_MIRRORED: Final[Cell] = (Side.CANDIDATE, Role.MIRRORED)
LEGACY_SERVED: Final[Cell] = (Side.LEGACY, Role.SERVED)
LEGACY_MIRRORED: Final[Cell] = (Side.LEGACY, Role.MIRRORED)


class LatencyComparison(StrEnum):
    """The durations that are compared."""

    CROSSOVER = "both sides served and mirrored"
    CANDIDATE_MIRRORED = "the legacy served, the candidate mirrored"
    CANDIDATE_SERVED = "the candidate served, the legacy mirrored"

    @classmethod
    def at(cls, percent: float) -> "LatencyComparison":
        """Return the comparison at a step where the candidate serves this share of clients, in percent."""
        if percent <= 0:
            return cls.CANDIDATE_MIRRORED
        return cls.CANDIDATE_SERVED if percent >= 100 else cls.CROSSOVER

    @property
    def same_roles(self) -> bool:
        """True when what serving and mirroring cost cancels."""
        return self is LatencyComparison.CROSSOVER

    @property
    def pairs(self) -> tuple[tuple[Cell, Cell], ...]:
        """The cells whose quantiles are divided: candidate by legacy."""
        served, mirrored = (CANDIDATE_SERVED, LEGACY_MIRRORED), (CANDIDATE_MIRRORED, LEGACY_SERVED)
        match self:
            case LatencyComparison.CROSSOVER:
                return served, mirrored
            case LatencyComparison.CANDIDATE_SERVED:
                return (served,)
            case LatencyComparison.CANDIDATE_MIRRORED:
                return (mirrored,)


@dataclass(frozen=True, slots=True)
class LatencyBlock:
    """One block: begin and end as Unix time, and the logarithm of the ratio of the quantiles, candidate to legacy."""

    begin_s: float
    end_s: float
    log_ratio: float


def blocks_of(
    minutes: Iterable[tuple[float, MinuteDurations]], comparison: LatencyComparison, *, share: float, durations_min: int
) -> tuple[LatencyBlock, ...]:
    """Divide minutes into blocks.

    Args:
        minutes: Unix time and durations of each minute, oldest first.
        comparison: the terms of the ratio.
        share: the quantile, 0 to 1.
        durations_min: least number of durations of each term in a block.
    """
    needed = {cell for pair in comparison.pairs for cell in pair}
    blocks: list[LatencyBlock] = []
    begin_s: float | None = None
    cells: dict[Cell, Counter[int]] = {cell: Counter() for cell in needed}
    for minute_s, durations in minutes:
        begin_s = minute_s if begin_s is None else begin_s
        for cell in needed:
            cells[cell].update(durations.get(cell, {}))
        if minute_s + 60 - begin_s >= BLOCK_S and min(counts.total() for counts in cells.values()) >= durations_min:
            blocks.append(LatencyBlock(begin_s, minute_s + 60, rounded(log_ratio(cells, comparison, share))))
            begin_s, cells = None, {cell: Counter() for cell in needed}
    return tuple(blocks)


def log_ratio(cells: Mapping[Cell, Buckets], comparison: LatencyComparison, share: float) -> float:
    """Return the logarithm of the ratio: the mean over the pairs of cells."""
    ratios = [
        log_quantile(cells[above], share) - log_quantile(cells[below], share) for above, below in comparison.pairs
    ]
    return sum(ratios) / len(ratios)


def rounded(value: float) -> float:
    """Round a logarithm of a ratio to RESOLUTION."""
    return round(value / RESOLUTION) * RESOLUTION


def values_of(blocks: Sequence[LatencyBlock], *, since_s: float = -math.inf) -> Counter[float]:
    """Count the values of the blocks that began at or after a time."""
    return Counter(block.log_ratio for block in blocks if block.begin_s >= since_s)


@dataclass(frozen=True, slots=True)
class SlowSpells:
    """The blocks in which one side was slow, and the other was not.

    Attributes:
        candidate: blocks in which the candidate was, and the spells that they make: consecutive blocks are one spell.
        legacy: the same for the legacy.
        design_effect: number of blocks that weighs as much as one independent block.
        judged: number of blocks that were judged.
    """

    candidate: tuple[int, int]
    legacy: tuple[int, int]
    design_effect: float
    judged: int

    @property
    def excess(self) -> int:
        """The blocks in which the candidate alone was slow, less those in which the legacy alone was."""
        return self.candidate[0] - self.legacy[0]


def spells_of(blocks: Sequence[LatencyBlock], log_limit: float) -> SlowSpells:
    """Count slow spells of one side.

    The candidate is slow beyond the limit; the legacy, below the usual ratio of the blocks before. So a candidate that mostly is faster
    than the legacy, and far slower for a tenth of the time, is not excused by the rest. As long as the ratios are symmetric around a
    center within the limit, the candidate's spells are the fewer ones, whatever noise there is. For example with a limit of 1.05, and
    ratios of 2.0 and 1.9 among others of about 1.0: two blocks of one spell of the candidate.
    """
    candidate, legacy = _SpellCounts(), _SpellCounts()
    judged = blocks[WARM_UP:]
    center = sorted(block.log_ratio for block in blocks[:WARM_UP])[WARM_UP // 2] if judged else 0.0
    for block in judged:
        candidate.add(hit=block.log_ratio - log_limit > SPELL)
        legacy.add(hit=min(center, log_limit) - block.log_ratio > SPELL)
        center += CENTER_STEP * max(-SPELL, min(SPELL, block.log_ratio - center))
    effects = [one.squares / one.count for one in (candidate, legacy) if one.count]
    return SlowSpells(
        (candidate.count, candidate.spells), (legacy.count, legacy.spells), max([1.0, *effects]), len(judged)
    )


@dataclass(slots=True)
class _SpellCounts:
    """Slow blocks of one side so far: their number, that of the spells, and the sum of the squares of the spells' lengths."""

    count: int = 0
    spells: int = 0
    squares: int = 0
    length: int = 0

    def add(self, *, hit: bool) -> None:
        self.length = self.length + 1 if hit else 0
        self.count += hit
        self.spells += self.length == 1
        # A spell of n blocks adds n squared: the sum of its first n odd numbers.
        self.squares += 2 * self.length - 1 if hit else 0
