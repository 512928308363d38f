"""Table account_nonce: single-use nonces with an optional expiry."""

from datetime import datetime

from scorer.db.pool import Connection

INSERT = "INSERT INTO account_nonce (nonce, created_on, was_used, expires_on) VALUES ($1, $2, false, $3)"


async def insert(conn: Connection, nonce: str, *, created_on: datetime, expires_on: datetime | None) -> None:
    """Insert a new nonce; with `expires_on` None it never expires."""
    await conn.execute(INSERT, nonce, created_on, expires_on)


# One statement, so that of two concurrent requests with the same nonce exactly one succeeds.
CONSUME = """
UPDATE account_nonce SET was_used = true
WHERE nonce = $1 AND NOT was_used AND (expires_on IS NULL OR expires_on > $2)
RETURNING id
"""


async def consume(conn: Connection, nonce: str, *, now: datetime) -> bool:
    """Consume a nonce; False if it is unknown, used or expired. Nonces are stored in lower case."""
    return await conn.fetchval(CONSUME, nonce.lower(), now) is not None
