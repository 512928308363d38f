"""Tables registry_platformmetadata and registry_stampmetadata: the platforms referenced by sections."""

from collections.abc import Sequence

from scorer.db.pool import Connection

UPSERT = """
INSERT INTO registry_platformmetadata AS m (platform_id, name)
SELECT * FROM unnest($1::varchar[], $2::varchar[])
ON CONFLICT (platform_id) DO UPDATE SET name = excluded.name WHERE m.name <> excluded.name
RETURNING xmax = 0 AS created
"""


async def upsert(conn: Connection, ids: Sequence[str], names: Sequence[str]) -> tuple[int, int]:
    """Insert missing platforms and rename changed ones; return the count of each. The ids must be distinct."""
    rows = await conn.fetch(UPSERT, ids, names)
    created = sum(row["created"] for row in rows)
    return created, len(rows) - created


LINK = """
UPDATE registry_stampmetadata AS s
SET platform_id = m.id
FROM unnest($1::varchar[], $2::varchar[]) AS l (provider, platform_id)
JOIN registry_platformmetadata m ON m.platform_id = l.platform_id
WHERE s.provider = l.provider AND s.platform_id IS DISTINCT FROM m.id
RETURNING s.id
"""


async def link(conn: Connection, providers: Sequence[str], platform_ids: Sequence[str]) -> int:
    """Link the rows of known providers to their platforms; return how many changed. The providers must be distinct."""
    return len(await conn.fetch(LINK, providers, platform_ids))
