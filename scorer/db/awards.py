"""Tables registry_humanpoints and registry_humanpointscommunityqualifiedusers, as far as scoring writes them."""

from collections.abc import Sequence
from datetime import datetime

from scorer.db.pool import Connection
from scorer.domain.awards import ACTION_OF_LIST, HUMAN_KEY, METAMASK_BONUS, METAMASK_LIST, Award, AwardConditions

# The passport's lock covers one community only: without this one, concurrent scorings in four communities would not see each other's
# qualification and none would award the bonus.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7203118444))"
# All parts of the statement read the same snapshot, which lacks the row inserted here: hence `<> $2` and `+ 1`.
QUALIFY = """
WITH qualified AS (
    INSERT INTO registry_humanpointscommunityqualifiedusers (address, community_id) VALUES ($1, $2)
    ON CONFLICT (address, community_id) DO NOTHING
)
SELECT (SELECT count(*) FROM registry_humanpointscommunityqualifiedusers WHERE address = $1 AND community_id <> $2) + 1,
       ARRAY(SELECT provider FROM registry_humanpoints WHERE address = $1 AND action = $3),
       ARRAY(SELECT list.name FROM account_addresslistmember member JOIN account_addresslist list ON list.id = member.list_id
              WHERE member.address = $1 AND list.name = ANY($4::text[])),
       (SELECT count(*) FROM registry_humanpoints WHERE action = $5)
"""


async def qualify(conn: Connection, address: str, community_id: int) -> AwardConditions:
    """Record that the address passed in this community, and read the conditions of its awards."""
    await conn.execute(LOCK, address)
    lists = [METAMASK_LIST, *ACTION_OF_LIST]
    row = await conn.fetchrow(QUALIFY, address, community_id, HUMAN_KEY, lists, METAMASK_BONUS)
    assert row is not None
    return AwardConditions(row[0], frozenset(row[1]), frozenset(row[2]), row[3])


WRITE = """
INSERT INTO registry_humanpoints (address, action, timestamp, tx_hash, chain_id, provider)
SELECT $1::text, award.action, $2::timestamptz, award.tx_hash, 0, award.provider
FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS award (action, provider, tx_hash, position)
ORDER BY award.position
ON CONFLICT DO NOTHING
"""


async def write(conn: Connection, address: str, awards: Sequence[Award], *, now: datetime) -> None:
    """Insert the awards that do not exist yet."""
    if awards:
        actions, providers = [award.action for award in awards], [award.provider for award in awards]
        await conn.execute(WRITE, address, now, actions, providers, [award.tx_hash for award in awards])
