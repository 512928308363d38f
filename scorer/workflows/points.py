"""Human points beside a score."""

from dataclasses import dataclass

from scorer.db import points as points_rows
from scorer.db.pool import Connection
from scorer.domain.points import PointsData, points_data, possible_points


@dataclass(frozen=True, slots=True)
class PointsBlocks:
    """The earned and the possible points of an address."""

    points_data: PointsData
    possible_points_data: PointsData


async def points_blocks(conn: Connection, address: str) -> PointsBlocks:
    """Read the two blocks of points of an address (lower case), in one round trip."""
    rows = await points_rows.read(conn, address)
    earned = points_data(rows.earned, multiplier=rows.multiplier, eligible=rows.eligible)
    return PointsBlocks(earned, possible_points(rows.possible, multiplier=earned.multiplier))
