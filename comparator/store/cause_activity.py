"""Read how the exchanges of causes are spread over time, serving sides and stages, beside what was compared; for the web UI.

All of it was counted while verdicts were stored, so it costs the same however many comparisons there are.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comparator.findings.cases import Case, load
from comparator.postgres import Connection
from comparator.stats.distinct_sketch import distinct, merged
from comparator.store.cause_hours import HOUR
from comparator.store.comparison_detail import unpack
from comparator.store.rollups import ALL_ROUTES, SLOT, slot_of


@dataclass(slots=True)
class CauseActivity:
    """The exchanges of one cause in a span of time.

    Attributes:
        bins: by the begin of their bin.
        by_side: by serving side.
        by_stage: by stage.
    """

    bins: Counter[dt.datetime] = field(default_factory=Counter[dt.datetime])
    by_side: Counter[str] = field(default_factory=Counter[str])
    by_stage: Counter[str] = field(default_factory=Counter[str])

    @property
    def exchanges(self) -> int:
        """The number of exchanges."""
        return self.by_side.total()


GROUPED = """
WITH part AS ({part}), grouped AS (
    SELECT cause_id, begins, served_by, stage, sum(count)::bigint AS count FROM part
    GROUP BY GROUPING SETS ((cause_id, begins), (cause_id, served_by), (cause_id, stage))
)
SELECT cause_id,
    array_agg(begins) FILTER (WHERE begins IS NOT NULL) AS begins,
    array_agg(count) FILTER (WHERE begins IS NOT NULL) AS by_bin,
    array_agg(served_by) FILTER (WHERE served_by IS NOT NULL) AS sides,
    array_agg(count) FILTER (WHERE served_by IS NOT NULL) AS by_side,
    array_agg(stage) FILTER (WHERE stage IS NOT NULL) AS stages,
    array_agg(count) FILTER (WHERE stage IS NOT NULL) AS by_stage
FROM grouped GROUP BY cause_id
"""
"""One record a cause: a cause has so many bins that a record for each would cost more than counting them."""
HOURS = """
    SELECT cause_id, date_bin($3, hour, $1) AS begins, served_by, stage, count
    FROM shadow.cause_hour WHERE hour >= $1 AND hour < $2 AND count > 0 {of_cause}
"""
SLOTS = """
    SELECT * FROM (
        SELECT set_id, date_bin($3, slot, $1) AS begins, served_by, stage, sum(count) AS count
        FROM shadow.finding_set_slot WHERE slot >= $1 AND slot < $2 {of_sets} GROUP BY 1, 2, 3, 4
    ) AS of_set JOIN shadow.cause_set USING (set_id) {of_cause}
"""
OF_SETS = "AND set_id IN (SELECT set_id FROM shadow.cause_set WHERE cause_id = $4)"
SELECT_HOURS = GROUPED.format(part=HOURS.format(of_cause=""))
SELECT_HOURS_OF_CAUSE = GROUPED.format(part=HOURS.format(of_cause="AND cause_id = $4"))
SELECT_SLOTS = GROUPED.format(part=SLOTS.format(of_sets="", of_cause=""))
SELECT_SLOTS_OF_CAUSE = GROUPED.format(part=SLOTS.format(of_sets=OF_SETS, of_cause="WHERE cause_id = $4"))


async def cause_activity(
    conn: Connection, *, since: dt.datetime, until: dt.datetime, bin_length: dt.timedelta, cause: str = ""
) -> Mapping[str, CauseActivity]:
    """Return the exchanges of each cause from `since` to `until`.

    Args:
        conn: a connection.
        since: aware time.
        until: aware time.
        bin_length: length of a bin; bins begin at `since`. Slots longer than a bin are in the bin of their begin. Bins of hours are
            read from counts by hour, so `since` is to be the begin of one (`begin_of_bins`).
        cause: of this one alone; "" for all.
    """
    by_hour = bin_length >= HOUR
    if cause:
        statement, arguments = SELECT_HOURS_OF_CAUSE if by_hour else SELECT_SLOTS_OF_CAUSE, (cause,)
    else:
        statement, arguments = SELECT_HOURS if by_hour else SELECT_SLOTS, ()
    return {
        record["cause_id"]: CauseActivity(
            Counter(dict(zip(record["begins"], record["by_bin"], strict=True))),
            Counter(dict(zip(record["sides"], record["by_side"], strict=True))),
            Counter(dict(zip(record["stages"], record["by_stage"], strict=True))),
        )
        for record in await conn.fetch(statement, since, until, bin_length, *arguments)
    }


@dataclass(slots=True)
class ComparedActivity:
    """The comparisons of a span of time, failed ones left out: all, by serving side, stage and bin, and those that mismatch."""

    compared: int = 0
    mismatches: int = 0
    rows_compared: int = 0
    rows_in_part: int = 0
    by_side: Counter[str] = field(default_factory=Counter[str])
    by_route: Counter[str] = field(default_factory=Counter[str])
    bins: Counter[dt.datetime] = field(default_factory=Counter[dt.datetime])


SELECT_COMPARED = """
SELECT served_by, route, date_bin($3, minute, $1) AS begins, sum(match + known + mismatch + transient)::bigint AS compared,
    sum(mismatch)::bigint AS mismatches, sum(rows_whole)::bigint AS rows_compared, sum(rows_in_part)::bigint AS rows_in_part
