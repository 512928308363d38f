"""Read counts and durations over time, for charts: in bins of equal length, the empty ones left out.

A short span is read from the comparisons themselves, in bins shorter than a minute. A longer one, and one with many comparisons, is read
from counts that were kept while verdicts were stored, so that it costs the same however many comparisons there are: by minute, and by ten
minutes for bins of that length and longer ones.
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
from comparator.store.rollups import SLOT

FINE_SPAN_MAX: Final = dt.timedelta(minutes=15)
"""Longest span that is read from the comparisons."""
FINE_COMPARISONS_MAX: Final = 20_000
"""Number of comparisons in a span up to which it is read from them: reading more would take longer than a screen may."""
MINUTE: Final = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class CountBin:
    """The comparisons of one bin.

    Attributes:
        begins: its begin.
        counts: comparisons by verdict.
        rows_compared: those of them in which the rows of all tables were compared.
        rows_in_part: those of them in which rows were compared, but for those of some tables.
    """

    begins: dt.datetime
    counts: VerdictCounts
    rows_compared: int
    rows_in_part: int = 0


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
    count(*) FILTER (WHERE effects_compared AND NOT rows_in_part AND verdict <> 'failed') AS rows_compared,
    count(*) FILTER (WHERE rows_in_part) AS rows_in_part
FROM shadow.comparison WHERE served_at >= $1 AND served_at < $2
GROUP BY 1 ORDER BY 1
"""
SELECT_COUNTS = """
SELECT
    date_bin($3, minute, $1) AS begins, sum(match)::bigint AS match, sum(known)::bigint AS known, sum(mismatch)::bigint AS mismatch,
    sum(transient)::bigint AS transient, sum(failed)::bigint AS failed, sum(rows_whole)::bigint AS rows_compared,
    sum(rows_in_part)::bigint AS rows_in_part
FROM shadow.step_count WHERE minute >= $1 AND minute < $2
GROUP BY 1 ORDER BY 1
"""
SELECT_SLOT_COUNTS = """
SELECT
    date_bin($3, slot, $1) AS begins, sum(compared - known - mismatches - transient)::bigint AS match, sum(known)::bigint AS known,
    sum(mismatches)::bigint AS mismatch, sum(transient)::bigint AS transient, sum(requests - compared)::bigint AS failed,
    sum(effects_compared - rows_in_part)::bigint AS rows_compared, sum(rows_in_part)::bigint AS rows_in_part
FROM shadow.slot_total WHERE slot >= $1 AND slot < $2
GROUP BY 1 ORDER BY 1
"""


async def counts_over_time(
    conn: Connection, *, since: dt.datetime, until: dt.datetime, bin_s: int
) -> tuple[CountBin, ...]:
    """Return the comparisons from `since` to `until` in bins of `bin_s` seconds, which begin at `since`."""
    length = dt.timedelta(seconds=bin_s)
    by_slot = SELECT_SLOT_COUNTS if length >= SLOT else SELECT_COUNTS
    statement = SELECT_FINE_COUNTS if length < MINUTE else by_slot
    records = await conn.fetch(statement, since, until, length)
    return tuple(
        CountBin(
            record["begins"],
            VerdictCounts(record["match"], record["known"], record["mismatch"], record["transient"], record["failed"]),
            record["rows_compared"],
            record["rows_in_part"],
        )
        for record in records
    )


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
AT_QUANTILE = """
SELECT begins, side, total, bucket, count, below FROM (
    SELECT begins, side, bucket, count, sum(count) OVER of_bin AS total, sum(count) OVER (of_bin ORDER BY bucket) - count AS below
    FROM ({counted}) AS counted WINDOW of_bin AS (PARTITION BY begins, side)
) AS ranked
WHERE below < $4::double precision * total AND below + count >= $4::double precision * total
ORDER BY begins, side
"""
"""The bucket in which the quantile of each bin and side lies, with the number of durations below it."""
SELECT_MINUTE_DURATIONS = AT_QUANTILE.format(
    counted="""
    SELECT date_bin($3, minute, $1) AS begins,
        CASE WHEN role = 'served' THEN served_by WHEN served_by = 'candidate' THEN 'legacy' ELSE 'candidate' END AS side,
        bucket, sum(count)::bigint AS count
    FROM shadow.step_duration WHERE minute >= $1 AND minute < $2 GROUP BY 1, 2, 3
    """
)
SELECT_SLOT_DURATIONS = AT_QUANTILE.format(
    counted="""
    SELECT date_bin($3, slot, $1) AS begins, side, bucket, sum(count)::bigint AS count
    FROM shadow.slot_duration WHERE slot >= $1 AND slot < $2 GROUP BY 1, 2, 3
    """
)
_BELOW: Final = -1
_ABOVE: Final = 1_000_000
"""Buckets that stand for all below and above one."""


async def durations_over_time(
    conn: Connection, *, since: dt.datetime, until: dt.datetime, bin_s: int, share: float = 0.95
) -> tuple[DurationBin, ...]:
    """Return a quantile of each side's durations from `since` to `until`, served and mirrored together, in bins of `bin_s` seconds."""
    length = dt.timedelta(seconds=bin_s)
    if length < MINUTE:
        records = await conn.fetch(SELECT_FINE_DURATIONS, since, until, length, share)
        return tuple([DurationBin(*record.values()) for record in records])
    statement = SELECT_SLOT_DURATIONS if length >= SLOT else SELECT_MINUTE_DURATIONS
    bins: list[DurationBin] = []
    for record in await conn.fetch(statement, since, until, length, share):
        total, count, below = int(record["total"]), int(record["count"]), int(record["below"])
        buckets = {_BELOW: below, record["bucket"]: count, _ABOVE: total - below - count}
        bins.append(DurationBin(record["begins"], record["side"], total, math.exp(log_quantile(buckets, share)) / 1000))
    return tuple(bins)


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


SELECT_COMPARED_SINCE = """
SELECT coalesce(sum(match + known + mismatch + transient + failed), 0)::bigint FROM shadow.step_count WHERE minute >= $1
"""


async def is_fine(conn: Connection, *, since: dt.datetime, until: dt.datetime) -> bool:
    """Return whether a span up to the present may be asked for in bins shorter than a minute."""
    if until - since > FINE_SPAN_MAX:
        return False
    compared: int = await conn.fetchval(SELECT_COMPARED_SINCE, since.replace(second=0, microsecond=0))
    return compared <= FINE_COMPARISONS_MAX


SELECT_OLDEST = "SELECT min(minute) FROM shadow.step_count WHERE minute >= $1"


async def oldest_minute(conn: Connection, *, since: dt.datetime) -> dt.datetime | None:
    """Return the first minute with a comparison since then; None for none."""
    return await conn.fetchval(SELECT_OLDEST, since)
