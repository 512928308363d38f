"""Response bodies, as dicts in the key order of the API.

Observed of the legacy: score and passing_score come from the unrounded values of the evidence, not from the score column; without
evidence (an error, or a row that was never scored) the threshold shown is 20, not the scorer's.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from scorer.db.stamps import LiveStamp
from scorer.domain.points import PointsData
from scorer.domain.scoring import Score
from scorer.errors import UnanswerableError
from scorer.workflows.points import PointsBlocks

_THRESHOLD_WITHOUT_EVIDENCE = "20"
_ZERO = "0"


def v2_score(address: str, score: Score, points: PointsBlocks | None = None) -> dict[str, Any]:
    """Return the body of a score, just calculated or stored.

    Parts of the evidence that are missing count as 0 and 20, parts that are null as 0.

    Raises:
        UnanswerableError: a part of the stored evidence is not a number.
    """
    evidence = _object(score.evidence or {})
    raw = _number(evidence.get("rawScore", "0"), null=_ZERO)
    threshold = _number(evidence.get("threshold", _THRESHOLD_WITHOUT_EVIDENCE), null=_ZERO)
    return _v2_score(
        address,
        score=f"{raw:.5f}",
        passing=raw >= threshold,
        scored_at=_moment(score.scored_at),
        expires_at=_moment(score.expires_at),
        threshold=f"{threshold:.5f}",
        error=score.error,
        stamps=score.stamps if score.stamps is not None else {},
        points=points,
    )


def v2_score_of_event(address: str, data: object) -> dict[str, Any]:
    """Return the body of a score from a score update event, its times and stamps as stored.

    Raises:
        UnanswerableError: the event has no score.
    """
    fields = _fields(data)
    evidence = _object(fields.get("evidence") or {})
    raw = evidence.get("rawScore", fields.get("score", "0"))
    score, threshold = _number(raw), _number(evidence.get("threshold", "0"))
    return _v2_score(
        address,
        score=f"{score:.5f}",
        # A score that is the JSON number 0 passes no threshold, not even 0. Observed of the legacy.
        passing=bool(raw) and score >= threshold,
        scored_at=fields.get("last_score_timestamp"),
        expires_at=fields.get("expiration_date"),
        threshold=f"{threshold:.5f}",
        error=fields.get("error"),
        stamps=fields.get("stamps"),
        points=None,
    )


def held_stamps(stamps: Iterable[LiveStamp]) -> dict[str, Any]:
    """Return the body that lists the stamps of an address."""
    shown = [
        {"id": stamp.id, "address": stamp.address, "provider": stamp.provider, "stamp": stamp.stamp} for stamp in stamps
    ]
    return {"success": True, "stamps": shown}


def _v2_score(  # noqa: PLR0913 (one argument a key of the body)
    address: str,
    *,
    score: str,
    passing: bool,
    scored_at: object,
    expires_at: object,
    threshold: str,
    error: object,
    stamps: object,
    points: PointsBlocks | None,
) -> dict[str, Any]:
    return {
        "address": address,
        "score": score,
        "passing_score": passing,
        "last_score_timestamp": scored_at,
        "expiration_timestamp": expires_at,
        "threshold": threshold,
        "error": error,
        "stamps": stamps,
        "points_data": None if points is None else _points(points.points_data),
        "possible_points_data": None if points is None else _points(points.possible_points_data),
        # This version does not link wallets.
        "linked_score": None,
    }


def _points(points: PointsData) -> dict[str, Any]:
    return {
        "total_points": points.total_points,
        "is_eligible": points.is_eligible,
        "multiplier": points.multiplier,
        "breakdown": dict(points.breakdown),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _fields(data: object) -> Mapping[str, Any]:
    event = _object(data)
    return _object(event.get("fields", event))


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UnanswerableError("a stored value is not an object")
    return cast("Mapping[str, Any]", value)


def _number(value: object, *, null: str | None = None) -> Decimal:
    value = null if value is None else value
    try:
        number = Decimal(value) if isinstance(value, str | int | float) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise UnanswerableError("a stored value is not a number")
    return number
