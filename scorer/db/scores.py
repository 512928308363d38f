"""Tables registry_stamp, registry_score and registry_event: write the result of a scoring in one statement, and read it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from scorer.db.passports import Passport
from scorer.db.pool import Connection
from scorer.domain.scoring import Score, score_event

_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ScoringOutcome:
    """The result of one scoring, without its links. `kept_ids` None keeps the passport's stamps as they are."""

    score: Score
    kept_ids: Sequence[int] | None
    dedup_events: Sequence[dict[str, Any]]


# The credentials are copied inside the database; the count tells if one of them was deleted meanwhile.
_SAVE = """
WITH gone AS (
    DELETE FROM registry_stamp WHERE passport_id = $1::bigint AND $2::bigint[] IS NOT NULL
), kept AS (
    INSERT INTO registry_stamp (provider, credential, passport_id)
    SELECT cache.provider, cache.stamp, $1::bigint
    FROM unnest($2::bigint[]) WITH ORDINALITY AS chosen (id, position)
    JOIN ceramic_cache_ceramiccache cache ON cache.id = chosen.id
    ORDER BY chosen.position
    RETURNING 1
), dedups AS (
    INSERT INTO registry_event (action, address, created_at, data, community_id)
    SELECT 'LDP', $3::text, $4::timestamptz, data, $5::bigint FROM unnest($6::jsonb[]) AS data
), saved AS ({saved}), event AS (
    INSERT INTO registry_event (action, address, created_at, data, community_id)
    SELECT 'SCU', $3::text, $4::timestamptz, $16::jsonb || jsonb_build_object('pk', saved.id), $5::bigint
    FROM saved WHERE $16::jsonb IS NOT NULL
)
SELECT (SELECT count(*) FROM kept) AS kept
"""
_UPDATE = """
    UPDATE registry_score
    SET score = $8, error = $9, last_score_timestamp = $10, status = $11, evidence = $12::jsonb, stamp_scores = $13::jsonb,
        expiration_date = $14, stamps = $15::jsonb
    WHERE id = $7
    RETURNING id
"""
# Two concurrent scorings may both have seen no score row, hence ON CONFLICT.
_INSERT = """
    INSERT INTO registry_score (passport_id, score, error, last_score_timestamp, status, evidence, stamp_scores,
                                expiration_date, stamps)
    VALUES ($7, $8, $9, $10, $11, $12::jsonb, $13::jsonb, $14, $15::jsonb)
    ON CONFLICT (passport_id) DO UPDATE
    SET score = EXCLUDED.score, error = EXCLUDED.error, last_score_timestamp = EXCLUDED.last_score_timestamp,
        status = EXCLUDED.status, evidence = EXCLUDED.evidence, stamp_scores = EXCLUDED.stamp_scores,
        expiration_date = EXCLUDED.expiration_date, stamps = EXCLUDED.stamps
    RETURNING id
"""
SAVE_AGAIN = _SAVE.format(saved=_UPDATE)
SAVE_FIRST = _SAVE.format(saved=_INSERT)


async def save(
    conn: Connection, passport: Passport, outcome: ScoringOutcome, *, address: str, community_id: int, now: datetime
) -> bool:
    """Replace the passport's stamps, write the events and the score; return False if a kept credential was deleted meanwhile."""
    score = outcome.score
    event = None if score.status != "DONE" else _json(score_event(score, passport_id=passport.id))
    statement, target = (SAVE_FIRST, passport.id) if passport.score_id is None else (SAVE_AGAIN, passport.score_id)
    kept = await conn.fetchval(
        statement,
        passport.id,
        outcome.kept_ids,
        address,
        now,
        community_id,
        [_json(data) for data in outcome.dedup_events],
        target,
        *_columns(score),
        event,
    )
    return kept == len(outcome.kept_ids or ())


def _columns(score: Score) -> tuple[object, ...]:
    return (
        score.score,
        score.error,
        score.scored_at,
        score.status,
        _json(score.evidence),
        _json(score.stamp_scores),
        score.expires_at,
        _json(score.stamps),
    )


def _json(value: object) -> str | None:
    return None if value is None else _ENCODER.encode(value).decode()


FIND = """
SELECT s.score, s.error, s.last_score_timestamp, s.status, s.evidence, s.stamp_scores, s.expiration_date, s.stamps
FROM registry_score s JOIN registry_passport p ON p.id = s.passport_id
WHERE p.address = $1 AND p.community_id = $2
"""


async def find(conn: Connection, address: str, community_id: int) -> Score | None:
    """Find the stored score of an address; its times are in UTC."""
    row = await conn.fetchrow(FIND, address, community_id)
    return None if row is None else _score(*row)


def _score(
    score: Decimal | None,
    error: str | None,
    scored_at: datetime | None,
    status: str | None,
    evidence: str | None,
    stamp_scores: str | None,
    expires_at: datetime | None,
    stamps: str | None,
) -> Score:
    return Score(
        status or "",
        error=error,
        score=score,
        scored_at=scored_at,
        expires_at=expires_at,
        evidence=_decoded(evidence),
        stamp_scores=_decoded(stamp_scores),
        stamps=_decoded(stamps),
    )


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


EVENT_BEFORE = """
SELECT data FROM registry_event
WHERE action = 'SCU' AND community_id = $1 AND address = $2 AND ($3::timestamptz IS NULL OR created_at <= $3)
ORDER BY created_at DESC
LIMIT 1
"""


async def event_before(conn: Connection, community_id: int, address: str, moment: datetime | None) -> Any:
    """Find the data of the newest score update up to `moment` (without it: of all); None if there is none."""
    return _decoded(await conn.fetchval(EVENT_BEFORE, community_id, address, moment))
