"""Read the store, for `shadow status` and the other commands, the pages and the gates. A day is a UTC day."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from comparator.errors import UnknownFindingError
from comparator.exchanges.comparison import Verdict
from comparator.findings.cases import Case, load
from comparator.findings.clustering import FindingState
from comparator.postgres import Connection
from comparator.stats.confidence import VerdictCounts
from comparator.stats.distinct_sketch import distinct, merged
from comparator.stats.quantile_sketch import QuantileSketch
from comparator.stats.quantile_sketch import load as load_sketch
from comparator.store.comparison_detail import ComparisonDetail, left_out_of, unpack, unpacked_detail
from comparator.store.rows import (
    ComparisonFilter,
    ComparisonLine,
    ComparisonPage,
    ComparisonRow,
    Finding,
    KnownTotal,
    LeftOutTables,
    RouteLatency,
    RuleTotal,
    VerdictTotal,
)
from comparator.store.timeline import unpacked_timeline

SELECT_TOTALS = """
SELECT route, served_by, verdict, cause, sum(count)::bigint AS count
FROM shadow.total WHERE day >= $1
GROUP BY route, served_by, verdict, cause ORDER BY route, served_by, verdict, cause
"""


async def totals(conn: Connection, *, since: dt.date) -> tuple[VerdictTotal, ...]:
    """Return the totals of comparisons from a day on."""
    return tuple([VerdictTotal(*record.values()) for record in await conn.fetch(SELECT_TOTALS, since)])


SELECT_RESPONSE_ONLY = """
SELECT route, verdict, reason, sum(count)::bigint AS count
FROM shadow.response_only_total WHERE day >= $1
GROUP BY route, verdict, reason ORDER BY route, reason, verdict
"""


async def response_only_counts(conn: Connection, *, since: dt.date) -> dict[str, dict[str, VerdictCounts]]:
    """Return the counts of comparisons that rest on the responses alone, from a day on, by route and reason."""
    counts: dict[str, dict[str, VerdictCounts]] = {}
    for record in await conn.fetch(SELECT_RESPONSE_ONLY, since):
        by_reason = counts.setdefault(record["route"], {})
        reason: str = record["reason"]
        by_reason[reason] = by_reason.get(reason, VerdictCounts()) + VerdictCounts(
            **{record["verdict"]: record["count"]}
        )
    return counts


SELECT_PARTIAL = """
SELECT route, verdict, left_out, sum(count)::bigint AS count
FROM shadow.partial_total WHERE day >= $1
GROUP BY route, verdict, left_out ORDER BY route, left_out, verdict
"""


async def partial_counts(conn: Connection, *, since: dt.date) -> dict[str, dict[LeftOutTables, VerdictCounts]]:
    """Return the counts of comparisons from which tables were left out, from a day on, by route and these tables."""
    counts: dict[str, dict[LeftOutTables, VerdictCounts]] = {}
    for record in await conn.fetch(SELECT_PARTIAL, since):
        by_tables = counts.setdefault(record["route"], {})
        tables = msgspec.json.decode(record["left_out"], type=LeftOutTables)
        by_tables[tables] = by_tables.get(tables, VerdictCounts()) + VerdictCounts(
            **{record["verdict"]: record["count"]}
        )
    return counts


SELECT_KNOWN_TOTALS = """
SELECT route, declaration, max(reason) AS reason, max(ticket) AS ticket, sum(count)::bigint AS count
FROM shadow.known_total WHERE day >= $1
GROUP BY route, declaration ORDER BY route, declaration
"""


async def known_totals(conn: Connection, *, since: dt.date) -> tuple[KnownTotal, ...]:
    """Return the totals of known differences from a day on."""
    return tuple([KnownTotal(*record.values()) for record in await conn.fetch(SELECT_KNOWN_TOTALS, since)])


SELECT_RULE_TOTALS = """
SELECT rule, sum(hits)::bigint AS hits, sum(expired)::bigint AS expired, array_agg(DISTINCT route ORDER BY route) AS routes
FROM shadow.rule_total WHERE day >= $1 GROUP BY rule ORDER BY rule
"""


async def rule_totals(conn: Connection, *, since: dt.date) -> tuple[RuleTotal, ...]:
    """Return how often each rule applied from a day on; rules that never did are left out."""
    return tuple(
        [
            RuleTotal(record["rule"], record["hits"], record["expired"], tuple(record["routes"]))
            for record in await conn.fetch(SELECT_RULE_TOTALS, since)
        ]
    )


def counts_of(totals_by_cause: Sequence[VerdictTotal], *, route: str = "") -> VerdictCounts:
    """Add up totals by verdict, of one route or of all."""
    by_verdict = dict.fromkeys(Verdict, 0)
    for total in totals_by_cause:
        if route in {"", total.route}:
            by_verdict[Verdict(total.verdict)] += total.count
    return VerdictCounts(
        match=by_verdict[Verdict.MATCH],
        known=by_verdict[Verdict.KNOWN],
        mismatch=by_verdict[Verdict.MISMATCH],
        transient=by_verdict[Verdict.TRANSIENT],
        failed=by_verdict[Verdict.FAILED],
    )


SELECT_FINDINGS = """
SELECT
    finding.id, finding.route, finding.kind, finding.place, finding.shape, finding.severity, finding.state,
    finding.state_by, finding.state_reason, finding.state_at, finding.first_seen, finding.last_seen, finding.count,
    finding.example, shadow.distinct_keys(finding.keys) AS keys, 0 AS route_keys, finding.discriminator,
    finding.first_release, finding.last_release, finding.fixed_in, finding.regressed_in
