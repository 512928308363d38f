"""Write comparisons and findings. Each function runs one statement, in the transaction of the given connection."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

from comparator.findings.clustering import FindingState, Occurrence
from comparator.postgres import Connection
from comparator.stats.distinct_sketch import sketch_of
from comparator.store.comparison_detail import ComparedExchange, example_of, packed_detail, served_at, status_of
from comparator.store.finding_sets import set_id
from comparator.store.timeline import packed_timeline


def distinct(batch: Iterable[ComparedExchange]) -> Iterable[ComparedExchange]:
    """Return a batch without repetitions of an exchange; the last one wins."""
    return {(c.exchange.started_ns, c.exchange.id): c for c in batch}.values()


INSERT_COMPARISONS = """
INSERT INTO shadow.comparison (
    served_at, exchange_id, route, key_digest, served_by, stage, verdict, cause, confirmed, effects_compared,
    effects_note, served_status, mirrored_status, served_us, mirrored_us, rows_served, rows_mirrored,
    difference_count, detail, compared_at, finding_set, release, timeline, rows_in_part
)
SELECT * FROM unnest(
    $1::timestamptz[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::boolean[], $10::boolean[], $11::text[], $12::integer[], $13::integer[], $14::bigint[], $15::bigint[],
    $16::integer[], $17::integer[], $18::integer[], $19::bytea[], $20::timestamptz[],
    $21::text[], $22::text[], $23::bytea[], $24::boolean[]
)
ON CONFLICT (served_at, exchange_id) DO NOTHING
RETURNING served_at, exchange_id
"""


async def insert_comparisons(conn: Connection, batch: Sequence[ComparedExchange]) -> set[tuple[dt.datetime, str]]:
    """Insert the comparisons of a batch; return `(served_at, exchange id)` of those that were not stored yet."""
    # In the order of the key, so that two writers of the same rows never wait for each other in a circle.
    rows = [_row(c) for c in sorted(distinct(batch), key=lambda c: (c.exchange.started_ns, c.exchange.id))]
    if not rows:
        return set()
    records = await conn.fetch(INSERT_COMPARISONS, *(list(column) for column in zip(*rows, strict=True)))
    return {(record["served_at"], record["exchange_id"]) for record in records}


def _row(compared: ComparedExchange) -> tuple[object, ...]:
    comparison, exchange = compared.comparison, compared.exchange
    return (
        served_at(compared),
        exchange.id,
        exchange.route,
        compared.key_digest,
        str(comparison.served_by),
        exchange.stage,
        str(comparison.verdict),
        comparison.cause_label,
        comparison.confirmed,
        comparison.effects_compared,
        comparison.effects_note,
        status_of(compared.served),
        status_of(compared.mirrored),
        compared.served.duration_ns // 1000,
        compared.mirrored.duration_ns // 1000,
        *comparison.rows,
        len(comparison.differences),
        packed_detail(comparison),
        compared.compared_at,
        set_id(compared),
        compared.release.label,
        packed_timeline(compared.timeline),
        comparison.partial,
    )


FindingOccurrences = Sequence[tuple[Occurrence, ComparedExchange]]
"""The occurrences of one finding in a batch, each with its exchange, oldest first; not empty."""


def findings_of(fresh: Iterable[ComparedExchange]) -> Mapping[str, FindingOccurrences]:
    """Return the occurrences of each finding in a batch, by the finding's id."""
    by_finding: dict[str, list[tuple[Occurrence, ComparedExchange]]] = {}
    for compared in sorted(fresh, key=lambda c: c.exchange.started_ns):
        for occurrence in compared.occurrences:
            by_finding.setdefault(occurrence.signature.id, []).append((occurrence, compared))
    return by_finding


UPSERT_FINDING = """
INSERT INTO shadow.finding (
    id, route, kind, place, shape, severity, state, state_by, state_reason, state_at, first_seen, last_seen, count, example,
    source_table, discriminator, first_release, last_release, keys
)
VALUES ($1, $2, $3, $4, $5, $6, $7, '', '', $8, $9, $10, $11, $12, $15, $16, $17, $18, $19)
ON CONFLICT (id) DO UPDATE SET
    count = finding.count + excluded.count,
    first_seen = least(finding.first_seen, excluded.first_seen),
    last_seen = greatest(finding.last_seen, excluded.last_seen),
    first_release = CASE
        WHEN excluded.first_seen < finding.first_seen THEN excluded.first_release ELSE finding.first_release
    END,
    last_release = CASE
        WHEN excluded.last_seen > finding.last_seen THEN excluded.last_release ELSE finding.last_release
    END,
    keys = shadow.merge_keys(finding.keys, excluded.keys),
    source_table = excluded.source_table,
    state = CASE WHEN finding.state = $13 AND excluded.last_seen > finding.state_at THEN $14 ELSE finding.state END,
    regressed_in = CASE
        WHEN finding.state = $13 AND excluded.last_seen > finding.state_at THEN excluded.last_release
        ELSE finding.regressed_in
    END,
    state_at = CASE
        WHEN finding.state = $13 AND excluded.last_seen > finding.state_at THEN $8 ELSE finding.state_at
    END
RETURNING count
"""


async def upsert_finding(conn: Connection, occurrences: FindingOccurrences) -> int:
    """Add the occurrences to a finding; return its new count. A fixed finding that was served again since then has regressed."""
    first, oldest = occurrences[0]
    newest = occurrences[-1][1]
    signature = first.signature
    count: int = await conn.fetchval(
        UPSERT_FINDING,
        signature.id,
        signature.route,
        str(signature.kind),
        signature.place,
        signature.shape,
        str(signature.severity),
        str(FindingState.NEW),
        newest.compared_at,
        served_at(oldest),
        served_at(newest),
        len(occurrences),
        example_of(first.example, oldest.comparison.served_by),
        str(FindingState.FIXED),
        str(FindingState.REGRESSED),
        signature.table,
        signature.discriminator,
        oldest.release.label,
        newest.release.label,
        list(sketch_of(c.key_digest for _, c in occurrences if c.key_digest is not None)),
    )
    return count


KEEP_EXEMPLAR = """
INSERT INTO shadow.finding_exemplar (finding_id, slot, exchange_id, seen_at, body) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (finding_id, slot)
DO UPDATE SET exchange_id = excluded.exchange_id, seen_at = excluded.seen_at, body = excluded.body
"""


async def keep_exemplar(conn: Connection, finding: str, *, slot: int, compared: ComparedExchange, body: bytes) -> None:
    """Store an example in a slot of the finding's reservoir."""
    await conn.execute(KEEP_EXEMPLAR, finding, slot, compared.exchange.id, served_at(compared), body)
