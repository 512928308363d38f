"""Solve causes from the stored sets of findings, store them, and read them.

One process solves at a time, under an advisory lock, and off its event loop. Whatever the runners have added until then counts, so several
runners of one store make the causes that one would make. The sets are bounded: beyond SETS_MAX the rarest are folded into the commonest set
with the same causes, so that no exchange is lost from a cause's count.
"""

import asyncio
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import asyncpg
import msgspec

from comparator.errors import UnknownCauseError
from comparator.exchanges.difference import Kind
from comparator.findings.cases import Case, load
from comparator.findings.causes import Cause, CauseBody, FindingSet, KnownCause, NamedCauses, find_causes
from comparator.findings.clustering import FindingState, Signature
from comparator.findings.tokens import Token, token_of
from comparator.postgres import Connection
from comparator.store.cause_hours import move_sets
from comparator.store.comparison_detail import unpack
from comparator.store.queries import SET_FINDING_STATE, newest_release
from comparator.store.rows import CauseList, CauseRow

CAUSES_LOCK: Final = 0x5AD0_0002
"""Advisory lock of the one process that solves."""
SETS_MAX: Final = 2_000
"""Distinct sets that are kept."""
SOLVE_AFTER_EXCHANGES: Final = 200
"""Mismatches after which causes are solved again, however short the time."""
SOLVE_AFTER_UNATTRIBUTED: Final = 20
"""Mismatches without a cause after which causes are solved again, however short the time."""
SOLVE_AFTER: Final = dt.timedelta(seconds=30)
"""Time after which causes are solved again if there is any new mismatch."""
GONE_EXPECTED_MIN: Final = 5.0
"""Exchanges that a cause would have had in a release, at its former rate, before its absence says that it is gone."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(CauseBody).decode


@dataclass(frozen=True, slots=True)
class Until:
    """The owner of an acknowledgement, and its end: after so many more exchanges, and after a day (UTC); None for no end."""

    owner: str = ""
    exchanges_more: int | None = None
    day: dt.date | None = None


NO_END: Final = Until()


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """The numbers of exchanges and sets, of those without a cause, and of those that the last solution was made from."""

    exchanges: int
    sets: int
    unattributed: int
    solved_at: dt.datetime | None = None
    solved_exchanges: int = 0
    solved_sets: int = 0

    def is_due(self, now: dt.datetime) -> bool:
        """Return whether causes are to be solved now."""
        added = self.exchanges - self.solved_exchanges
        if self.solved_at is None:
            return self.exchanges > 0
        if not added and self.sets == self.solved_sets:
            return False
        return (
            abs(added) >= SOLVE_AFTER_EXCHANGES
            or self.unattributed >= SOLVE_AFTER_UNATTRIBUTED
            or now - self.solved_at >= SOLVE_AFTER
        )


SELECT_EVIDENCE = """
SELECT
    coalesce(sum(held.count), 0)::bigint AS exchanges,
    count(*)::integer AS sets,
    coalesce(sum(held.count) FILTER (WHERE attributed.set_id IS NULL), 0)::bigint AS unattributed
