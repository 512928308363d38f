"""Table registry_passport: the row lock that serializes the scorings of one address in one community."""

from dataclasses import dataclass

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Passport:
    """A locked passport; `score_id` is None if no score row was visible."""

    id: int
    score_id: int | None


LOCK = """
SELECT p.id, s.id
FROM registry_passport p LEFT JOIN registry_score s ON s.passport_id = p.id
WHERE p.address = $1 AND p.community_id = $2
FOR UPDATE OF p
"""
CREATE = """
INSERT INTO registry_passport (address, community_id, requires_calculation) VALUES ($1, $2, NULL)
ON CONFLICT (address, community_id) DO NOTHING
RETURNING id
"""


async def lock(conn: Connection, address: str, community_id: int) -> Passport:
    """Lock the passport of this address until the transaction ends, creating it if necessary."""
    row = await conn.fetchrow(LOCK, address, community_id)
    if row is None:
        created = await conn.fetchval(CREATE, address, community_id)
        if created is not None:
            return Passport(created, None)
        # Another transaction created it in between and has committed by now.
        row = await conn.fetchrow(LOCK, address, community_id)
        assert row is not None, "passports are never deleted"
    return Passport(row[0], row[1])
