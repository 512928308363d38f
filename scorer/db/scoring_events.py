"""Table scoring_events: the future event table, written beside the legacy tables if SCORER_SCORING_EVENTS is on."""

from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from scorer.db.pool import Connection
from scorer.domain.dedup import DedupPlan
from scorer.domain.scoring import Score
from scorer.domain.stamp import Stamp

INSERT = """
INSERT INTO scoring_events (address, community_id, score, threshold, raw_score, stamps_snapshot, weights, expires_at,
                            timestamp, scorer_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""


async def write(conn: Connection, address: str, community_id: int, score: Score, plan: DedupPlan) -> None:
    """Insert the event of a successful scoring; a failed one has none."""
    if score.evidence is None or score.stamp_scores is None:
        return
    weights = dict(score.stamp_scores)
    snapshot = {
        "valid": [_snapshot(stamp, weights.get(stamp.provider, 0.0), deduped=False) for stamp in plan.kept],
        "deduped": [_snapshot(stamp, 0.0, deduped=True) for stamp in plan.clashing],
    }
    await conn.execute(
        INSERT,
        address,
        community_id,
        score.score,
        Decimal(score.evidence["threshold"]),
        Decimal(score.evidence["rawScore"]),
        msgspec.json.encode(snapshot).decode(),
        msgspec.json.encode(weights).decode(),
        score.expires_at,
        score.scored_at,
        _version(),
    )


def _snapshot(stamp: Stamp, weight: float, *, deduped: bool) -> dict[str, Any]:
    return {
        "provider": stamp.provider,
        "nullifiers": stamp.nullifiers,
        "expires_at": stamp.expires_at,
        "weight": weight,
        "was_deduped": deduped,
    }


def _version() -> str:
    try:
        return version("shadow-scorer")
    except PackageNotFoundError:
        # The package is not installed: the process runs from a checkout.
        return "0.1.0"