FROM shadow.finding_set AS held
LEFT JOIN (SELECT DISTINCT set_id FROM shadow.cause_set) AS attributed ON attributed.set_id = held.id
"""
SELECT_SOLUTION = "SELECT solved_at, exchanges, sets FROM shadow.cause_solution"


async def stored_evidence(conn: Connection) -> StoredEvidence:
    """Return what there is to solve causes from."""
    present, last = await conn.fetchrow(SELECT_EVIDENCE), await conn.fetchrow(SELECT_SOLUTION)
    assert present is not None, "an aggregate has a row"
    return StoredEvidence(*present.values(), *(last.values() if last else ()))


async def refresh_causes(
    conn: Connection, *, now: dt.datetime, force: bool = False, sets_max: int = SETS_MAX
) -> NamedCauses | None:
    """Solve causes if that is due, and store them; return them, or None if it was not due or another process is solving.

    Args:
        conn: a connection outside of a transaction.
        now: aware time.
        force: solve even if it is not due, and wait for a process that is solving.
        sets_max: distinct sets to keep.
    """
    if not force and not (await stored_evidence(conn)).is_due(now):
        return None
    async with conn.transaction():
        if force:
            await conn.execute("SELECT pg_advisory_xact_lock($1)", CAUSES_LOCK)
        elif not await conn.fetchval("SELECT pg_try_advisory_xact_lock($1)", CAUSES_LOCK):
            return None
        evidence = await stored_evidence(conn)
        sets, known = await _load_sets(conn), await _load_known(conn)
        named = await asyncio.to_thread(find_causes, sets, known)
        added, removed = await _store(conn, named, sets, now=now)
        heirs = heirs_of(sets, named.causes, sets_max=sets_max)
        # A runner that is adding to one of these sets is waited for, and inserts it again afterwards: no count of it is lost. All are
        # locked at once, in the order of their ids, as runners do.
        locked = {identity for _, identity in (*added, *removed)} | {*heirs, *heirs.values()}
        await conn.execute(LOCK_SETS, sorted(locked))
        await move_sets(conn, added=added, removed=removed)
        await _fold_rare(conn, heirs)
        await conn.execute(SET_SOLUTION, now, evidence.exchanges, evidence.sets)
    return named


SET_SOLUTION = """
INSERT INTO shadow.cause_solution (solved_at, exchanges, sets) VALUES ($1, $2, $3)
ON CONFLICT (only_row) DO UPDATE SET solved_at = excluded.solved_at, exchanges = excluded.exchanges, sets = excluded.sets
"""
SELECT_SETS = """
SELECT
    held.id, held.route, held.findings, total.count::bigint AS count, held.first_seen, held.last_seen, held.first_release,
    held.last_release, held.keys, exemplar.set_id IS NOT NULL AS has_exemplar
FROM shadow.finding_set AS held
JOIN (SELECT set_id, sum(count) AS count FROM shadow.finding_set_total GROUP BY set_id) AS total ON total.set_id = held.id
LEFT JOIN shadow.finding_set_exemplar AS exemplar ON exemplar.set_id = held.id
ORDER BY held.id
"""
SELECT_SIGNATURES = (
    "SELECT id, route, kind, place, shape, source_table, discriminator FROM shadow.finding WHERE id = ANY($1)"
)


async def _load_sets(conn: Connection) -> list[FindingSet]:
    records = await conn.fetch(SELECT_SETS)
    ids = sorted({identity for record in records for identity in record["findings"]})
    tokens = {
        record["id"]: token_of(
            Signature(
                record["route"],
                Kind(record["kind"]),
                record["place"],
                record["shape"],
                record["source_table"],
                record["discriminator"],
            )
        )
        for record in await conn.fetch(SELECT_SIGNATURES, ids)
    }
    return [
        FindingSet(
            record["id"],
            record["route"],
            {identity: tokens[identity] for identity in record["findings"] if identity in tokens},
            *(record[name] for name in list(record.keys())[3:]),
        )
        for record in records
        if record["count"]
    ]


SELECT_KNOWN = """
SELECT id, body, merged_into IS NOT NULL AS merged, first_seen,
    ARRAY(SELECT set_id FROM shadow.cause_set WHERE cause_id = cause.id) AS sets
FROM shadow.cause ORDER BY id
"""


async def _load_known(conn: Connection) -> list[KnownCause]:
    return [
        KnownCause(
            record["id"],
            _decode(record["body"]).title,
            frozenset(record["sets"]),
            record["first_seen"],
            record["merged"],
        )
        for record in await conn.fetch(SELECT_KNOWN)
    ]


UPSERT_CAUSE = """
INSERT INTO shadow.cause AS held (
    id, body, severity, provisional, routes, findings, exchanges, keys, first_seen, last_seen, first_release, last_release,
    state, state_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'new', $13)