FROM shadow.finding
WHERE (cardinality($1::text[]) = 0 OR finding.id = ANY($1)) AND ($2 = '' OR finding.route = $2) AND (cardinality($3::text[]) = 0 OR finding.state = ANY($3))
ORDER BY
    array_position(ARRAY['regressed', 'new', 'acknowledged', 'fixed'], finding.state),
    array_position(ARRAY['broken', 'changed', 'additive'], finding.severity),
    finding.count DESC, finding.id
LIMIT $4
"""


async def findings(
    conn: Connection,
    *,
    ids: Sequence[str] = (),
    route: str = "",
    states: Sequence[FindingState] = (),
    limit: int = 50,
) -> tuple[Finding, ...]:
    """Return findings: unhandled states first, then by severity and count. Empty arguments do not restrict them."""
    records = await conn.fetch(SELECT_FINDINGS, list(ids), route, [str(state) for state in states], limit)
    return await _completed(conn, [Finding(*record.values()) for record in records])


SELECT_ROUTE_KEYS = "SELECT route, day, keys FROM shadow.key_total WHERE route = ANY($1) ORDER BY route, day DESC"
SELECT_CAUSES_OF_FINDINGS = """
SELECT id, findings FROM shadow.cause WHERE merged_into IS NULL AND findings && $1 ORDER BY exchanges DESC, id
"""


async def _completed(conn: Connection, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings with the number of keys of their routes, and with their causes."""
    if not found:
        return ()
    first_days: dict[str, set[dt.date]] = {}
    for one in found:
        first_days.setdefault(one.route, set()).add(one.first_seen.astimezone(dt.UTC).date())
    numbers: dict[tuple[str, dt.date], int] = {}
    held: dict[str, list[tuple[dt.date, Sequence[int]]]] = {}
    for record in await conn.fetch(SELECT_ROUTE_KEYS, list(first_days)):
        held.setdefault(record["route"], []).append((record["day"], record["keys"]))
    for route, days in first_days.items():
        for first in days:
            numbers[route, first] = distinct(merged(keys for day, keys in held.get(route, ()) if day >= first))
    causes_of: dict[str, list[str]] = {}
    for record in await conn.fetch(SELECT_CAUSES_OF_FINDINGS, [one.id for one in found]):
        for identity in record["findings"]:
            causes_of.setdefault(identity, []).append(record["id"])
    return tuple(
        replace(
            one,
            route_keys=numbers[one.route, one.first_seen.astimezone(dt.UTC).date()],
            causes=tuple(causes_of.get(one.id, ())),
        )
        for one in found
    )


async def finding(conn: Connection, identity: str) -> Finding:
    """Return one finding.

    Raises:
        UnknownFindingError: no finding has this id.
    """
    record = await conn.fetchrow(SELECT_FINDINGS, [identity], "", [], 1) if identity else None
    if record is None:
        raise UnknownFindingError(f"no finding {identity!r}; `shadow findings list` shows them")
    return (await _completed(conn, [Finding(*record.values())]))[0]


COUNT_FINDINGS = "SELECT count(*) FROM shadow.finding"


async def count_findings(conn: Connection) -> int:
    """Return the number of findings."""
    return int(await conn.fetchval(COUNT_FINDINGS))


SET_FINDING_STATE = """
UPDATE shadow.finding SET
    state = $2, state_by = $3, state_reason = $4, state_at = $5, fixed_in = CASE WHEN $6 = '' THEN fixed_in ELSE $6 END
WHERE id = $1
"""


async def set_state(
    conn: Connection,
    identity: str,
    state: FindingState,
    *,
    by: str,
    reason: str,
    now: dt.datetime,
    fixed_in: str = "",
) -> None:
    """Set the state of a finding, with the person, the reason, and the releases in which it is fixed, by default those seen last.

    Raises:
        UnknownFindingError: no finding has this id.
    """
    if state is FindingState.FIXED and not fixed_in:
        fixed_in = await newest_release(conn)
    if await conn.execute(SET_FINDING_STATE, identity, str(state), by, reason, now, fixed_in) != "UPDATE 1":
        raise UnknownFindingError(f"no finding {identity!r}; `shadow findings list` shows them")


