"""Read counts and durations over time, for charts: in bins of equal length, the empty ones left out.

A short span is read from the comparisons themselves, at any length of bins. A longer one is read from the counts by minute that are kept
for the gates, so that it costs the same however many comparisons there are.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from comparator.exchanges.model import Side
from comparator.postgres import Connection
from comparator.stats.confidence import VerdictCounts
from comparator.stats.duration_buckets import log_quantile

FINE_SPAN_MAX: Final = dt.timedelta(minutes=15)
"""Longest span that is read from the comparisons."""


@dataclass(frozen=True, slots=True)
class CountBin:
    """The comparisons of one bin.

    Attributes:
        begins: its begin.
        counts: comparisons by verdict.
        rows_compared: those of them in which rows were compared.
    """

    begins: dt.datetime
    counts: VerdictCounts
    rows_compared: int


@dataclass(frozen=True, slots=True)
class DurationBin:
    """A quantile of the durations of one side in one bin, in milliseconds, and the number of durations."""

    begins: dt.datetime
    side: str
    count: int
    quantile_ms: float


SELECT_FINE_COUNTS = """
SELECT
    date_bin($3, served_at, $1) AS begins,
    count(*) FILTER (WHERE verdict = 'match') AS match,
    count(*) FILTER (WHERE verdict = 'known') AS known,
    count(*) FILTER (WHERE verdict = 'mismatch') AS mismatch,
    count(*) FILTER (WHERE verdict = 'transient') AS transient,
    count(*) FILTER (WHERE verdict = 'failed') AS failed,
    count(*) FILTER (WHERE effects_compared) AS rows_compared
FROM shadow.comparison WHERE served_at >= $1 AND served_at < $2
GROUP BY 1 ORDER BY 1
"""
SELECT_COUNTS = """
SELECT
    date_bin($3, minute, $1) AS begins, sum(match)::bigint AS match, sum(known)::bigint AS known, sum(mismatch)::bigint AS mismatch,
    sum(transient)::bigint AS transient, sum(failed)::bigint AS failed, sum(effects_compared)::bigint AS rows_compared
FROM shadow.step_count WHERE minute >= $1 AND minute < $2
GROUP BY 1 ORDER BY 1
"""


async def counts_over_time(
    conn: Connection, *, since: dt.datetime, until: dt.datetime, bin_s: int
) -> tuple[CountBin, ...]:
    """Return the comparisons from `since` to `until` in bins of `bin_s` seconds, which begin at `since`."""
    statement = SELECT_FINE_COUNTS if _is_fine(since, until) else SELECT_COUNTS
    records = await conn.fetch(statement, since, until, dt.timedelta(seconds=bin_s))
    return tuple(
        CountBin(
            record["begins"],
            VerdictCounts(record["match"], record["known"], record["mismatch"], record["transient"], record["failed"]),
            record["rows_compared"],
        )
        for record in records
    )


def _is_fine(since: dt.datetime, until: dt.datetime) -> bool:
    return until - since <= FINE_SPAN_MAX


SELECT_FINE_DURATIONS = """
SELECT date_bin($3, served_at, $1) AS begins, side, count(*) AS count,
    percentile_cont($4) WITHIN GROUP (ORDER BY duration_us) / 1000.0 AS quantile_ms
FROM (
    SELECT served_at, served_by AS side, served_us AS duration_us
    FROM shadow.comparison WHERE served_at >= $1 AND served_at < $2 AND verdict <> 'failed'
    UNION ALL
    SELECT served_at, CASE served_by WHEN 'candidate' THEN 'legacy' ELSE 'candidate' END, mirrored_us
    FROM shadow.comparison WHERE served_at >= $1 AND served_at < $2 AND verdict <> 'failed'
) AS durations
GROUP BY 1, 2 ORDER BY 1, 2
"""
SELECT_DURATION_BUCKETS = """
SELECT date_bin($3, minute, $1) AS begins,
    CASE WHEN role = 'served' THEN served_by WHEN served_by = 'candidate' THEN 'legacy' ELSE 'candidate' END AS side,
    bucket, sum(count)::bigint AS count
FROM shadow.step_duration WHERE minute >= $1 AND minute < $2
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


async def durations_over_time(
    conn: Connection, *, since: dt.datetime, until: dt.datetime, bin_s: int, share: float = 0.95
) -> tuple[DurationBin, ...]:
    """Return a quantile of each side's durations from `since` to `until`, served and mirrored together, in bins of `bin_s` seconds."""
    length = dt.timedelta(seconds=bin_s)
    if _is_fine(since, until):
        records = await conn.fetch(SELECT_FINE_DURATIONS, since, until, length, share)
        return tuple([DurationBin(*record.values()) for record in records])
    buckets: dict[tuple[dt.datetime, str], dict[int, int]] = {}
    for record in await conn.fetch(SELECT_DURATION_BUCKETS, since, until, length):
        buckets.setdefault((record["begins"], record["side"]), {})[record["bucket"]] = record["count"]
    return tuple(
        DurationBin(begins, side, sum(own.values()), math.exp(log_quantile(own, share)) / 1000)
        for (begins, side), own in buckets.items()
    )


SELECT_CAUSE_COUNTS = """
SELECT cause_set.cause_id, date_bin($3, comparison.served_at, $1) AS begins, count(*) AS count
FROM shadow.comparison JOIN shadow.cause_set ON cause_set.set_id = comparison.finding_set
WHERE comparison.served_at >= $1 AND comparison.served_at < $2 AND comparison.verdict = 'mismatch'
GROUP BY 1, 2 ORDER BY 1, 2
"""


async def cause_counts_over_time(
    conn: Connection, *, since: dt.datetime, until: dt.datetime, bin_s: int
) -> Mapping[str, Mapping[dt.datetime, int]]:
    """Return for each cause its exchanges from `since` to `until`, by the begin of their bin."""
    counts: dict[str, dict[dt.datetime, int]] = {}
    for record in await conn.fetch(SELECT_CAUSE_COUNTS, since, until, dt.timedelta(seconds=bin_s)):
        counts.setdefault(record["cause_id"], {})[record["begins"]] = record["count"]
    return counts


SELECT_SHARES = """
SELECT route, served_by, sum(match + known + mismatch + transient + failed)::bigint AS count
FROM shadow.step_count WHERE minute >= date_trunc('minute', $1::timestamptz) AND stage = $2
GROUP BY 1, 2
"""


async def served_at_stage(
    conn: Connection, *, since: dt.datetime, stage: str, routes: Sequence[str] = ()
) -> Mapping[Side, int]:
    """Return how many exchanges of a stage each side has served since then, of some routes or of all."""
    counts = dict.fromkeys(Side, 0)
    for record in await conn.fetch(SELECT_SHARES, since, stage):
        if not routes or record["route"] in routes:
            counts[Side(record["served_by"])] += record["count"]
    return counts


SELECT_NEWEST = "SELECT max(served_at) FROM shadow.comparison WHERE served_at >= $1"


async def newest_comparison(conn: Connection, *, since: dt.datetime) -> dt.datetime | None:
    """Return when the newest stored comparison was served; None for none since then."""
    return await conn.fetchval(SELECT_NEWEST, since)


SELECT_OLDEST = "SELECT min(minute) FROM shadow.step_count WHERE minute >= $1"


async def oldest_minute(conn: Connection, *, since: dt.datetime) -> dt.datetime | None:
    """Return the first minute with a comparison since then; None for none."""
    return await conn.fetchval(SELECT_OLDEST, since)