FROM shadow.step_count WHERE minute >= $1 AND minute < $2
GROUP BY GROUPING SETS ((served_by), (route), (date_bin($3, minute, $1)))
"""
SELECT_COMPARED_SLOTS = """
SELECT served_by, route, date_bin($3, slot, $1) AS begins, sum(compared)::bigint AS compared, sum(mismatches)::bigint AS mismatches,
    sum(effects_compared - rows_in_part)::bigint AS rows_compared, sum(rows_in_part)::bigint AS rows_in_part
FROM shadow.slot_total WHERE slot >= $1 AND slot < $2
GROUP BY GROUPING SETS ((served_by), (route), (date_bin($3, slot, $1)))
"""


async def compared_activity(
    conn: Connection, *, since: dt.datetime, until: dt.datetime, bin_length: dt.timedelta
) -> ComparedActivity:
    """Return what was compared from `since` to `until`, by minutes; by ten minutes for bins of that length and longer ones."""
    activity = ComparedActivity()
    statement = SELECT_COMPARED_SLOTS if bin_length >= SLOT else SELECT_COMPARED
    for record in await conn.fetch(statement, since, until, bin_length):
        compared: int = record["compared"]
        if record["route"] is not None:
            activity.by_route[record["route"]] = compared
        elif record["begins"] is not None:
            activity.bins[record["begins"]] = compared
        else:
            activity.by_side[record["served_by"]] = compared
            activity.compared += compared
            activity.mismatches += record["mismatches"]
            activity.rows_compared += record["rows_compared"]
            activity.rows_in_part += record["rows_in_part"]
    return activity


SELECT_KEYS = "SELECT keys FROM shadow.key_total WHERE route = ANY($1)"


async def keys_seen(conn: Connection, *, routes: Sequence[str] = ()) -> int:
    """Return the number of different ordering keys of all comparisons that are kept, of some routes or of all; beyond 511 an estimate."""
    return distinct(merged([record["keys"] for record in await conn.fetch(SELECT_KEYS, list(routes) or [ALL_ROUTES])]))


SELECT_TABLES = """
SELECT cause.id, array_agg(DISTINCT finding.source_table ORDER BY finding.source_table) AS tables
FROM shadow.cause CROSS JOIN LATERAL unnest(cause.findings) AS shown (finding_id) JOIN shadow.finding ON finding.id = finding_id
WHERE cause.merged_into IS NULL GROUP BY cause.id
"""


async def tables_by_cause(conn: Connection) -> Mapping[str, tuple[str, ...]]:
    """Return the tables whose rows each cause makes differ; "" among them stands for the responses."""
    return {record["id"]: tuple(record["tables"]) for record in await conn.fetch(SELECT_TABLES)}


SELECT_EXEMPLAR = """
SELECT body FROM shadow.finding_set_exemplar WHERE exchange_id = $1
UNION ALL (SELECT body FROM shadow.finding_exemplar WHERE exchange_id = $1 LIMIT 1)
LIMIT 1
"""


async def example_of_exchange(conn: Connection, exchange_id: str) -> Case | None:
    """Return the stored example of an exchange, redacted; None unless it is an example of a finding or of a set."""
    body: bytes | None = await conn.fetchval(SELECT_EXEMPLAR, exchange_id)
    return None if body is None else load(unpack(body))


SELECT_CAUSES_OF_SET = """
SELECT cause_id FROM shadow.cause_set JOIN shadow.cause ON cause.id = cause_set.cause_id
WHERE set_id = $1 AND merged_into IS NULL ORDER BY exchanges DESC, cause_id
"""


async def causes_of_set(conn: Connection, set_id: str) -> tuple[str, ...]:
    """Return the ids of the causes that show in the exchanges of a set of findings."""
    return tuple([record["cause_id"] for record in await conn.fetch(SELECT_CAUSES_OF_SET, set_id)])


BIN_LENGTHS: Final = tuple(
    dt.timedelta(seconds=seconds) for seconds in (10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 86_400)
)


def begin_of_bins(since: dt.datetime, bin_length: dt.timedelta) -> dt.datetime:
    """Return the begin of the first bin: `since` rounded down to the unit in which bins of this length are counted.

    bins of 30 s begin with a minute, of 30 min with ten minutes, of 6 h with an hour
    """
    if bin_length < SLOT:
        return since.replace(second=0, microsecond=0)
    return slot_of(since) if bin_length < HOUR else since.replace(minute=0, second=0, microsecond=0)


def bin_length_of(span: dt.timedelta, *, bins_max: int, age: dt.timedelta = dt.timedelta(0)) -> dt.timedelta:
    """Return the shortest length of bins that divides a span into at most `bins_max`.

    Args:
        span: the span.
        bins_max: greatest number of bins.
        age: age of its begin; what is older than some hours is counted by ten minutes (`finding_sets.FINE_SLOTS_KEPT`).
    """
    least = SLOT if age > SLOT * 12 else BIN_LENGTHS[0]
    return next((length for length in BIN_LENGTHS if length >= least and span <= length * bins_max), BIN_LENGTHS[-1])
