"""SQL that reads the evidence of a step from what was counted while verdicts were stored; each function takes the connection first.

The tables are those of comparator.store.step_evidence. A step's evidence is what carries its stage, from the minute on in which it was
entered.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from comparator.exchanges.model import EffectsOutcome, Role, Side
from comparator.postgres import Connection
from comparator.stats.confidence import VerdictCounts
from comparator.stats.duration_buckets import Buckets
from comparator.store.causes import title_of
from comparator.store.step_evidence import ROWS, HitKind, add_skipped, minute_of
from proxy.rollout.accounting import POLICY_CAUSES
from proxy.rollout.evidence import Hits, RouteEvidence, SuspectFinding, WindowEvidence
from proxy.rollout.latency_blocks import Cell, LatencyBlock, MinuteDurations

REPEATED_MAX: Final = 500
"""Clients with several hits of one kind whose comparisons are counted, those with the most hits first."""
SUSPECTS_MAX: Final = 50
DROPPED: Final = "dropped"
"""Cause of the exchanges that a proxy dropped before they were in the journal."""


@dataclass(frozen=True, slots=True)
class StepScope:
    """The exchanges that are read: those of a stage and of some routes, from a minute on."""

    stage: str
    since: dt.datetime
    routes: tuple[str, ...]

    def from_minute(self, begin: dt.datetime) -> "StepScope":
        """Return the part from a later minute on."""
        return StepScope(self.stage, max(self.since, begin), self.routes)


# Each window is a number and its begin: $2 has the begins, in the order of the numbers from 1 on.
SELECT_COUNTS = """
SELECT
    number, route, served_by,
    sum(match)::bigint, sum(known)::bigint, sum(mismatch)::bigint, sum(transient)::bigint, sum(failed)::bigint,
    sum(pairs)::bigint, sum(judged)::bigint, sum(effects_compared)::bigint, sum(partial)::bigint
FROM unnest($2::timestamptz[]) WITH ORDINALITY AS part (begins, number)
JOIN shadow.step_count ON minute >= begins
WHERE stage = $1 AND route = ANY($3)
GROUP BY number, route, served_by
"""
SELECT_SKIPPED = """
SELECT number, route, cause, sum(count)::bigint AS count
FROM unnest($2::timestamptz[]) WITH ORDINALITY AS part (begins, number)
JOIN shadow.step_skip ON minute >= begins
WHERE (stage = $1 OR stage = '' AND cause = $4) AND route = ANY($3)
GROUP BY number, route, cause
"""


async def windows(
    conn: Connection, scope: StepScope, begins: Sequence[dt.datetime], *, points_tables: Sequence[str]
) -> list[WindowEvidence]:
    """Read the evidence of windows of time that begin at these times and last until now."""
    arguments = scope.stage, list(begins), list(scope.routes)
    figures = [{route: RouteEvidence() for route in scope.routes} for _ in begins]
    for record in await conn.fetch(SELECT_COUNTS, *arguments):
        number, route, served_by, *numbers = record.values()
        figures[number - 1][route] += _counted(Side(served_by), numbers)
    for record in await conn.fetch(SELECT_SKIPPED, *arguments, DROPPED):
        figures[record["number"] - 1][record["route"]] += _skipped(record["cause"], record["count"])
    trials = [{route: evidence.counts.compared for route, evidence in by_route.items()} for by_route in figures]
    by_route = await _hits(conn, scope, begins, points_tables, trials)
    sums = [{"": sum(numbers.values())} for numbers in trials]
    together = await _hits(conn, scope, begins, points_tables, sums) if any(by_route) else by_route
    return [
        WindowEvidence(
            {
                route: replace(evidence, **{name: hits for (of, name), hits in found.items() if of == route})
                for route, evidence in counted.items()
            },
            {name: hits for (_, name), hits in overall.items()},
        )
        for counted, found, overall in zip(figures, by_route, together, strict=True)
    ]


def _counted(served_by: Side, numbers: Sequence[int]) -> RouteEvidence:
    match, known, mismatch, transient, failed, pairs, judged, effects_compared, partial = numbers
    counts = VerdictCounts(match, known, mismatch, transient, failed)
    candidate_mirrored = served_by is Side.LEGACY
    return RouteEvidence(
        counts=counts,
        judged=judged,
        effects_compared=effects_compared,
        partial=partial,
        pairs=pairs,
        candidate_mirrored=counts.compared if candidate_mirrored else 0,
        legacy_mirrored=0 if candidate_mirrored else counts.compared,
        lost=failed,
    )


def _skipped(cause: str, count: int) -> RouteEvidence:
    if cause == EffectsOutcome.OVERLAPPED:
        return RouteEvidence(overlapped=count)
    if cause == DROPPED:
        return RouteEvidence(dropped=count)
    return RouteEvidence(excluded=count) if cause in POLICY_CAUSES else RouteEvidence(lost=count)


# Hits by client and window, and by route unless `$5` is false. For example with hits of clients 7, 7 and 9 on a route:
#
#   route  kind      hits  clients  squares
#   score  mismatch  3     2        5         (2 * 2 + 1)
CLIENT_HITS = """
WITH client AS (
    SELECT
        number,
        CASE WHEN $5 THEN route ELSE '' END AS route,
        CASE WHEN kind = ANY($4) THEN 'points' ELSE kind END AS kind,
        client, sum(count)::bigint AS hits
    FROM unnest($2::timestamptz[]) WITH ORDINALITY AS part (begins, number)
    JOIN shadow.step_hit ON minute >= begins
    WHERE stage = $1 AND route = ANY($3) AND (kind NOT LIKE 'rows:%' OR kind = ANY($4))
    GROUP BY 1, 2, 3, 4
)
"""
SELECT_HITS = (
    CLIENT_HITS
    + """