SELECT_EXEMPLARS = "SELECT body FROM shadow.finding_exemplar WHERE finding_id = $1 ORDER BY slot"


async def exemplars(conn: Connection, identity: str) -> tuple[Case, ...]:
    """Return the stored examples of a finding; they are redacted."""
    return tuple([load(unpack(record["body"])) for record in await conn.fetch(SELECT_EXEMPLARS, identity)])


SELECT_DURATIONS = """
SELECT route, served_by, served, mirrored FROM shadow.duration_total WHERE day >= $1 ORDER BY route, served_by
"""


async def latency(
    conn: Connection, *, since: dt.date, quantiles: Sequence[float] = (0.5, 0.9, 0.99)
) -> tuple[RouteLatency, ...]:
    """Return quantiles of both roles' durations from a day on, within 1 %."""
    sketches: dict[tuple[str, str], tuple[QuantileSketch, QuantileSketch]] = {}
    for record in await conn.fetch(SELECT_DURATIONS, since):
        key = record["route"], record["served_by"]
        held = sketches.setdefault(key, (QuantileSketch(), QuantileSketch()))
        for sketch, stored in zip(held, (record["served"], record["mirrored"]), strict=True):
            sketch.merge(load_sketch(stored))
    return tuple(
        RouteLatency(
            *key,
            served.count,
            tuple(quantiles),
            served.quantiles(quantiles),
            mirrored.quantiles(quantiles),
        )
        for key, (served, mirrored) in sketches.items()
    )


SELECT_NEWEST_RELEASE = "SELECT label FROM shadow.release ORDER BY last_seen DESC, label LIMIT 1"


async def newest_release(conn: Connection) -> str:
    """Return the label of the releases that were seen last, "" for none."""
    label: str | None = await conn.fetchval(SELECT_NEWEST_RELEASE)
    return label or ""


SELECT_COMPARISONS = """
SELECT
    served_at, exchange_id, route, served_by, stage, verdict, cause, confirmed, effects_compared, effects_note,
    served_status, mirrored_status, served_us, mirrored_us, rows_served, rows_mirrored, difference_count, detail,
    coalesce(finding_set, '') AS finding_set, release, compared_at, stored_at, timeline
FROM shadow.comparison
WHERE ($1 = '' OR exchange_id = $1) AND ($2 = '' OR route = $2)
    AND (cardinality($3::text[]) = 0 OR verdict = ANY($3)) AND served_at >= $4
ORDER BY served_at DESC
LIMIT $5
"""


async def comparisons(
    conn: Connection,
    *,
    since: dt.datetime,
    exchange_id: str = "",
    route: str = "",
    verdicts: Sequence[Verdict] = (),
    limit: int = 50,
) -> tuple[ComparisonRow, ...]:
    """Return stored comparisons, newest first; empty arguments do not restrict them."""
    names = [str(verdict) for verdict in verdicts]
    records = await conn.fetch(SELECT_COMPARISONS, exchange_id, route, names, since, limit)
    return tuple([_comparison_row(dict(record)) for record in records])


SEARCHED_MAX: Final = 50_000
"""Comparisons that are looked at for one page, one after another, where a filter has no index."""
SCATTERED_MAX: Final = 5_000
"""The same where they are found by an index, and lie scattered."""
SELECT_SEARCHED = """
SELECT
    served_at, exchange_id, route, served_by, stage, verdict, cause, confirmed, effects_compared, served_status, mirrored_status,
    served_us, mirrored_us, rows_served, rows_mirrored, difference_count, detail
FROM shadow.comparison
WHERE served_at >= $1 AND (served_at, exchange_id) < ($2, $3) AND ($4 = '' OR route = $4) AND ($5 = '' OR verdict = $5)
    AND ($6 = '' OR exchange_id = $6) AND ($7::bigint[] IS NULL OR key_digest = ANY($7))
ORDER BY served_at DESC, exchange_id DESC
"""
SELECT_COMPARISON_PAGE = f"""
SELECT * FROM ({SELECT_SEARCHED} LIMIT $8) AS searched
WHERE ($9 = '' OR route = $9) AND ($10 = '' OR served_by = $10)
    AND ($11::integer IS NULL OR served_status = $11 OR mirrored_status = $11) AND served_us >= $12
ORDER BY served_at DESC, exchange_id DESC
LIMIT $13
"""  # noqa: S608 (all its parts are constants)
SELECT_LAST_SEARCHED = f"SELECT served_at, exchange_id FROM ({SELECT_SEARCHED} LIMIT 1 OFFSET $8) AS searched"  # noqa: S608


