"""Human points beside a score."""

from dataclasses import dataclass

from scorer.db import points as points_rows
from scorer.db.pool import Connection
from scorer.domain.points import PointsData, points_data, possible_points


@dataclass(frozen=True, slots=True)
class ShownPoints:
    """What the address has, and what there is."""

    points_data: PointsData
    possible_points_data: PointsData


async def shown_points(conn: Connection, address: str) -> ShownPoints:
    """The two blocks of points of an address (lower case); one round trip."""
    rows = await points_rows.read(conn, address)
    earned = points_data(rows.earned, multiplier=rows.multiplier, eligible=rows.eligible)
    return ShownPoints(earned, possible_points(rows.possible, multiplier=earned.multiplier))
