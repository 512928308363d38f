"""Tables cgrants_*: contributions of an address to grants and in protocol rounds."""

from scorer.db.pool import Connection
from scorer.domain.contributions import PROTOCOL_AMOUNT_MIN, Contributions

GRANTS = """
SELECT count(DISTINCT i.grant_id), coalesce(sum(i.amount), 0)
FROM cgrants_grantcontributionindex i
JOIN cgrants_contribution c ON c.id = i.contribution_id
WHERE c.success AND i.contributor_address = $1
"""


async def to_grants(conn: Connection, address: str) -> Contributions:
    """Sum up the successful contributions of the address (lower case) to grants."""
    row = await conn.fetchrow(GRANTS, address)
    assert row is not None
    return Contributions(*row)


PROTOCOL = """
SELECT count(DISTINCT p.project), coalesce(sum(p.amount), 0)
FROM cgrants_protocolcontributions p
WHERE p.contributor = $1 AND p.amount >= $2 AND p.round NOT IN (
    SELECT m.round_eth_address
    FROM cgrants_roundmapping m
    JOIN cgrants_squelchedaccounts s ON s.round_number = m.round_number
    WHERE s.address = $1
)
"""


async def in_protocol_rounds(conn: Connection, address: str) -> Contributions:
    """Sum up the contributions of the address (lower case) in rounds in which it was not squelched."""
    row = await conn.fetchrow(PROTOCOL, address, PROTOCOL_AMOUNT_MIN)
    assert row is not None
    return Contributions(*row)
