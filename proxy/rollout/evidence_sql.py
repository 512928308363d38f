"""SQL that reads the evidence of a group from the comparator's tables; each function takes the connection first."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final

from comparator.exchanges.model import Role, Side
from comparator.postgres import Connection
from comparator.stats.confidence import VerdictCounts
from comparator.stats.quantile_sketch import ACCURACY, QuantileSketch
from comparator.store.comparison_detail import unpacked_detail
from proxy.rollout.evidence import RouteEvidence, SuspectFinding

ROW_MISMATCHES_MAX: Final = 500
"""The number of comparisons with differing rows whose details are read, the newest first."""
SUSPECTS_MAX: Final = 50
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)

SELECT_BEGIN = """
SELECT served_at FROM shadow.comparison WHERE served_at >= $1 AND route = ANY($2)
ORDER BY served_at DESC OFFSET $3 LIMIT 1
"""


async def begin_of(conn: Connection, *, since: dt.datetime, names: Sequence[str], comparisons_max: int) -> dt.datetime:
    """Return the time from which evidence is read: `since`, or later where more than `comparisons_max` comparisons follow it.

    Args:
        conn: a connection to the store.
        since: when the step was entered.
        names: routes.
        comparisons_max: section `rollout.gates`.
    """
    begin: dt.datetime | None = await conn.fetchval(SELECT_BEGIN, since, list(names), comparisons_max - 1)
    return begin or since


# A side failed when its status is 5xx or when it gave no response, which counts as 599 here. A refused connection and an overload of
# our own say nothing about a side, so such comparisons are not counted as pairs. For example:
#
#   served_by  served_status  mirrored_status  cause             pair  candidate_failed  legacy_failed
#   candidate  200            500              response          yes   no                yes
#   legacy     200            NULL             mirrored_timeout  yes   yes               no
#   legacy     200            NULL             mirrored_refused  no
SELECT_ROUTES = """
WITH judged AS (
    SELECT
        route, verdict,
        coalesce(CASE served_by WHEN 'candidate' THEN served_status ELSE mirrored_status END, 599) >= 500 AS candidate_failed,
        coalesce(CASE served_by WHEN 'legacy' THEN served_status ELSE mirrored_status END, 599) >= 500 AS legacy_failed,
        coalesce(cause, '') NOT IN ('served_overload', 'mirrored_overload', 'mirrored_refused') AS is_pair
    FROM shadow.comparison WHERE served_at >= $1 AND route = ANY($2)
)
SELECT
    route,
    count(*) FILTER (WHERE verdict = 'match') AS match,
    count(*) FILTER (WHERE verdict = 'known') AS known,
    count(*) FILTER (WHERE verdict = 'mismatch') AS mismatch,
    count(*) FILTER (WHERE verdict = 'transient') AS transient,
    count(*) FILTER (WHERE verdict = 'failed') AS failed,
    count(*) FILTER (WHERE is_pair) AS pairs,
    count(*) FILTER (WHERE is_pair AND candidate_failed AND NOT legacy_failed) AS candidate_only,
    count(*) FILTER (WHERE is_pair AND legacy_failed AND NOT candidate_failed) AS legacy_only
FROM judged GROUP BY route
"""


async def routes(conn: Connection, *, since: dt.datetime, names: Sequence[str]) -> dict[str, RouteEvidence]:
    """Count comparisons, and the failures of one side alone, by route; a route without any has zeros."""
    evidence = {name: RouteEvidence() for name in names}
    for record in await conn.fetch(SELECT_ROUTES, since, list(names)):
        counts = VerdictCounts(*(record[name] for name in ("match", "known", "mismatch", "transient", "failed")))
        evidence[record["route"]] = RouteEvidence(
            counts, record["pairs"], record["candidate_only"], record["legacy_only"]
        )
    return evidence


# The buckets are those of comparator.stats.quantile_sketch, so the counts are a sketch without further work.
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
    """Return sketches of the durations in microseconds, by side and role."""
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
    """Count the comparisons in which rows were compared, and those in which they differ."""
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
    """Count the comparisons that differ in rows of these tables, among the newest ROW_MISMATCHES_MAX with differing rows."""
    records = await conn.fetch(SELECT_ROW_MISMATCHES, since, list(names), ROW_MISMATCHES_MAX)
    details = [unpacked_detail(record["detail"]) for record in records]
    return sum(
        any(difference.place.partition(".")[0] in tables for difference in detail.differences) for detail in details
    )


SELECT_SUSPECTS = """
SELECT id, route, place, kind, shape, count FROM shadow.finding
WHERE last_seen >= $1 AND route = ANY($2) AND state <> 'acknowledged'
ORDER BY first_seen >= $1 DESC, count DESC, id LIMIT $3
"""


async def suspects(conn: Connection, *, since: dt.datetime, names: Sequence[str]) -> tuple[SuspectFinding, ...]:
    """Return the findings seen since then that are not acknowledged: new ones first, then the most frequent."""
    records = await conn.fetch(SELECT_SUSPECTS, since, list(names), SUSPECTS_MAX)
    return tuple([SuspectFinding(*record.values()) for record in records])
