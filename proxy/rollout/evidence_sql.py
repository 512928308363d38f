"""The statements that read a group's evidence from the comparator's tables, each on the connection it is given."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final

from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import VerdictCounts
from comparator.stats.quantile_sketch import ACCURACY, QuantileSketch
from comparator.store.comparison_detail import unpacked_detail
from proxy.rollout.evidence import RouteEvidence, SuspectFinding
from proxy.rollout.store import Connection

ROW_MISMATCHES_MAX: Final = 500
"""Comparisons with differing rows whose details are read, the newest first."""
SUSPECTS_MAX: Final = 50
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)

SELECT_BEGIN = """
SELECT served_at FROM shadow.comparison WHERE served_at >= $1 AND route = ANY($2)
ORDER BY served_at DESC OFFSET $3 LIMIT 1
"""


async def begin_of(conn: Connection, *, since: dt.datetime, names: Sequence[str], comparisons_max: int) -> dt.datetime:
    """From when on evidence is read: `since`, or later where there are more than so many comparisons after it."""
    begin: dt.datetime | None = await conn.fetchval(SELECT_BEGIN, since, list(names), comparisons_max - 1)
    return begin or since


# A side failed when it answered 5xx or nothing. That nobody listened, or that we ourselves were too busy, says nothing about a side.
SELECT_ROUTES = """
WITH told AS (
    SELECT
        route, verdict,
        coalesce(CASE served_by WHEN 'candidate' THEN served_status ELSE mirrored_status END, 599) >= 500 AS candidate_failed,
        coalesce(CASE served_by WHEN 'legacy' THEN served_status ELSE mirrored_status END, 599) >= 500 AS legacy_failed,
        cause NOT IN ('served_overload', 'mirrored_overload', 'mirrored_refused') AS tells
    FROM shadow.comparison WHERE served_at >= $1 AND route = ANY($2)
)
SELECT
    route,
    count(*) FILTER (WHERE verdict = 'match') AS match,
    count(*) FILTER (WHERE verdict = 'known') AS known,
    count(*) FILTER (WHERE verdict = 'mismatch') AS mismatch,
    count(*) FILTER (WHERE verdict = 'transient') AS transient,
    count(*) FILTER (WHERE verdict = 'failed') AS failed,
    count(*) FILTER (WHERE tells) AS pairs,
    count(*) FILTER (WHERE tells AND candidate_failed AND NOT legacy_failed) AS candidate_only,
    count(*) FILTER (WHERE tells AND legacy_failed AND NOT candidate_failed) AS legacy_only
FROM told GROUP BY route
"""


async def routes(conn: Connection, *, since: dt.datetime, names: Sequence[str]) -> dict[str, RouteEvidence]:
    """Comparisons and lone failures by route; routes without any are there with zeros."""
    found = {name: RouteEvidence() for name in names}
    for record in await conn.fetch(SELECT_ROUTES, since, list(names)):
        counts = VerdictCounts(*(record[name] for name in ("match", "known", "mismatch", "transient", "failed")))
        found[record["route"]] = RouteEvidence(counts, record["pairs"], record["candidate_only"], record["legacy_only"])
    return found


# The buckets are those of comparator.sketch, so that the counts are a sketch as they are.
SELECT_DURATIONS = """
SELECT side, role, ceil(ln(us) / ln($3::float8))::int AS bucket, count(*) AS count
FROM (
    SELECT served_by AS side, 'served' AS role, served_us AS us
    FROM shadow.comparison WHERE served_at >= $1 AND route = ANY($2) AND verdict <> 'failed'
    UNION ALL
    SELECT CASE served_by WHEN 'candidate' THEN 'legacy' ELSE 'candidate' END, 'mirrored', mirrored_us
    FROM shadow.comparison WHERE served_at >= $1 AND route = ANY($2) AND verdict <> 'failed'
) AS durations
WHERE us > 0 GROUP BY side, role, bucket
"""


async def durations(
    conn: Connection, *, since: dt.datetime, names: Sequence[str]
) -> dict[tuple[Side, Role], QuantileSketch]:
    """Durations in microseconds, by side and role."""
    counted: dict[tuple[Side, Role], Counter[int]] = {}
    for record in await conn.fetch(SELECT_DURATIONS, since, list(names), _GAMMA):
        key = (Side(record["side"]), Role(record["role"]))
        counted.setdefault(key, Counter())[record["bucket"]] += record["count"]
    return {key: QuantileSketch(positive=counter) for key, counter in counted.items()}


SELECT_EFFECTS = """
SELECT
    count(*) FILTER (WHERE effects_compared) AS compared,
    count(*) FILTER (WHERE verdict = 'mismatch' AND cause IN ('effects', 'response_and_effects')) AS mismatches
FROM shadow.comparison WHERE served_at >= $1 AND route = ANY($2)
"""


async def effects(conn: Connection, *, since: dt.datetime, names: Sequence[str]) -> tuple[int, int]:
    """Comparisons in which rows were compared, and those in which they differ."""
    record = await conn.fetchrow(SELECT_EFFECTS, since, list(names))
    return (record["compared"], record["mismatches"]) if record else (0, 0)


SELECT_ROW_MISMATCHES = """
SELECT detail FROM shadow.comparison
WHERE served_at >= $1 AND route = ANY($2) AND verdict = 'mismatch' AND cause IN ('effects', 'response_and_effects')
ORDER BY served_at DESC LIMIT $3
"""


async def points_mismatches(
    conn: Connection, *, since: dt.datetime, names: Sequence[str], tables: Sequence[str]
) -> int:
    """Comparisons in which rows of these tables differ, among the newest ROW_MISMATCHES_MAX with any."""
    records = await conn.fetch(SELECT_ROW_MISMATCHES, since, list(names), ROW_MISMATCHES_MAX)
    details = [unpacked_detail(record["detail"]) for record in records]
    return sum(any(one.place.partition(".")[0] in tables for one in detail.differences) for detail in details)


SELECT_SUSPECTS = """
SELECT id, route, place, kind, shape, count FROM shadow.finding
WHERE last_seen >= $1 AND route = ANY($2) AND state <> 'acknowledged'
ORDER BY first_seen >= $1 DESC, count DESC, id LIMIT $3
"""


async def suspects(conn: Connection, *, since: dt.datetime, names: Sequence[str]) -> tuple[SuspectFinding, ...]:
    """Findings seen since then that nobody acknowledged: new ones first, then the most frequent."""
    records = await conn.fetch(SELECT_SUSPECTS, since, list(names), SUSPECTS_MAX)
    return tuple([SuspectFinding(*record.values()) for record in records])
