"""Table registry_passport: the row whose lock makes the scorings of one address in one community follow each other."""

from dataclasses import dataclass

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Passport:
    """A locked passport; `score_id` is None when it has no score row yet, as far as is known."""

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
    """The passport of this address, made when it is new; nobody else has it until the transaction ends."""
    row = await conn.fetchrow(LOCK, address, community_id)
    if row is None:
        created = await conn.fetchval(CREATE, address, community_id)
        if created is not None:
            return Passport(created, None)
        # Another transaction made it in between and has committed by now.
        row = await conn.fetchrow(LOCK, address, community_id)
        assert row is not None, "passports are never deleted"
    return Passport(row[0], row[1])
