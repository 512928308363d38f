"""Human points in a response: earned and possible points.

Observed of the legacy: actions without an active configuration are worth nothing; HIM is excluded from earned points but listed among
the possible ones; the multiplier is reported, never applied, and is 1 for an address without points.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Listed as possible, never counted as earned.
_UNCOUNTED_ACTION = "HIM"


@dataclass(frozen=True, slots=True)
class EarnedPoints:
    """The points of one action on one chain (0: no chain), summed over its rows."""

    action: str
    chain_id: int
    points: int


@dataclass(frozen=True, slots=True)
class PointsData:
    """One block of points in a response."""

    total_points: int
    is_eligible: bool
    multiplier: int
    breakdown: Mapping[str, int]


def points_data(earned: Iterable[EarnedPoints], *, multiplier: int | None, eligible: bool) -> PointsData:
    """Build the block of earned points: by action over all chains, and again by action and chain if there is one."""
    breakdown: dict[str, int] = {}
    total = 0
    for entry in earned:
        if entry.action == _UNCOUNTED_ACTION:
            continue
        if entry.chain_id:
            breakdown[f"{entry.action}_{entry.chain_id}"] = entry.points
        breakdown[entry.action] = breakdown.get(entry.action, 0) + entry.points
        total += entry.points
    # A multiplier of 0 is a multiplier.
    shown = 1 if multiplier is None or not breakdown else multiplier
    return PointsData(total, eligible, shown, breakdown)


def possible_points(active: Mapping[str, int], *, multiplier: int) -> PointsData:
    """Build the block of possible points: those of every active action; the total is always 0."""
    return PointsData(0, is_eligible=False, multiplier=multiplier, breakdown=dict(active))