ON CONFLICT (id) DO UPDATE SET
    body = excluded.body,
    severity = excluded.severity,
    provisional = excluded.provisional,
    routes = excluded.routes,
    findings = excluded.findings,
    exchanges = excluded.exchanges,
    keys = excluded.keys,
    first_release = CASE WHEN excluded.first_seen < held.first_seen THEN excluded.first_release ELSE held.first_release END,
    last_release = CASE WHEN excluded.last_seen > held.last_seen THEN excluded.last_release ELSE held.last_release END,
    first_seen = least(held.first_seen, excluded.first_seen),
    last_seen = greatest(held.last_seen, excluded.last_seen),
    regressed_in = CASE
        WHEN held.state = 'fixed' AND excluded.last_seen > held.state_at THEN excluded.last_release ELSE held.regressed_in
    END,
    state_at = CASE WHEN held.state = 'fixed' AND excluded.last_seen > held.state_at THEN $13 ELSE held.state_at END,
    state = CASE WHEN held.state = 'fixed' AND excluded.last_seen > held.state_at THEN 'regressed' ELSE held.state END,
    merged_into = NULL
"""
REOPEN_CAUSES = """
UPDATE shadow.cause SET
    state = 'new', state_at = $1, state_by = 'shadow',
    state_reason = CASE
        WHEN exchanges > until_exchanges THEN format('more than %s exchanges; acknowledged by %s: %s', until_exchanges, state_by, state_reason)
        ELSE format('after %s; acknowledged by %s: %s', until_day, state_by, state_reason)
    END,
    until_exchanges = NULL, until_day = NULL
WHERE state = 'acknowledged' AND merged_into IS NULL
    AND (exchanges > until_exchanges OR (until_day < ($1::timestamptz AT TIME ZONE 'UTC')::date AND last_seen > state_at))
RETURNING findings
"""
REOPEN_FINDINGS = """
UPDATE shadow.finding SET state = 'new', state_at = $2, state_by = 'shadow', state_reason = 'its cause is open again'
WHERE id = ANY($1) AND state = 'acknowledged'
"""
DELETE_ASSIGNMENTS = """
DELETE FROM shadow.cause_set WHERE NOT EXISTS (
    SELECT FROM unnest($1::text[], $2::text[]) AS kept (cause_id, set_id)
    WHERE kept.cause_id = cause_set.cause_id AND kept.set_id = cause_set.set_id
)
RETURNING cause_id, set_id
"""
INSERT_ASSIGNMENTS = """
INSERT INTO shadow.cause_set (cause_id, set_id) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING
RETURNING cause_id, set_id
"""
MERGE_CAUSE = "UPDATE shadow.cause SET merged_into = $2, exchanges = 0 WHERE id = $1 OR merged_into = $1"
EMPTY_CAUSES = """
UPDATE shadow.cause SET exchanges = 0, provisional = provisional OR exchanges = 0
WHERE merged_into IS NULL AND exchanges > 0 AND NOT id = ANY($1)
"""


_Pairs = Sequence[tuple[str, str]]
"""Pairs of a cause and a set of findings."""


async def _store(
    conn: Connection, named: NamedCauses, sets: Sequence[FindingSet], *, now: dt.datetime
) -> tuple[_Pairs, _Pairs]:
    """Store causes with their states; return the pairs of causes and sets that were added, and those that were removed."""
    routes = {one.id: one.route for one in sets}
    for cause in sorted(named.causes, key=lambda c: c.id):
        await conn.execute(
            UPSERT_CAUSE,
            cause.id,
            _encode(cause.body),
            str(cause.severity),
            cause.provisional,
            sorted({routes[identity] for identity in cause.sets}),
            sorted(cause.findings),
            cause.exchanges,
            cause.keys,
            cause.first_seen,
            cause.last_seen,
            cause.first_release,
            cause.last_release,
            now,
        )
    pairs = sorted((cause.id, identity) for cause in named.causes for identity in cause.sets)
    columns = [cause_id for cause_id, _ in pairs], [identity for _, identity in pairs]
    removed = [tuple(record) for record in await conn.fetch(DELETE_ASSIGNMENTS, *columns)]
    added = [tuple(record) for record in await conn.fetch(INSERT_ASSIGNMENTS, *columns)]
    await conn.execute(EMPTY_CAUSES, [cause.id for cause in named.causes])
    for old, new in sorted(named.merged.items()):
        await conn.execute(MERGE_CAUSE, old, new)
    for record in await conn.fetch(REOPEN_CAUSES, now):
        await conn.execute(REOPEN_FINDINGS, record["findings"], now)
    await _cover_findings(conn, now=now)
    return added, removed


# Sets beyond the bound.

LOCK_SETS = "SELECT id FROM shadow.finding_set WHERE id = ANY($1) ORDER BY id FOR UPDATE"
FOLD_TOTALS = """
INSERT INTO shadow.finding_set_total (set_id, day, release, count)
SELECT folded.heir, total.day, total.release, sum(total.count)
FROM unnest($1::text[], $2::text[]) AS folded (id, heir)
JOIN shadow.finding_set_total AS total ON total.set_id = folded.id
GROUP BY folded.heir, total.day, total.release
ORDER BY folded.heir, total.day, total.release
ON CONFLICT (set_id, day, release) DO UPDATE SET count = finding_set_total.count + excluded.count
"""
FOLD_SET_SLOTS = """
INSERT INTO shadow.finding_set_slot (set_id, slot, served_by, stage, count)
SELECT folded.heir, part.slot, part.served_by, part.stage, sum(part.count)
FROM unnest($1::text[], $2::text[]) AS folded (id, heir)
JOIN shadow.finding_set_slot AS part ON part.set_id = folded.id
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
ON CONFLICT (set_id, slot, served_by, stage) DO UPDATE SET count = finding_set_slot.count + excluded.count
"""
FOLD_SETS = """
UPDATE shadow.finding_set AS held SET
    count = held.count + gone.count,
    first_seen = least(held.first_seen, gone.first_seen),
    last_seen = greatest(held.last_seen, gone.last_seen)
