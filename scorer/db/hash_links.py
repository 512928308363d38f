"""Table registry_hashscorerlink: which address owns a nullifier in a community, and until when."""

from collections.abc import Sequence
from datetime import datetime

from scorer.db.pool import Connection
from scorer.domain.dedup import HashLink

# A new link must not exist, and a link is only taken over while it is the address's own or expired: if another transaction was
# faster the counts differ and the whole request is done again. Sorted input keeps the order of the row locks the same everywhere.
WRITE = """
WITH made AS (
    INSERT INTO registry_hashscorerlink (hash, address, expires_at, community_id)
    SELECT hash, address, expires_at, $1::bigint
    FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS new (hash, address, expires_at)
    ON CONFLICT (hash, community_id) DO NOTHING
    RETURNING 1
), changed AS (
    UPDATE registry_hashscorerlink link SET address = new.address, expires_at = new.expires_at
    FROM unnest($5::text[], $6::text[], $7::timestamptz[]) AS new (hash, address, expires_at)
    WHERE link.hash = new.hash AND link.community_id = $1 AND (link.address = $8::text OR link.expires_at <= $9::timestamptz)
    RETURNING 1
)
SELECT (SELECT count(*) FROM made) + (SELECT count(*) FROM changed)
"""


async def write(
    conn: Connection,
    community_id: int,
    inserts: Sequence[HashLink],
    updates: Sequence[HashLink],
    *,
    address: str,
    now: datetime,
) -> bool:
    """Write a plan's links for `address`; whether all of them were still free."""
    if not inserts and not updates:
        return True
    count = await conn.fetchval(WRITE, community_id, *_columns(inserts), *_columns(updates), address, now)
    return count == len(inserts) + len(updates)


def _columns(links: Sequence[HashLink]) -> tuple[list[str], list[str], list[datetime]]:
    return [link.hash for link in links], [link.address for link in links], [link.expires_at for link in links]
