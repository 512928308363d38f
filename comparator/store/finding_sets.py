"""Write the sets of findings that occurred together, from which causes are solved. Each function runs in the caller's transaction."""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from comparator.findings.cases import dump
from comparator.findings.tokens import token_of
from comparator.postgres import Connection
from comparator.stats.distinct_sketch import sketch_of
from comparator.store.cause_hours import add_to_causes
from comparator.store.comparison_detail import ComparedExchange, pack, served_at
from comparator.store.rollups import slot_of

FINE_SLOT: Final = dt.timedelta(seconds=10)
"""Length of the slots in which recent exchanges of a set are counted."""
FINE_SLOTS_KEPT: Final = dt.timedelta(hours=2)
"""Age from which they are folded into slots of ten minutes (`rollups.SLOT`)."""
FINDINGS_OF_SET_MAX: Final = 500
"""Findings of one exchange that count in its set: the most telling ones, by level and name."""


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def fine_slot_of(at: dt.datetime) -> dt.datetime:
    """Return the beginning of the FINE_SLOT that a time lies in."""
    return at - (at - _EPOCH) % FINE_SLOT


def findings_of_set(compared: ComparedExchange) -> tuple[str, ...]:
    """Return the ids of the findings that occurred in an exchange, sorted; none unless it is a mismatch."""
    signatures = [occurrence.signature for occurrence in compared.occurrences]
    if len(signatures) > FINDINGS_OF_SET_MAX:
        signatures = sorted(signatures, key=lambda s: token_of(s).name)[:FINDINGS_OF_SET_MAX]
    return tuple(sorted({signature.id for signature in signatures}))


def set_id(compared: ComparedExchange) -> str | None:
    """Return the id of an exchange's set of findings, None for an exchange without findings."""
    findings = findings_of_set(compared)
    return hashlib.sha256("\0".join(findings).encode()).hexdigest()[:16] if findings else None


UPSERT_SET = """
INSERT INTO shadow.finding_set (id, route, findings, first_seen, last_seen, first_release, last_release, keys, count)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO UPDATE SET
    count = finding_set.count + excluded.count,
    first_release = CASE
        WHEN excluded.first_seen < finding_set.first_seen THEN excluded.first_release ELSE finding_set.first_release
    END,
    last_release = CASE
        WHEN excluded.last_seen > finding_set.last_seen THEN excluded.last_release ELSE finding_set.last_release
    END,
    first_seen = least(finding_set.first_seen, excluded.first_seen),
    last_seen = greatest(finding_set.last_seen, excluded.last_seen),
    keys = shadow.merge_keys(finding_set.keys, excluded.keys)
RETURNING count
"""
ADD_SET_SLOTS = """
INSERT INTO shadow.finding_set_slot (set_id, slot, served_by, stage, count)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (set_id, slot, served_by, stage) DO UPDATE SET count = finding_set_slot.count + excluded.count
"""
ADD_SET_TOTALS = """
INSERT INTO shadow.finding_set_total (set_id, day, release, count)
SELECT * FROM unnest($1::text[], $2::date[], $3::text[], $4::bigint[])
ON CONFLICT (set_id, day, release) DO UPDATE SET count = finding_set_total.count + excluded.count
"""
KEEP_EXEMPLAR = """
INSERT INTO shadow.finding_set_exemplar (set_id, exchange_id, seen_at, body) VALUES ($1, $2, $3, $4)
ON CONFLICT (set_id) DO UPDATE SET exchange_id = excluded.exchange_id, seen_at = excluded.seen_at, body = excluded.body
"""


async def add_sets(conn: Connection, fresh: Iterable[ComparedExchange], *, exemplar_max_bytes: int) -> None:
    """Add the sets of new comparisons, with an example of each."""
    by_set: dict[str, list[ComparedExchange]] = {}
    for compared in sorted(fresh, key=lambda c: c.exchange.started_ns):
        identity = set_id(compared)
        if identity is not None:
            by_set.setdefault(identity, []).append(compared)
    counts = Counter[tuple[str, dt.date, str]]()
    slots = Counter[tuple[str, dt.datetime, str, str]]()
    for identity, members in sorted(by_set.items()):
        count = await _upsert(conn, identity, members)
        counts.update((identity, served_at(one).date(), one.release.label) for one in members)
        slots.update((identity, fine_slot_of(served_at(one)), *_served(one)) for one in members)
        # An example is renewed when the count has doubled, so that it is recent and costs little.
        if count.bit_length() != (count - len(members)).bit_length():
            await _keep_exemplar(conn, identity, members, exemplar_max_bytes)
    for statement, counted in ((ADD_SET_TOTALS, counts), (ADD_SET_SLOTS, slots)):
        rows = [(*key, count) for key, count in sorted(counted.items())]
        if rows:
            await conn.execute(statement, *(list(column) for column in zip(*rows, strict=True)))
    await add_to_causes(conn, slots)


def _served(compared: ComparedExchange) -> tuple[str, str]:
    """Return the serving side, and the stage."""
    return str(compared.comparison.served_by), compared.exchange.stage


FOLD_SLOTS = """
WITH fine AS (
    DELETE FROM shadow.finding_set_slot WHERE slot < $1 AND slot <> date_bin('10 minutes', slot, 'epoch') RETURNING *
)
INSERT INTO shadow.finding_set_slot (set_id, slot, served_by, stage, count)
SELECT set_id, date_bin('10 minutes', slot, 'epoch'), served_by, stage, sum(count) FROM fine GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (set_id, slot, served_by, stage) DO UPDATE SET count = finding_set_slot.count + excluded.count
"""


async def fold_slots(conn: Connection, now: dt.datetime) -> None:
    """Fold slots of FINE_SLOT that are older than FINE_SLOTS_KEPT into slots of ten minutes."""
    await conn.execute(FOLD_SLOTS, slot_of(now - FINE_SLOTS_KEPT))


async def _upsert(conn: Connection, identity: str, members: Sequence[ComparedExchange]) -> int:
    oldest, newest = members[0], members[-1]
    digests = (one.key_digest for one in members if one.key_digest is not None)
    count: int = await conn.fetchval(
        UPSERT_SET,
        identity,
        newest.exchange.route,
        list(findings_of_set(newest)),
        served_at(oldest),
        served_at(newest),
        oldest.release.label,
        newest.release.label,
        list(sketch_of(digests)),
        len(members),
    )
    return count


async def _keep_exemplar(
    conn: Connection, identity: str, members: Sequence[ComparedExchange], exemplar_max_bytes: int
) -> None:
    for compared in reversed(members):
        body = pack(dump(compared.case)) if compared.case is not None else b""
        if body and len(body) <= exemplar_max_bytes:
            await conn.execute(KEEP_EXEMPLAR, identity, compared.exchange.id, served_at(compared), body)
            return