FROM (
    SELECT folded.heir, sum(one.count) AS count, min(one.first_seen) AS first_seen, max(one.last_seen) AS last_seen
    FROM unnest($1::text[], $2::text[]) AS folded (id, heir) JOIN shadow.finding_set AS one ON one.id = folded.id
    GROUP BY folded.heir
) AS gone
WHERE held.id = gone.heir
"""
DELETE_SETS = "DELETE FROM shadow.finding_set WHERE id = ANY($1)"


async def _fold_rare(conn: Connection, heirs: Mapping[str, str]) -> None:
    """Fold sets into their heirs, which have the same causes; the caller holds all of them locked."""
    if heirs:
        columns = list(heirs), list(heirs.values())
        await conn.execute(FOLD_TOTALS, *columns)
        await conn.execute(FOLD_SET_SLOTS, *columns)
        await conn.execute(FOLD_SETS, *columns)
        await conn.execute(DELETE_SETS, list(heirs))


def heirs_of(sets: Sequence[FindingSet], causes: Iterable[Cause], *, sets_max: int) -> Mapping[str, str]:
    """Return the set that takes the exchanges of each of the rarest sets beyond `sets_max`; a set that is alone of its kind stays."""
    causes_of: dict[str, list[str]] = {one.id: [] for one in sets}
    for cause in causes:
        for identity in cause.sets:
            causes_of[identity].append(cause.id)
    ordered = sorted(sets, key=lambda one: (-one.count, -one.last_seen.timestamp(), one.id))
    commonest: dict[tuple[str, tuple[str, ...]], str] = {}
    heirs: dict[str, str] = {}
    for number, one in enumerate(ordered):
        kind = one.route, tuple(sorted(causes_of[one.id]))
        heir = commonest.setdefault(kind, one.id)
        if number >= sets_max and heir != one.id:
            heirs[one.id] = heir
    return heirs


# States.

COVERED = """
SELECT DISTINCT ON (finding.id) finding.id, cause.state, cause.state_by, cause.state_reason, cause.id AS cause
FROM shadow.cause
JOIN shadow.finding ON finding.id = ANY(cause.findings)
WHERE cause.merged_into IS NULL AND cause.state = ANY($1) AND finding.state <> cause.state
    AND CASE WHEN $2 = '' THEN finding.state = 'new' ELSE cause.id = $2 END
    AND NOT EXISTS (
        SELECT FROM shadow.cause AS other
        WHERE other.merged_into IS NULL AND finding.id = ANY(other.findings) AND other.state <> ALL($1)
    )
