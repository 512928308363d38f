"""Tables ceramic_cache_ban and ceramic_cache_revocation: bans in force, revoked proofs."""

from collections.abc import Sequence
from datetime import datetime

from scorer.db.pool import Connection
from scorer.domain.bans import Ban

# The legacy reads them in undefined order; the oldest first is stable.
ACTIVE = """
SELECT type, provider, hash, address, end_time, reason
FROM ceramic_cache_ban
WHERE (end_time IS NULL OR end_time > $3) AND (hash = ANY($1::varchar[]) OR upper(address) = upper($2))
ORDER BY id
"""


async def active(conn: Connection, hashes: Sequence[str], *, address: str, now: datetime) -> list[Ban]:
    """Read the bans in force at `now` that name the address, in any letter case, or one of the hashes."""
    return [Ban(*row) for row in await conn.fetch(ACTIVE, hashes, address, now)]


REVOKED = "SELECT DISTINCT proof_value FROM ceramic_cache_revocation WHERE proof_value = ANY($1::varchar[])"


async def revoked(conn: Connection, proof_values: Sequence[str]) -> frozenset[str]:
    """Return the revoked ones among these proof values."""
    return frozenset(row["proof_value"] for row in await conn.fetch(REVOKED, proof_values))
