"""Table registry_hashscorerlink: the owner of a nullifier in a community, and the expiry of its claim."""

from collections.abc import Sequence
from datetime import datetime

from scorer.db.pool import Connection
from scorer.domain.dedup import HashLink

# A new link must not exist yet, and an existing one is updated only if it is the address's own or expired. If another transaction was
# faster, the count is too small and the whole request is retried. Example: two addresses insert nullifier "v0:a"; the second one waits
# for the first one's commit, its ON CONFLICT inserts nothing, the count is 0 of 1, and the retry sees the link and finds a clash.
# Sorted input makes all transactions lock rows in the same order.
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
    """Write a plan's links for `address`; return False if another address has taken one meanwhile."""
    if not inserts and not updates:
        return True
    count = await conn.fetchval(WRITE, community_id, *_columns(inserts), *_columns(updates), address, now)
    return count == len(inserts) + len(updates)


def _columns(links: Sequence[HashLink]) -> tuple[list[str], list[str], list[datetime]]:
    return [link.hash for link in links], [link.address for link in links], [link.expires_at for link in links]
