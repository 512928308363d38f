"""Tables account_addresslist, account_addresslistmember and account_customcredentialruleset, read by name."""

import json
from typing import Any

from scorer.db.pool import Connection

IS_MEMBER = """
SELECT EXISTS (
    SELECT 1
    FROM account_addresslistmember m
    JOIN account_addresslist l ON l.id = m.list_id
    WHERE l.name = $1 AND m.address = $2
)
"""


async def is_member(conn: Connection, list_name: str, *, address: str) -> bool:
    """Whether the address (lower case) is on the list of exactly this name."""
    return bool(await conn.fetchval(IS_MEMBER, list_name, address))


RULESET = "SELECT definition FROM account_customcredentialruleset WHERE provider_id = $1"


async def ruleset(conn: Connection, provider_id: str) -> Any | None:
    """The definition of a custom credential, None when there is none."""
    text = await conn.fetchval(RULESET, provider_id)
    return None if text is None else json.loads(text)
