"""Columns compose_db_* of table ceramic_cache_ceramiccache: the state of a stamp in ComposeDB."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class SaveStatus:
    """A client's report about one stamp; an empty `stream_id` keeps the stored one."""

    id: int
    status: str
    stream_id: str


UPDATE = """
UPDATE ceramic_cache_ceramiccache AS c
SET compose_db_save_status = r.status,
    compose_db_stream_id = coalesce(nullif(r.stream_id, ''), c.compose_db_stream_id),
    updated_at = $5
FROM unnest($1::bigint[], $2::varchar[], $3::varchar[]) AS r (id, status, stream_id)
WHERE c.id = r.id AND c.address = $4 AND c.type = 1 AND c.deleted_at IS NULL AND c.compose_db_save_status = 'pending'
RETURNING c.id
"""


async def update(conn: Connection, reported: Sequence[SaveStatus], *, address: str, now: datetime) -> list[int]:
    """Store the reports about the address's live, pending stamps; return the ids that changed, ascending."""
    columns = ([r.id for r in reported], [r.status for r in reported], [r.stream_id for r in reported])
    return sorted(row["id"] for row in await conn.fetch(UPDATE, *columns, address, now))
