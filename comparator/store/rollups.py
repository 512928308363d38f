"""Write the counts that are asked for later, so that nothing is counted when asked. Each function runs in the caller's transaction.

All rows are written in the order of their keys, so that two writers of the same rows never wait for each other in a circle.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from comparator.exchanges.comparison import Verdict, VerdictCause
from comparator.exchanges.model import Failed
from comparator.postgres import Connection
from comparator.stats import quantile_sketch
from comparator.stats.distinct_sketch import sketch_of
from comparator.stats.duration_buckets import bucket_of
from comparator.stats.quantile_sketch import QuantileSketch
from comparator.store.comparison_detail import ComparedExchange, served_at, status_of

SLOT: Final = dt.timedelta(minutes=10)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
ALL_ROUTES: Final = ""
"""The route under which distinct keys of all routes are counted."""
ROW_CAUSES: Final = frozenset({VerdictCause.EFFECTS, VerdictCause.RESPONSE_AND_EFFECTS})
"""Causes of a mismatch in which rows differ."""


def slot_of(at: dt.datetime) -> dt.datetime:
    """Return the beginning of the ten minutes that a time lies in."""
    return at - (at - _EPOCH) % SLOT


async def add_rollups(conn: Connection, fresh: Sequence[ComparedExchange]) -> None:
    """Add new comparisons to all rollups."""
    await _add_slots(conn, fresh)
    await _add_slot_durations(conn, fresh)
    await _add_durations(conn, fresh)
    await _add_keys(conn, fresh)
    await _add_releases(conn, fresh)


ADD_TOTALS = """
INSERT INTO shadow.total (day, route, served_by, verdict, cause, count)
SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
ON CONFLICT (day, route, served_by, verdict, cause) DO UPDATE SET count = total.count + excluded.count
"""


async def add_totals(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    """Add new comparisons to the totals by day, route, serving side, verdict and cause."""
    counts = Counter(
        (
            served_at(c).date(),
            c.exchange.route,
            str(c.comparison.served_by),
            str(c.comparison.verdict),
            c.comparison.cause_label,
        )
        for c in fresh
    )
    await _add(conn, ADD_TOTALS, [(*key, count) for key, count in sorted(counts.items())])


ADD_RESPONSE_ONLY = """
INSERT INTO shadow.response_only_total (day, route, verdict, reason, count)
SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (day, route, verdict, reason) DO UPDATE SET count = response_only_total.count + excluded.count
"""


async def add_response_only_totals(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    """Add new comparisons that rest on the responses alone to their totals."""
    counts = Counter(
        (served_at(c).date(), c.exchange.route, str(c.comparison.verdict), c.comparison.effects_note)
        for c in fresh
        if c.comparison.response_only
    )
    await _add(conn, ADD_RESPONSE_ONLY, [(*key, count) for key, count in sorted(counts.items())])


ADD_PARTIAL = """
INSERT INTO shadow.partial_total (day, route, verdict, left_out, count)
SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (day, route, verdict, left_out) DO UPDATE SET count = partial_total.count + excluded.count
"""


async def add_partial_totals(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    """Add new comparisons from which tables were left out to their totals, by these tables and the reasons."""
    counts = Counter(
        (
            served_at(c).date(),
            c.exchange.route,
            str(c.comparison.verdict),
            msgspec.json.encode(tuple(c.comparison.left_out.items())).decode(),
        )
        for c in fresh
        if c.comparison.partial
    )
    await _add(conn, ADD_PARTIAL, [(*key, count) for key, count in sorted(counts.items())])


ADD_KNOWN_TOTALS = """
INSERT INTO shadow.known_total (day, route, declaration, reason, ticket, count)
SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
ON CONFLICT (day, route, declaration)
DO UPDATE SET count = known_total.count + excluded.count, reason = excluded.reason, ticket = excluded.ticket
"""


async def add_known_totals(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    """Add new comparisons to the totals of the known differences that they contain."""
    texts = {
        (served_at(c).date(), c.exchange.route, k.declaration): (k.reason, k.ticket)
        for c in fresh
        for k in c.comparison.known
    }
    counts = Counter(
        (served_at(c).date(), c.exchange.route, declaration)
        for c in fresh
        for declaration in {k.declaration for k in c.comparison.known}
    )
    await _add(conn, ADD_KNOWN_TOTALS, [(*key, *texts[key], count) for key, count in sorted(counts.items())])


ADD_RULE_TOTALS = """
INSERT INTO shadow.rule_total (day, route, rule, hits, expired)
SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (day, route, rule) DO UPDATE SET hits = rule_total.hits + excluded.hits, expired = rule_total.expired + excluded.expired
"""


async def add_rule_totals(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    """Add new comparisons to the totals of the rules that allowed a difference in them, or that had expired."""
    totals: dict[tuple[dt.date, str, str], list[int]] = {}
    for one in fresh:
        for rule, expired in {(hit.rule, hit.expired) for hit in one.comparison.rule_hits}:
            total = totals.setdefault((served_at(one).date(), one.exchange.route, rule), [0, 0])
            total[expired] += 1
    await _add(conn, ADD_RULE_TOTALS, [(*key, *total) for key, total in sorted(totals.items())])


ADD_SLOTS = """
INSERT INTO shadow.slot_total (
    slot, route, served_by, requests, compared, mismatches, row_mismatches, mirrored_errors, rows_served, known,
    transient, effects_compared, rows_in_part
)
SELECT * FROM unnest(
    $1::timestamptz[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]
)
ON CONFLICT (slot, route, served_by) DO UPDATE SET
    requests = slot_total.requests + excluded.requests,
    compared = slot_total.compared + excluded.compared,
    mismatches = slot_total.mismatches + excluded.mismatches,
    row_mismatches = slot_total.row_mismatches + excluded.row_mismatches,
    mirrored_errors = slot_total.mirrored_errors + excluded.mirrored_errors,
    rows_served = slot_total.rows_served + excluded.rows_served,
    known = slot_total.known + excluded.known,
    transient = slot_total.transient + excluded.transient,
    effects_compared = slot_total.effects_compared + excluded.effects_compared,
    rows_in_part = slot_total.rows_in_part + excluded.rows_in_part
