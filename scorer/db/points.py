"""Tables registry_humanpoints*, read for responses."""

import json
from dataclasses import dataclass

from scorer.db.pool import Connection
from scorer.domain.points import EarnedPoints


@dataclass(frozen=True, slots=True)
class PointsRows:
    """The data for the points of one address; `possible` is the active configuration, in id order."""

    earned: list[EarnedPoints]
    possible: dict[str, int]
    multiplier: int | None
    eligible: bool


# One round trip: scores with points are read often.
READ = """
SELECT
    (
        SELECT coalesce(json_agg(json_build_array(g.action, g.chain_id, g.points) ORDER BY g.first), '[]')
        FROM (
            SELECT p.action, p.chain_id, sum(c.points) AS points, min(p.id) AS first
            FROM registry_humanpoints p
            JOIN registry_humanpointsconfig c ON c.action = p.action
            WHERE p.address = $1 AND c.active
            GROUP BY p.action, p.chain_id
        ) AS g
    ) AS earned,
    (
        SELECT coalesce(json_agg(json_build_array(action, points) ORDER BY id), '[]')
        FROM registry_humanpointsconfig
        WHERE active
    ) AS possible,
    (SELECT multiplier FROM registry_humanpointsmultiplier WHERE address = $1) AS multiplier,
    EXISTS (SELECT 1 FROM registry_humanpointscommunityqualifiedusers WHERE address = $1) AS eligible
"""


async def read(conn: Connection, address: str) -> PointsRows:
    """Read the earned and the possible points of the address (lower case)."""
    row = await conn.fetchrow(READ, address)
    assert row is not None
    return PointsRows(
        earned=[EarnedPoints(*entry) for entry in json.loads(row["earned"])],
        possible=dict(json.loads(row["possible"])),
        multiplier=row["multiplier"],
        eligible=row["eligible"],
    )
