"""Tables account_addresslist, account_addresslistmember and account_customcredentialruleset: look-ups by name."""

import json
from dataclasses import dataclass
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
    """Return True if the address (lower case) is on the list of exactly this name."""
    return bool(await conn.fetchval(IS_MEMBER, list_name, address))


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The definition of a custom credential: any JSON value."""

    definition: Any


RULESET = "SELECT definition FROM account_customcredentialruleset WHERE provider_id = $1"


async def ruleset(conn: Connection, provider_id: str) -> Ruleset | None:
    """Find the rules of a custom credential; None if the credential does not exist."""
    text = await conn.fetchval(RULESET, provider_id)
    return None if text is None else Ruleset(json.loads(text))