ORDER BY finding.id, cause.exchanges DESC, cause.id
"""


async def _cover_findings(
    conn: Connection,
    *,
    now: dt.datetime,
    states: Sequence[FindingState] = (FindingState.ACKNOWLEDGED,),
    cause: str = "",
    fixed_in: str = "",
) -> int:
    """Give findings the state of their causes, where every cause that shows them has one of these states; return how many changed.

    Without `cause` only new findings change: those that have joined a cause since it got its state.
    """
    records = await conn.fetch(COVERED, [str(state) for state in states], cause)
    for record in records:
        reason = f"cause {record['cause']}: {record['state_reason']}"
        await conn.execute(SET_FINDING_STATE, record["id"], record["state"], record["state_by"], reason, now, fixed_in)
    return len(records)


SET_STATE = """
UPDATE shadow.cause SET
    state = $2, state_by = $3, state_reason = $4, state_at = $5, covered = findings,
    fixed_in = CASE WHEN $6 = '' THEN fixed_in ELSE $6 END,
    owner = $7, until_exchanges = exchanges + $8, until_day = $9
WHERE id = $1
"""
SELECT_HEIR = "SELECT coalesce(merged_into, id) FROM shadow.cause WHERE id = $1"


async def set_cause_state(
    conn: Connection,
    identity: str,
    state: FindingState,
    *,
    by: str,
    reason: str,
    now: dt.datetime,
    fixed_in: str = "",
    until: Until = NO_END,
) -> int:
    """Set the state of a cause and of the findings that it alone shows, or that only causes in this state show.

    Args:
        conn: a connection outside of a transaction.
        identity: id of the cause, or one that was merged into it.
        state: the new state.
        by: the person.
        reason: the reason.
        now: aware time.
        fixed_in: label of the releases in which it is fixed; "" for those that were seen last.
        until: owner and end of an acknowledgement; at its end the cause is open again when it occurs.

    Returns:
        The number of findings whose state was set.

    Raises:
        UnknownCauseError: no cause has this id.
    """
    async with conn.transaction():
        held = await _heir_of(conn, identity)
        if state is FindingState.FIXED and not fixed_in:
            fixed_in = await newest_release(conn)
        limits = until.owner, until.exchanges_more, until.day
        await conn.execute(SET_STATE, held, str(state), by, reason, now, fixed_in, *limits)
        handled = (FindingState.ACKNOWLEDGED, FindingState.FIXED)
        return await _cover_findings(conn, now=now, states=handled, cause=held, fixed_in=fixed_in)


async def _heir_of(conn: Connection, identity: str) -> str:
    held: str | None = await conn.fetchval(SELECT_HEIR, identity)
    if held is None:
        raise UnknownCauseError(f"no cause {identity!r}; `shadow causes list` shows them")
    return held


# Reading.

SELECT_CAUSES = """
SELECT
    id, body, severity, provisional, state, state_by, state_reason, state_at, first_seen, last_seen, first_release, last_release,
    fixed_in, regressed_in, routes, findings, (SELECT count(*) FROM unnest(findings) AS f WHERE NOT f = ANY(covered)) AS joined,
    keys, owner, until_exchanges, until_day, ARRAY(SELECT merged.id FROM shadow.cause AS merged WHERE merged.merged_into = cause.id ORDER BY merged.id) AS former_ids
FROM shadow.cause
WHERE merged_into IS NULL AND ($1 = '' OR id = $1) AND ($2 = '' OR $2 = ANY(routes))
    AND (cardinality($3::text[]) = 0 OR state = ANY($3))