async def comparison_page(
    conn: Connection,
    chosen: ComparisonFilter,
    *,
    since: dt.datetime,
    before: tuple[dt.datetime, str],
    limit: int,
    searched_max: int | None = None,
) -> ComparisonPage:
    """Return comparisons without their details, newest first.

    Args:
        conn: a connection.
        chosen: which of them.
        since: the oldest time.
        before: time and id of the last one of the page before; those that come after it are returned.
        limit: greatest number.
        searched_max: greatest number of comparisons that are looked at; None for SEARCHED_MAX or SCATTERED_MAX.
    """
    # One index serves the search: that of the verdict, which is the more selective one, or that of the route.
    verdict = "" if chosen.verdict == Verdict.MATCH else chosen.verdict
    routes = ("", chosen.route) if verdict else (chosen.route, "")
    if searched_max is None:
        searched_max = SCATTERED_MAX if verdict or routes[0] else SEARCHED_MAX
    searched = since, *before, routes[0], chosen.verdict, chosen.exchange_id, chosen.key_digests
    rest = routes[1], chosen.served_by, chosen.status, chosen.served_us_min
    records = await conn.fetch(SELECT_COMPARISON_PAGE, *searched, searched_max, *rest, limit)
    lines = tuple([_comparison_line(*record.values()) for record in records])
    if len(lines) < limit:
        last = await conn.fetchrow(SELECT_LAST_SEARCHED, *searched, searched_max - 1)
        return ComparisonPage(lines, (last["served_at"], last["exchange_id"]) if last else None)
    return ComparisonPage(lines)


SELECT_COMPARISONS_OF = """
SELECT
    served_at, exchange_id, route, served_by, stage, verdict, cause, confirmed, effects_compared, effects_note,
    served_status, mirrored_status, served_us, mirrored_us, rows_served, rows_mirrored, difference_count, detail,
    coalesce(finding_set, '') AS finding_set, release, compared_at, stored_at, timeline
FROM shadow.comparison
WHERE exchange_id = ANY($1) AND served_at >= $2
"""


async def comparisons_of(conn: Connection, exchange_ids: Sequence[str], *, since: dt.datetime) -> list[ComparisonRow]:
    """Return the stored comparisons of exchanges that were served since then."""
    records = await conn.fetch(SELECT_COMPARISONS_OF, list(exchange_ids), since)
    return [_comparison_row(dict(record)) for record in records]


SELECT_TRIED = """
SELECT exchange_id, route, detail FROM (
    (SELECT served_at, exchange_id, route, detail FROM shadow.comparison
     WHERE verdict <> 'match' AND served_at >= $1 ORDER BY served_at DESC LIMIT $2)
    UNION
    (SELECT served_at, exchange_id, route, detail FROM shadow.comparison WHERE served_at >= $1 ORDER BY served_at DESC LIMIT $2)
) AS newest ORDER BY served_at DESC
"""


async def newest_details(
    conn: Connection, *, since: dt.datetime, limit: int
) -> list[tuple[str, str, ComparisonDetail]]:
    """Return id, route and detail of the newest comparisons on which rules can be tried: `limit` that differ, and `limit` of all."""
    records = await conn.fetch(SELECT_TRIED, since, limit)
    return [(record["exchange_id"], record["route"], unpacked_detail(record["detail"])) for record in records]


SELECT_NEWEST_SET_EXEMPLARS = "SELECT body FROM shadow.finding_set_exemplar ORDER BY seen_at DESC LIMIT $1"


async def newest_exemplars(conn: Connection, *, limit: int) -> list[Case]:
    """Return the newest examples of sets of findings, one of each set; they are redacted."""
    return [load(unpack(record["body"])) for record in await conn.fetch(SELECT_NEWEST_SET_EXEMPLARS, limit)]


SELECT_EXEMPLARS_OF = "SELECT DISTINCT ON (exchange_id) body FROM shadow.finding_exemplar WHERE exchange_id = ANY($1)"


async def exemplars_of(conn: Connection, exchange_ids: Sequence[str]) -> list[Case]:
    """Return the stored examples of exchanges, one of each; they are redacted."""
    return [load(unpack(record["body"])) for record in await conn.fetch(SELECT_EXEMPLARS_OF, list(exchange_ids))]


def _comparison_row(values: dict[str, Any]) -> ComparisonRow:
    detail, timeline = unpacked_detail(values.pop("detail")), unpacked_timeline(values.pop("timeline"))
    return ComparisonRow(detail=detail, timeline=timeline, left_out=detail.left_out, **values)


def _comparison_line(*values: Any) -> ComparisonLine:
    return ComparisonLine(*values[:-1], left_out=left_out_of(values[-1]))
