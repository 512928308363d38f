"""Weights, their sum, and the score row in the legacy's format.

Observed of the legacy: a weight that is a JSON number counts with its exact binary expansion, a text with its decimal value; the sum
is calculated in the default decimal context, from 0, in the order of the stamps; a provider without a weight weighs 0 and still
counts for the expiration.
"""

import decimal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from scorer.domain.stamp import Stamp
from scorer.errors import ScoringError

# Python's default context, as a constant, so that a change of the thread's context elsewhere cannot affect a score.
CONTEXT = decimal.Context(prec=28, rounding=decimal.ROUND_HALF_EVEN)
_ZERO_SCORE = "0.00000"
RULE_LIFO = "LIFO"


@dataclass(frozen=True, slots=True)
class ScorerConfig:
    """The weights and threshold of a community: `weights` is the scorer row's JSON, `custom_weights` override it."""

    weights: Any
    custom_weights: Mapping[str, str]
    threshold: Decimal


@dataclass(frozen=True, slots=True)
class Score:
    """A score row. With status ERROR everything but `status` and `error` is None.

    `expires_at` keeps the UTC offset of its credential; `score` is 1 or 0.
    """

    status: str
    error: str | None = None
    score: Decimal | None = None
    scored_at: datetime | None = None
    expires_at: datetime | None = None
    evidence: Mapping[str, Any] | None = None
    stamp_scores: Mapping[str, float] | None = None
    stamps: Mapping[str, Any] | None = None

    @property
    def passed(self) -> bool:
        """True if the sum has reached the threshold."""
        return self.score == 1


def failed(error: ScoringError) -> Score:
    """Build the row of an address that cannot be scored."""
    return Score("ERROR", error=str(error))


def weigh(kept: Sequence[Stamp], clashing: Iterable[Stamp], config: ScorerConfig, *, now: datetime) -> Score:
    """Calculate the score of these stamps.

    Raises:
        ScoringError: the weights are null or not numbers; the text is stored in the score row.
    """
    try:
        weights = {**config.weights, **config.custom_weights} if config.custom_weights else config.weights
        weighed = [(stamp, Decimal(weights.get(stamp.provider, 0))) for stamp in kept]
        total = _sum(weight for _, weight in weighed)
        success = total >= config.threshold
    except (AttributeError, TypeError, ValueError, decimal.InvalidOperation) as error:
        raise ScoringError(str(error)) from error
    if not total.is_finite():
        # JSON has no infinity, so a score row could not hold the sum.
        raise ScoringError("a weight is not finite")
    stamp_scores = {stamp.provider: float(weight) for stamp, weight in weighed}
    return Score(
        "DONE",
        score=Decimal(int(success)),
        scored_at=now,
        expires_at=min((stamp.expires_at for stamp in kept), default=None),
        evidence={
            "type": "ThresholdScoreCheck",
            "success": success,
            "rawScore": str(total),
            "threshold": str(config.threshold),
        },
        stamp_scores=stamp_scores,
        stamps=_stamps_shown(kept, clashing, stamp_scores),
    )


def _sum(weights: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for weight in weights:
        total = CONTEXT.add(total, weight)
    return total


def _stamps_shown(
    kept: Iterable[Stamp], clashing: Iterable[Stamp], stamp_scores: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    shown: dict[str, dict[str, Any]] = {
        stamp.provider: {
            "score": f"{stamp_scores[stamp.provider]:.5f}",
            "dedup": False,
            "expiration_date": stamp.expires_at.isoformat(),
        }
        for stamp in kept
    }
    for stamp in clashing:
        provider = stamp.credential_provider
        # A counted stamp of the clashing credential's provider keeps its score and is shown as deduplicated.
        score = shown[provider]["score"] if provider in shown else _ZERO_SCORE
        shown[provider] = {"score": score, "dedup": True, "expiration_date": stamp.expires_text}
    return shown


def score_event(score: Score, *, passport_id: int) -> dict[str, Any]:
    """Build the data of the score update event, without its `pk`."""
    return {
        "model": "registry.score",
        "fields": {
            "passport": passport_id,
            "score": str(score.score),
            "last_score_timestamp": encoded_time(score.scored_at),
            "status": score.status,
            "error": score.error,
            "evidence": score.evidence,
            "stamp_scores": score.stamp_scores,
            "stamps": score.stamps,
            "expiration_date": encoded_time(score.expires_at),
        },
    }


def dedup_event(stamp: Stamp, *, community_id: int) -> dict[str, Any]:
    """Build the data of the deduplication event of one clashing stamp."""
    return {
        "nullifiers": list(stamp.nullifiers),
        "provider": stamp.credential_provider,
        "community_id": community_id,
    }


def encoded_time(time: datetime | None) -> str | None:
    """Format a time as Django's JSON encoder does: truncated to milliseconds, "Z" for UTC, other offsets kept."""
    if time is None:
        return None
    text = time.isoformat()
    if time.microsecond:
        text = text[:23] + text[26:]
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