SELECT number, route, kind, sum(hits)::bigint AS hits, count(*) AS clients, sum(hits * hits)::bigint AS squares
FROM client GROUP BY number, route, kind
"""
)
SELECT_REPEATED = (
    CLIENT_HITS
    + """
SELECT route, kind, client, hits FROM client WHERE hits > 1 ORDER BY hits DESC, client LIMIT $6
"""
)
SELECT_COMPARED = """
SELECT CASE WHEN $4 THEN route ELSE '' END AS route, key_digest AS client, count(*) AS compared
FROM shadow.comparison
WHERE served_at >= $1 AND route = ANY($2) AND key_digest = ANY($3) AND verdict <> 'failed'
GROUP BY 1, 2
"""
_FIELDS: Final = {
    HitKind.MISMATCH.value: "mismatches",
    HitKind.LOW_CONFIDENCE.value: "low_confidence",
    HitKind.EFFECTS.value: "effects",
    HitKind.RESPONSE_ONLY.value: "response_only_mismatches",
    HitKind.CANDIDATE_ERROR.value: "candidate_only_errors",
    HitKind.LEGACY_ERROR.value: "legacy_only_errors",
    HitKind.CANDIDATE_TRANSIENT.value: "candidate_transient",
    HitKind.LEGACY_TRANSIENT.value: "legacy_transient",
    "points": "points",
}
"""The fields of RouteEvidence, by kind."""


async def _hits(
    conn: Connection,
    scope: StepScope,
    begins: Sequence[dt.datetime],
    points_tables: Sequence[str],
    trials: Sequence[Mapping[str, int]],
) -> list[dict[tuple[str, str], Hits]]:
    """Return the hits of each window by route and field. `trials` has the comparisons of each route, or of all as those of "".

    A client with several hits weighs by how far they exceed what its number of comparisons explains (design_effect of
    comparator.stats.confidence, of which this is the form for sums).
    """
    kinds = [ROWS + table for table in points_tables]
    by_route = "" not in trials[0]
    records: list[list[dict[str, Any]]] = [[] for _ in begins]
    for record in await conn.fetch(SELECT_HITS, scope.stage, list(begins), list(scope.routes), kinds, by_route):
        number: int = record["number"]
        records[number - 1].append(dict(record.items()))
    result: list[dict[tuple[str, str], Hits]] = []
    for begin, sums, compared in zip(begins, records, trials, strict=True):
        # Most windows have no client with several hits.
        repeats = any(record["squares"] > record["hits"] for record in sums)
        rates = {(r["route"], r["kind"]): r["hits"] / max(1, compared.get(r["route"], 0)) for r in sums}
        excess = await _excess(conn, scope.from_minute(begin), kinds, rates, by_route=by_route) if repeats else {}
        result.append(
            {
                (record["route"], _FIELDS[record["kind"]]): Hits(
                    record["hits"],
                    record["clients"],
                    max(1.0, (record["squares"] + excess.get((record["route"], record["kind"]), 0.0)) / record["hits"]),
                )
                for record in sums
            }
        )
    return result


async def _excess(
    conn: Connection,
    scope: StepScope,
    kinds: Sequence[str],
    rates: Mapping[tuple[str, str], float],
    *,
    by_route: bool,
) -> dict[tuple[str, str], float]:
    """Return what the sums of squares have to be changed by, because busy clients are expected to have several hits."""
    repeated = await conn.fetch(
        SELECT_REPEATED, scope.stage, [scope.since], list(scope.routes), kinds, by_route, REPEATED_MAX
    )
    clients = sorted({record["client"] for record in repeated})
    records = await conn.fetch(SELECT_COMPARED, scope.since, list(scope.routes), clients, by_route)
    compared = {(record["route"], record["client"]): record["compared"] for record in records}
    excess: dict[tuple[str, str], float] = {}
    for record in repeated:
        key, hits = (record["route"], record["kind"]), record["hits"]
        # (a hit that was stored since `rates` was read may be of a kind that it has not)
        expected = rates.get(key, 0.0) * compared.get((record["route"], record["client"]), 0)
        excess[key] = excess.get(key, 0.0) + (hits - expected) ** 2 - hits**2
    return excess


# Latency.


SELECT_BLOCKS = """
SELECT extract(epoch FROM begins)::float8 AS begins, extract(epoch FROM ends)::float8 AS ends, log_ratio
FROM shadow.step_block WHERE stage = $1 AND begins >= $2 ORDER BY begins
"""


async def blocks(conn: Connection, scope: StepScope) -> tuple[list[LatencyBlock], dt.datetime]:
    """Return the stored blocks, and the minute from which on durations are in no block yet."""
    records = await conn.fetch(SELECT_BLOCKS, scope.stage, scope.since)
    ends = dt.datetime.fromtimestamp(records[-1]["ends"], dt.UTC) if records else scope.since
    return [LatencyBlock(record["begins"], record["ends"], record["log_ratio"]) for record in records], ends


SELECT_DURATIONS = """
SELECT extract(epoch FROM minute)::float8 AS minute, served_by, role, bucket, count
FROM shadow.step_duration WHERE stage = $1 AND minute >= $2 AND minute < $3 ORDER BY minute
"""


async def durations(
    conn: Connection, scope: StepScope, *, begin: dt.datetime, end: dt.datetime
) -> list[tuple[float, MinuteDurations]]:
    """Return the durations of each minute, oldest first."""
    minutes: dict[float, dict[Cell, Counter[int]]] = {}
    for record in await conn.fetch(SELECT_DURATIONS, scope.stage, begin, end):
        cells = minutes.setdefault(record["minute"], {})
        cells.setdefault(_cell(record["served_by"], record["role"]), Counter())[record["bucket"]] = record["count"]
    return list(minutes.items())


SELECT_RECENT_DURATIONS = """
SELECT served_by, role, bucket, sum(count)::bigint AS count FROM shadow.step_duration
WHERE stage = $1 AND minute >= $2 GROUP BY served_by, role, bucket
"""


async def recent_durations(conn: Connection, scope: StepScope) -> dict[Cell, Buckets]:
    """Return the durations of both sides and roles, added up."""
    cells: dict[Cell, Counter[int]] = {}
    for record in await conn.fetch(SELECT_RECENT_DURATIONS, scope.stage, scope.since):
        cells.setdefault(_cell(record["served_by"], record["role"]), Counter())[record["bucket"]] = record["count"]
    return dict(cells)


def _cell(served_by: str, role: str) -> Cell:
    side = Side(served_by)
    return (side if role == Role.SERVED else side.other), Role(role)


INSERT_BLOCKS = """
INSERT INTO shadow.step_block (stage, begins, ends, log_ratio)
SELECT $1, to_timestamp(begins), to_timestamp(ends), log_ratio
FROM unnest($2::float8[], $3::float8[], $4::float8[]) AS block (begins, ends, log_ratio)
ON CONFLICT (stage, begins) DO NOTHING
"""


async def add_blocks(conn: Connection, scope: StepScope, new: Sequence[LatencyBlock]) -> None:
    """Store blocks; another process may have stored the same ones."""
    columns = [block.begin_s for block in new], [block.end_s for block in new], [block.log_ratio for block in new]
    await conn.execute(INSERT_BLOCKS, scope.stage, *columns)


# Drops of the proxies.


LOCK_COUNTERS = "SELECT route, total FROM shadow.drop_counter WHERE page = $1 ORDER BY route FOR UPDATE"
SET_COUNTER = """
INSERT INTO shadow.drop_counter (page, route, total) VALUES ($1, $2, $3)
ON CONFLICT (page, route) DO UPDATE SET total = excluded.total
"""


async def count_drops(conn: Connection, totals: Mapping[str, Mapping[str, int]], now: dt.datetime) -> None:
    """Add what the proxies dropped since the last look, by any process, to the minute of this look.

    A counter that is lower than before has begun again with its process. A page that is seen for the first time only sets the marks.

    Args:
        conn: the connection.
        totals: counters by page and route; each page has one for drops of unknown routes, at "".
        now: the time of the look.
    """
    for page, by_route in sorted(totals.items()):
        async with conn.transaction():
            before = {record["route"]: record["total"] for record in await conn.fetch(LOCK_COUNTERS, page)}
            dropped: dict[tuple[str, dt.datetime, str, str], int] = {}
            for route in sorted({*before, *by_route}):
                total, earlier = by_route.get(route, 0), before.get(route, 0)
                await conn.execute(SET_COUNTER, page, route, total)
                new = total - earlier if total >= earlier else total
                if before and new:
                    dropped["", minute_of(now), route, DROPPED] = new
            await add_skipped(conn, dropped)


SELECT_DROPPED = """
SELECT coalesce(sum(count), 0)::bigint FROM shadow.step_skip
WHERE stage = '' AND minute >= $1 AND cause = $2 AND (route = '' OR route = ANY($3))
"""


async def dropped(conn: Connection, since: dt.datetime, names: Sequence[str]) -> int:
    """Return the number of exchanges that the proxies served and dropped since then, on these routes and on unknown ones."""
    count: int = await conn.fetchval(SELECT_DROPPED, since, DROPPED, list(names))
    return count


SELECT_SUSPECTS = """
SELECT finding.id, finding.route, finding.place, finding.kind, finding.shape, finding.count, cause.id AS cause, cause.body
FROM shadow.finding
LEFT JOIN LATERAL (
    SELECT id, body FROM shadow.cause
    WHERE merged_into IS NULL AND NOT provisional AND finding.id = ANY(cause.findings)
    ORDER BY exchanges DESC, id LIMIT 1
) AS cause ON true
WHERE finding.last_seen >= $1 AND finding.route = ANY($2) AND finding.state <> 'acknowledged'
ORDER BY finding.first_seen >= $1 DESC, finding.count DESC, finding.id LIMIT $3
"""


async def suspects(conn: Connection, *, since: dt.datetime, names: Sequence[str]) -> tuple[SuspectFinding, ...]:
    """Return the findings seen since then that are not acknowledged, with their causes: new ones first, then the most frequent."""
    found: list[SuspectFinding] = []
    for record in await conn.fetch(SELECT_SUSPECTS, since, list(names), SUSPECTS_MAX):
        identity, route, place, kind, shape, count, cause, body = record.values()
        found.append(SuspectFinding(identity, route, place, kind, shape, count, cause or "", title_of(body)))
    return tuple(found)