"""


async def _add_slots(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    sums: dict[tuple[dt.datetime, str, str], list[int]] = {}
    for one in fresh:
        comparison, status = one.comparison, status_of(one.mirrored)
        key = slot_of(served_at(one)), one.exchange.route, str(comparison.served_by)
        figures = (
            1,
            comparison.verdict is not Verdict.FAILED,
            comparison.verdict is Verdict.MISMATCH,
            comparison.verdict is Verdict.MISMATCH and comparison.cause in ROW_CAUSES,
            status is None or status >= 500,
            comparison.rows[0],
            comparison.verdict is Verdict.KNOWN,
            comparison.verdict is Verdict.TRANSIENT,
            comparison.verdict is not Verdict.FAILED and comparison.effects_compared,
            comparison.partial,
        )
        earlier = sums.setdefault(key, [0] * len(figures))
        sums[key] = [before + int(figure) for before, figure in zip(earlier, figures, strict=True)]
    await _add(conn, ADD_SLOTS, [(*key, *figures) for key, figures in sorted(sums.items())])


ADD_SLOT_DURATIONS = """
INSERT INTO shadow.slot_duration (slot, side, bucket, count)
SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::integer[], $4::bigint[])
ON CONFLICT (slot, side, bucket) DO UPDATE SET count = slot_duration.count + excluded.count
"""


async def _add_slot_durations(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    counts = Counter(
        (slot_of(served_at(one)), str(observation.side), bucket_of(observation.duration_ns / 1000))
        for one in fresh
        if one.comparison.verdict is not Verdict.FAILED
        for observation in (one.served, one.mirrored)
    )
    await _add(conn, ADD_SLOT_DURATIONS, [(*key, count) for key, count in sorted(counts.items())])


INSERT_DURATIONS = """
INSERT INTO shadow.duration_total (day, route, served_by, served, mirrored) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (day, route, served_by) DO NOTHING
"""
LOCK_DURATIONS = """
SELECT served, mirrored FROM shadow.duration_total WHERE day = $1 AND route = $2 AND served_by = $3 FOR UPDATE
"""
SET_DURATIONS = """
UPDATE shadow.duration_total SET served = $4, mirrored = $5 WHERE day = $1 AND route = $2 AND served_by = $3
"""
_EMPTY: Final = quantile_sketch.dump(QuantileSketch())


async def _add_durations(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    sketches: dict[tuple[dt.date, str, str], tuple[QuantileSketch, QuantileSketch]] = {}
    for one in fresh:
        if one.comparison.verdict is Verdict.FAILED or isinstance(one.mirrored.outcome, Failed):
            continue
        key = served_at(one).date(), one.exchange.route, str(one.comparison.served_by)
        served, mirrored = sketches.setdefault(key, (QuantileSketch(), QuantileSketch()))
        served.add(one.served.duration_ns // 1000)
        mirrored.add(one.mirrored.duration_ns // 1000)
    for key, added in sorted(sketches.items(), key=lambda item: item[0]):
        held = await conn.fetchrow(LOCK_DURATIONS, *key)
        if held is None:
            await conn.execute(INSERT_DURATIONS, *key, _EMPTY)
            held = await conn.fetchrow(LOCK_DURATIONS, *key)
        assert held is not None, "the row has just been made"
        merged: list[bytes] = []
        for sketch, stored in zip(added, (held["served"], held["mirrored"]), strict=True):
            sketch.merge(quantile_sketch.load(stored))
            merged.append(quantile_sketch.dump(sketch))
        await conn.execute(SET_DURATIONS, *key, *merged)


ADD_KEYS = """
INSERT INTO shadow.key_total (day, route, keys) VALUES ($1, $2, $3)
ON CONFLICT (day, route) DO UPDATE SET keys = shadow.merge_keys(key_total.keys, excluded.keys)
"""


async def _add_keys(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    keys: dict[tuple[dt.date, str], set[int]] = {}
    for one in fresh:
        if one.key_digest is not None:
            for route in (one.exchange.route, ALL_ROUTES):
                keys.setdefault((served_at(one).date(), route), set()).add(one.key_digest)
    for key, digests in sorted(keys.items()):
        await conn.execute(ADD_KEYS, *key, list(sketch_of(digests)))


ADD_RELEASES = """
INSERT INTO shadow.release (label, candidate, legacy, first_seen, last_seen)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
ON CONFLICT (label) DO UPDATE SET
    first_seen = least(release.first_seen, excluded.first_seen), last_seen = greatest(release.last_seen, excluded.last_seen)
