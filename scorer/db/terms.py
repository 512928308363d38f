"""Tables tos_tos and tos_tosacceptanceproof: terms of service and their signatures."""

from dataclasses import dataclass
from datetime import datetime

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Terms:
    """One version of the terms, in force."""

    id: int
    content: str


ACCEPTED = """
SELECT EXISTS (
    SELECT 1
    FROM tos_tosacceptanceproof p
    JOIN tos_tos t ON t.id = p.tos_id
    WHERE p.address = $1 AND t.type = $2 AND t.active
)
"""


async def accepted(conn: Connection, address: str, *, kind: str) -> bool:
    """Return True if the address (lower case) has signed the active terms of this kind."""
    return bool(await conn.fetchval(ACCEPTED, address, kind))


IN_FORCE = "SELECT id, content FROM tos_tos WHERE type = $1 AND active AND final"


async def in_force(conn: Connection, kind: str) -> Terms | None:
    """Find the terms of this kind that are in force; a unique index allows at most one."""
    row = await conn.fetchrow(IN_FORCE, kind)
    return None if row is None else Terms(*row)


ACCEPT = """
INSERT INTO tos_tosacceptanceproof (created_at, address, signature, nonce, tos_id)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tos_id, address) DO NOTHING
"""


async def accept(conn: Connection, terms_id: int, *, address: str, signature: str, nonce: str, now: datetime) -> None:
    """Insert a signature of the address (lower case); a second one changes nothing."""
    await conn.execute(ACCEPT, now, address, signature, nonce, terms_id)
