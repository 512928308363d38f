"""Table account_accountapikey."""

from dataclasses import dataclass

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key. `hashed_sha256` is "" until the key has been used once; rate limits are "<n>/<window>", "" or None for no limit."""

    id: str
    prefix: str
    account_id: int
    revoked: bool
    hashed: str
    hashed_sha256: str
    rate_limit: str | None
    analysis_rate_limit: str | None
    embed_rate_limit: str | None
    historical_endpoint: bool


FIND = """
SELECT k.id, k.prefix, k.account_id, k.revoked, k.hashed_key, coalesce(k.hashed_key_sha256, '') AS hashed_key_sha256,
       k.rate_limit, k.analysis_rate_limit, k.embed_rate_limit, k.historical_endpoint
FROM account_accountapikey k
JOIN account_account a ON a.id = k.account_id
WHERE k.prefix = $1
"""


async def find(conn: Connection, prefix: str) -> ApiKey | None:
    """Find the key with this prefix, revoked or not."""
    row = await conn.fetchrow(FIND, prefix)
    return None if row is None else ApiKey(*row)


MIGRATE = "UPDATE account_accountapikey SET hashed_key_sha256 = $2 WHERE id = $1"


async def migrate(conn: Connection, key_id: str, hashed_sha256: str) -> None:
    """Store the fast hash, which replaces the slow one from now on."""
    await conn.execute(MIGRATE, key_id, hashed_sha256)