"""
ADD_RELEASE_TOTALS = """
INSERT INTO shadow.release_total (day, route, release, compared)
SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (day, route, release) DO UPDATE SET compared = release_total.compared + excluded.compared
"""


async def _add_releases(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    reported = [one for one in fresh if one.release.label]
    spans: dict[str, tuple[str, str, dt.datetime, dt.datetime]] = {}
    for one in reported:
        at, release = served_at(one), one.release
        _, _, first, last = spans.get(release.label, ("", "", at, at))
        spans[release.label] = (release.candidate, release.legacy, min(first, at), max(last, at))
    await _add(conn, ADD_RELEASES, [(label, *span) for label, span in sorted(spans.items())])
    counts = Counter(
        (served_at(one).date(), one.exchange.route, one.release.label)
        for one in reported
        if one.comparison.verdict is not Verdict.FAILED
    )
    await _add(conn, ADD_RELEASE_TOTALS, [(*key, count) for key, count in sorted(counts.items())])


async def _add(conn: Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Run a statement whose arguments are the columns of these rows, unless there are none."""
    if rows:
        await conn.execute(statement, *(list(column) for column in zip(*rows, strict=True)))


DELETE_OLD = (
    "DELETE FROM shadow.slot_total WHERE slot < $1",
    "DELETE FROM shadow.key_total WHERE day < $1::timestamptz::date",
    "DELETE FROM shadow.duration_total WHERE day < $1::timestamptz::date",
    "DELETE FROM shadow.release_total WHERE day < $1::timestamptz::date",
    "DELETE FROM shadow.finding_set_slot WHERE slot < $1",
    "DELETE FROM shadow.slot_duration WHERE slot < $1",
    "DELETE FROM shadow.rule_total WHERE day < $1::timestamptz::date",
    "DELETE FROM shadow.cause_hour WHERE hour < $1",
    "DELETE FROM shadow.finding_set_total WHERE day < $1::timestamptz::date",
    "DELETE FROM shadow.finding_set WHERE last_seen < $1",
)


async def delete_old_rollups(conn: Connection, before: dt.datetime) -> None:
    """Delete the rollups of comparisons that are kept no longer; totals, findings and causes stay."""
    for statement in DELETE_OLD:
        await conn.execute(statement, before)
