"""Weights, their sum, and the score row in the words of the legacy.

Observed of the legacy: a JSON number weighs its exact binary expansion, a text its decimal value; the sum is taken in the default
decimal context from 0 in the order of the stamps; a provider without a weight weighs 0 and still counts for the expiration.
"""

import decimal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from scorer.domain.stamp import Stamp
from scorer.errors import ScoringError

# The default context, made here so that no other code's change of the thread's context can reach a score.
CONTEXT = decimal.Context(prec=28, rounding=decimal.ROUND_HALF_EVEN)
_ZERO_SCORE = "0.00000"
RULE_LIFO = "LIFO"


@dataclass(frozen=True, slots=True)
class ScorerConfig:
    """How a community weighs: `weights` is the JSON of the scorer row, `custom_weights` what a customization puts over it."""

    weights: Any
    custom_weights: Mapping[str, str]
    threshold: Decimal


@dataclass(frozen=True, slots=True)
class Score:
    """A score row. In the state ERROR everything but `status` and `error` is None.

    `expires_at` keeps the offset of the credential it came from; `score` is 1 or 0.
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
        """Whether the sum reached the threshold."""
        return self.score == 1


def failed(error: ScoringError) -> Score:
    """The row of an address that cannot be scored."""
    return Score("ERROR", error=str(error))


def weigh(kept: Sequence[Stamp], clashing: Iterable[Stamp], config: ScorerConfig, *, now: datetime) -> Score:
    """The score of these stamps.

    Raises:
        ScoringError: the weights are null or not numbers; the text is what the score row gets.
    """
    try:
        weights = {**config.weights, **config.custom_weights} if config.custom_weights else config.weights
        weighed = [(stamp, Decimal(weights.get(stamp.provider, 0))) for stamp in kept]
        total = _sum(weight for _, weight in weighed)
        success = total >= config.threshold
    except (AttributeError, TypeError, ValueError, decimal.InvalidOperation) as error:
        raise ScoringError(str(error)) from error
    if not total.is_finite():
        # JSON has no infinity, so no score row can hold this.
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
        # A counted stamp of the clash's provider keeps its score and is shown as deduplicated.
        score = shown[provider]["score"] if provider in shown else _ZERO_SCORE
        shown[provider] = {"score": score, "dedup": True, "expiration_date": stamp.expires_text}
    return shown


def score_event(score: Score, *, passport_id: int) -> dict[str, Any]:
    """The data of the score update event, but for its `pk`."""
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
    """The data of the deduplication event of one clashing stamp."""
    return {
        "nullifiers": list(stamp.nullifiers),
        "provider": stamp.credential_provider,
        "community_id": community_id,
    }


def encoded_time(time: datetime | None) -> str | None:
    """A time as Django's JSON encoder writes it: milliseconds cut to three digits, "Z" for UTC, other offsets kept."""
    if time is None:
        return None
    text = time.isoformat()
    if time.microsecond:
        text = text[:23] + text[26:]
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def in_utc(time: datetime | None) -> datetime | None:
    """The same moment as the database gives it back."""
    return None if time is None else time.astimezone(UTC)
