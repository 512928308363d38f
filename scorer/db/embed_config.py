"""The tables of the embed widget's configuration: weights of a community's scorer and its stamp sections."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scorer.db.pool import Connection

# The scorer's type selects the table; without a row there, the community has no weights.
WEIGHTS = """
SELECT CASE s.type WHEN 'WEIGHTED' THEN w.scorer_ptr_id WHEN 'WEIGHTED_BINARY' THEN b.scorer_ptr_id END AS scorer_id,
       CASE s.type WHEN 'WEIGHTED' THEN w.weights WHEN 'WEIGHTED_BINARY' THEN b.weights END AS weights
FROM account_community c
JOIN scorer_weighted_scorer s ON s.id = c.scorer_id
LEFT JOIN scorer_weighted_weightedscorer w ON w.scorer_ptr_id = s.id
LEFT JOIN scorer_weighted_binaryweightedscorer b ON b.scorer_ptr_id = s.id
WHERE c.id = $1
"""


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """The weights as stored: a JSON value, usually an object of numbers or numeric texts."""

    value: Any


async def weights(conn: Connection, community_id: int) -> StoredWeights | None:
    """Read the weights of the community's scorer; None if the community does not exist or its scorer is broken."""
    row = await conn.fetchrow(WEIGHTS, community_id)
    if row is None or row["scorer_id"] is None:
        return None
    return StoredWeights(None if row["weights"] is None else json.loads(row["weights"]))


@dataclass(frozen=True, slots=True)
class SectionItem:
    """One platform in a section."""

    platform_id: str
    order: int


@dataclass(frozen=True, slots=True)
class Section:
    """One heading with its platforms, in order."""

    title: str
    order: int
    items: Sequence[SectionItem]


SECTIONS = """
SELECT o.section_id, h.name, o."order"
FROM account_customization c
JOIN account_embedsectionorder o ON o.customization_id = c.id
JOIN account_embedsectionheader h ON h.id = o.section_id
WHERE c.scorer_id = $1
ORDER BY o."order", o.id
"""
PLATFORMS = """
SELECT p.section_id, m.platform_id, p."order"
FROM account_customization c
JOIN account_embedstampplatform p ON p.customization_id = c.id
JOIN registry_platformmetadata m ON m.id = p.platform_id
WHERE c.scorer_id = $1
ORDER BY p."order", p.id
"""


async def sections(conn: Connection, community_id: int) -> list[Section]:
    """Read the community's sections; platforms of a section without an order are left out."""
    placed = await conn.fetch(SECTIONS, community_id)
    items: Mapping[int, list[SectionItem]] = {row["section_id"]: [] for row in placed}
    for row in await conn.fetch(PLATFORMS, community_id) if placed else []:
        if row["section_id"] in items:
            items[row["section_id"]].append(SectionItem(row["platform_id"], row["order"]))
    return [Section(row["name"], row["order"], items[row["section_id"]]) for row in placed]
