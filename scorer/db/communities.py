"""Tables account_community, scorer_weighted_* and account_customization: a community with its weights, in one read."""

from dataclasses import dataclass
from decimal import Decimal

import msgspec

from scorer.db.pool import Connection
from scorer.domain.scoring import ScorerConfig

BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Community:
    """A community with its scorer; `config` is None if the scorer has no row of its type."""

    id: int
    rule: str
    human_points_program: bool
    config: ScorerConfig | None


_FIELDS = """
SELECT c.id, c.rule, c.human_points_program,
       CASE s.type WHEN 'WEIGHTED' THEN w.threshold WHEN 'WEIGHTED_BINARY' THEN b.threshold END AS threshold,
       CASE s.type WHEN 'WEIGHTED' THEN w.weights WHEN 'WEIGHTED_BINARY' THEN b.weights END AS weights,
       (SELECT jsonb_agg(jsonb_build_array('AllowList#' || l.name, a.weight::text) ORDER BY a.id)
          FROM account_customization z
          JOIN account_allowlist a ON a.customization_id = z.id
          JOIN account_addresslist l ON l.id = a.address_list_id
         WHERE z.scorer_id = c.id) AS list_weights,
       (SELECT jsonb_agg(jsonb_build_array(r.provider_id, k.weight::text) ORDER BY k.id)
          FROM account_customization z
          JOIN account_customcredential k ON k.customization_id = z.id
          JOIN account_customcredentialruleset r ON r.id = k.ruleset_id
         WHERE z.scorer_id = c.id) AS credential_weights
FROM account_community c
LEFT JOIN scorer_weighted_scorer s ON s.id = c.scorer_id
LEFT JOIN scorer_weighted_weightedscorer w ON w.scorer_ptr_id = s.id
LEFT JOIN scorer_weighted_binaryweightedscorer b ON b.scorer_ptr_id = s.id
"""

# An external id shadows another community's own id.
FIND_OF_ACCOUNT = (
    _FIELDS
    + """
WHERE c.account_id = $1 AND (c.external_scorer_id = $2 OR c.id = $3)
ORDER BY c.external_scorer_id IS NOT DISTINCT FROM $2 DESC
LIMIT 1
"""
)


async def find_of_account(conn: Connection, account_id: int, scorer_id: str) -> Community | None:
    """Find the community that `scorer_id` names for an API key's account: by external id first, then by id."""
    row = await conn.fetchrow(FIND_OF_ACCOUNT, account_id, scorer_id, _as_id(scorer_id))
    return None if row is None else _community(*row)


FIND = _FIELDS + "WHERE c.id = $1"


async def find(conn: Connection, community_id: int) -> Community | None:
    """Find a community by id, in any account."""
    if not 0 <= community_id <= BIGINT_MAX:
        return None
    row = await conn.fetchrow(FIND, community_id)
    return None if row is None else _community(*row)


IS_OF_ACCOUNT = "SELECT EXISTS (SELECT FROM account_community WHERE id = $1 AND account_id = $2)"


async def is_of_account(conn: Connection, community_id: int, account_id: int) -> bool:
    """Return True if the account owns the community of this id."""
    if not 0 <= community_id <= BIGINT_MAX:
        return False
    return bool(await conn.fetchval(IS_OF_ACCOUNT, community_id, account_id))


def _as_id(scorer_id: str) -> int | None:
    return int(scorer_id) if scorer_id.isascii() and scorer_id.isdecimal() and int(scorer_id) <= BIGINT_MAX else None


def _community(
    community_id: int,
    rule: str,
    program: bool,
    threshold: Decimal | None,
    weights: str | None,
    list_weights: str | None,
    credential_weights: str | None,
) -> Community:
    if threshold is None:
        return Community(community_id, rule, program, None)
    custom = dict(_pairs(list_weights) + _pairs(credential_weights))
    config = ScorerConfig(None if weights is None else msgspec.json.decode(weights), custom, threshold)
    return Community(community_id, rule, program, config)


def _pairs(text: str | None) -> list[tuple[str, str]]:
    return [] if text is None else msgspec.json.decode(text, type=list[tuple[str, str]])
