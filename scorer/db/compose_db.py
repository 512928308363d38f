"""Columns compose_db_* of table ceramic_cache_ceramiccache: where a stamp is in the other store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class SaveStatus:
    """What the client reports of one stamp; an empty `stream_id` leaves the stored one."""

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
    """Store what is reported of the address's live stamps that are pending; the ids that changed, ascending."""
    columns = ([r.id for r in reported], [r.status for r in reported], [r.stream_id for r in reported])
    return sorted(row["id"] for row in await conn.fetch(UPDATE, *columns, address, now))