ORDER BY
    provisional,
    array_position(ARRAY['regressed', 'new', 'acknowledged', 'fixed'], state),
    array_position(ARRAY['broken', 'changed', 'additive'], severity),
    id
"""
COUNT_EXCHANGES = """
SELECT cause_set.cause_id, sum(total.count)::bigint AS count
FROM shadow.cause_set JOIN (
    SELECT set_id, sum(count) AS count FROM shadow.finding_set_total
    WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2)
    GROUP BY set_id
) AS total USING (set_id)
GROUP BY cause_set.cause_id
"""
COUNT_EXCHANGES_OF = """
SELECT coalesce(sum(total.count), 0)::bigint
FROM shadow.cause_set JOIN shadow.finding_set_total AS total USING (set_id) WHERE cause_set.cause_id = $1
"""
COUNT_MISMATCHES = """
SELECT
    (SELECT coalesce(sum(count), 0) FROM shadow.finding_set_total
     WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2))::bigint AS mismatches,
    (SELECT coalesce(sum(total.count), 0)
     FROM shadow.finding_set AS held JOIN shadow.finding_set_total AS total ON total.set_id = held.id
     WHERE NOT EXISTS (SELECT FROM shadow.cause_set WHERE cause_set.set_id = held.id)
        AND ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2))::bigint AS unattributed
"""


async def exchanges_by_cause(
    conn: Connection, *, since: dt.date | None = None, until: dt.date | None = None
) -> Mapping[str, int]:
    """Return the number of exchanges of each cause, of the days from `since` to `until`, both included."""
    return {record["cause_id"]: record["count"] for record in await conn.fetch(COUNT_EXCHANGES, since, until)}


async def causes(
    conn: Connection,
    *,
    route: str = "",
    states: Sequence[FindingState] = (),
    since: dt.date | None = None,
    until: dt.date | None = None,
    all_causes: bool = False,
    limit: int = 50,
) -> CauseList:
    """Return causes: those that can be relied upon first, then unhandled states, then by severity and exchanges.

    Args:
        conn: a connection.
        route: a route on which they show; "" for any.
        states: their states; all if empty.
        since: first day whose exchanges are counted; None for all that are kept.
        until: last day whose exchanges are counted.
        all_causes: include causes without an exchange on these days.
        limit: greatest number of causes.
    """
    counts = await exchanges_by_cause(conn, since=since, until=until)
    rows: list[CauseRow] = []
    for record in await conn.fetch(SELECT_CAUSES, "", route, [str(state) for state in states]):
        count = counts.get(record["id"], 0)
        if count or all_causes:
            rows.append(_row(record, count))
    mismatches = await conn.fetchrow(COUNT_MISMATCHES, since, until)
    last = await conn.fetchrow(SELECT_SOLUTION)
    assert mismatches is not None, "an aggregate has a row"
    rows.sort(key=lambda row: (row.provisional, _order(row), -row.exchanges, row.id))
    solved_at = last["solved_at"] if last else None
    return CauseList(tuple(rows[:limit]), mismatches["mismatches"], mismatches["unattributed"], solved_at)


def _order(row: CauseRow) -> tuple[int, int]:
    return _STATES.index(row.state), _SEVERITIES.index(row.severity)


_STATES: Final = ("regressed", "new", "acknowledged", "fixed")
_SEVERITIES: Final = ("broken", "changed", "additive")


def _row(record: asyncpg.Record, exchanges: int) -> CauseRow:
    values: dict[str, Any] = dict(record)
    if values["state"] not in {"acknowledged", "fixed"}:
        values["joined"] = 0
    for name in ("routes", "findings", "former_ids"):
        values[name] = tuple(values[name])
    values["body"] = _decode(values["body"])
    return CauseRow(**values, exchanges=exchanges)


async def cause(conn: Connection, identity: str) -> CauseRow:
    """Return one cause by its id, or by one that was merged into it, with the releases in which it is gone.

    Raises:
        UnknownCauseError: no cause has this id.
    """
    held = await _heir_of(conn, identity)
    record = await conn.fetchrow(SELECT_CAUSES, held, "", [])
    if record is None:
        raise UnknownCauseError(f"no cause {identity!r}; `shadow causes list` shows them")
    count: int = await conn.fetchval(COUNT_EXCHANGES_OF, held)
    return await _with_releases(conn, _row(record, count))


SELECT_RELEASES_AFTER = """
SELECT release.label, sum(total.compared)::bigint AS compared
FROM shadow.release JOIN shadow.release_total AS total ON total.release = release.label
WHERE release.first_seen > $1 AND total.route = ANY($2)
GROUP BY release.label, release.first_seen ORDER BY release.first_seen, release.label
"""
COUNT_COMPARED_WITH = """
SELECT
    (SELECT coalesce(sum(total.compared), 0) FROM shadow.release_total AS total WHERE total.release = ANY($1) AND total.route = ANY($2))
        ::bigint AS compared,
    (SELECT coalesce(sum(total.count), 0) FROM shadow.cause_set JOIN shadow.finding_set_total AS total USING (set_id)
     WHERE cause_set.cause_id = $3 AND total.release = ANY($1))::bigint AS exchanges
"""
SELECT_RELEASES_OF = """
SELECT DISTINCT total.release FROM shadow.cause_set JOIN shadow.finding_set_total AS total USING (set_id)
WHERE cause_set.cause_id = $1 AND total.release <> ''
"""


async def _with_releases(conn: Connection, row: CauseRow) -> CauseRow:
    """Find the first releases after the last ones with the cause that had enough comparisons to show it, and did not."""
    own = [record["release"] for record in await conn.fetch(SELECT_RELEASES_OF, row.id)]
    if not own:
        return row
    seen = await conn.fetchrow(COUNT_COMPARED_WITH, own, list(row.routes), row.id)
    rate = seen["exchanges"] / seen["compared"] if seen and seen["compared"] else 0.0
    for record in await conn.fetch(SELECT_RELEASES_AFTER, row.last_seen, list(row.routes)):
        if record["compared"] * rate >= GONE_EXPECTED_MIN:
            return replace(row, gone_in=record["label"])
    return row


SELECT_CASES = """
SELECT exemplar.body FROM shadow.cause_set JOIN shadow.finding_set_exemplar AS exemplar USING (set_id)
JOIN shadow.finding_set ON finding_set.id = exemplar.set_id
WHERE cause_set.cause_id = $1
ORDER BY exemplar.set_id = $2 DESC,
    (SELECT count(*) FROM shadow.cause_set AS others WHERE others.set_id = exemplar.set_id),
    cardinality(finding_set.findings), exemplar.seen_at DESC, exemplar.set_id
LIMIT $3
"""


async def cases_of(conn: Connection, row: CauseRow, *, limit: int = 5) -> tuple[Case, ...]:
    """Return examples of a cause, redacted: the one with the fewest other causes and findings first."""
    records = await conn.fetch(SELECT_CASES, row.id, row.body.exemplar, limit)
    return tuple([load(unpack(record["body"])) for record in records])


SELECT_STATES = """
SELECT CASE WHEN provisional THEN 'provisional' ELSE state END AS state, count(*)::integer AS count
FROM shadow.cause WHERE merged_into IS NULL AND exchanges > 0 GROUP BY 1
"""


async def causes_by_state(conn: Connection) -> Mapping[str, int]:
    """Return the number of causes in each state; provisional ones are counted apart."""
    return {record["state"]: record["count"] for record in await conn.fetch(SELECT_STATES)}


def title_of(body: bytes | None) -> str:
    """Return the title of a stored cause in one line, "" for none."""
    if body is None:
        return ""
    title = _decode(body).title
    return f"{title.where}: {title.what}"


SELECT_TITLES = "SELECT id, body FROM shadow.cause WHERE id = ANY($1)"


async def titles(conn: Connection, ids: Iterable[str]) -> Mapping[str, Token]:
    """Return the titles of causes."""
    return {record["id"]: _decode(record["body"]).title for record in await conn.fetch(SELECT_TITLES, list(ids))}
