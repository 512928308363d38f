"""Keep the evidence of rollout steps while verdicts are stored: counts by stage and minute, so that the gates never count comparisons.

A pair that one side alone failed is an error of that side and is not judged further. The other comparisons are `judged`, and each property
that a gate asks for (HitKind) is counted by client: the ordering key or, without one, the target of the request. For example

    served by legacy: 500, candidate: 200        legacy_error
    served 200 {"score": 1}, mirrored {"score": 2}   mismatch
    the same, gone in the second run             candidate_transient where the candidate was mirrored
    rows of registry_event differ                mismatch, effects, rows:registry_event
    rows were not compared, `score` differs      mismatch, response_only
    only rows of a low_confidence table differ   low_confidence
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.model import Failed, Role, Side
from comparator.postgres import Connection
from comparator.stats.duration_buckets import bucket_of
from comparator.store.comparison_detail import ComparedExchange, served_at


class HitKind(StrEnum):
    """The properties that are counted by client."""

    MISMATCH = "mismatch"
    LOW_CONFIDENCE = "low_confidence"
    EFFECTS = "effects"
    CANDIDATE_ERROR = "candidate_error"
    LEGACY_ERROR = "legacy_error"
    RESPONSE_ONLY = "response_only"
    CANDIDATE_TRANSIENT = "candidate_transient"
    LEGACY_TRANSIENT = "legacy_transient"


ROWS: Final = "rows:"
"""Before the name of a table: kind of the comparisons that differ in its rows."""
NO_PAIR: Final = frozenset(
    {VerdictCause.SERVED_OVERLOAD, VerdictCause.MIRRORED_OVERLOAD, VerdictCause.MIRRORED_REFUSED}
)
"""Failures of our own, or of an instance that is not there: they say nothing about a side."""
DURATIONS_KEPT: Final = dt.timedelta(days=1)
"""Age at which durations are deleted; by then they are part of a block."""

SkippedExchanges = Mapping[tuple[str, dt.datetime, str, str], int]
"""Numbers of exchanges that were not compared, by stage, minute, route and cause."""


def minute_of(at: dt.datetime) -> dt.datetime:
    """Return the beginning of the minute that a time lies in."""
    return at.replace(second=0, microsecond=0)


def failed_alone(compared: ComparedExchange) -> Side | None:
    """Return the side that failed while the other one responded; None if neither or both failed, or only one was asked."""
    if compared.comparison.cause in NO_PAIR:
        return None
    served, mirrored = _failed(compared, Role.SERVED), _failed(compared, Role.MIRRORED)
    if served == mirrored:
        return None
    side = compared.comparison.served_by
    return side if served else side.other


def _failed(compared: ComparedExchange, role: Role) -> bool:
    outcome = (compared.served if role is Role.SERVED else compared.mirrored).outcome
    return isinstance(outcome, Failed) or outcome.status >= 500


def is_judged(compared: ComparedExchange) -> bool:
    """Return whether a comparison says something beyond the errors of one side."""
    return compared.comparison.verdict is not Verdict.FAILED and failed_alone(compared) is None


def _says_all_of_rows(comparison: Comparison) -> bool:
    """Return whether rows were compared: those of all tables, or of those that differ; equal rows say nothing of a table left out."""
    return comparison.is_complete or (comparison.partial and bool(comparison.differing_tables))


def hit_kinds(compared: ComparedExchange) -> Iterator[str]:
    """Yield the properties of a comparison: members of HitKind, and ROWS with the name of a table."""
    comparison, candidate_mirrored = compared.comparison, compared.comparison.served_by is Side.LEGACY
    alone = failed_alone(compared)
    if alone is not None:
        yield HitKind.CANDIDATE_ERROR if alone is Side.CANDIDATE else HitKind.LEGACY_ERROR
    if comparison.verdict is Verdict.TRANSIENT:
        yield HitKind.CANDIDATE_TRANSIENT if candidate_mirrored else HitKind.LEGACY_TRANSIENT
    if comparison.verdict is not Verdict.MISMATCH or alone is not None:
        return
    if comparison.low_confidence:
        yield HitKind.LOW_CONFIDENCE
        return
    yield HitKind.MISMATCH
    if comparison.response_only:
        yield HitKind.RESPONSE_ONLY
    if comparison.differing_tables:
        yield HitKind.EFFECTS
    for table in comparison.differing_tables:
        yield ROWS + table


async def add_step_evidence(conn: Connection, fresh: Sequence[ComparedExchange], skipped: SkippedExchanges) -> None:
    """Add new comparisons, and exchanges that were not compared, to the evidence of their steps.

    Comparisons are counted once, whatever fails in between. Skipped exchanges have no row that says whether they were counted: what is
    read again after a crash counts twice, which lowers the coverage and opens no gate.
    """
    await _add_counts(conn, fresh)
    await _add_hits(conn, fresh)
    await _add_durations(conn, fresh)
    await add_skipped(conn, skipped)


ADD_COUNTS = """
INSERT INTO shadow.step_count (
    stage, minute, route, served_by, match, known, mismatch, transient, failed, pairs, judged, effects_compared, partial, rows_whole,
    rows_in_part
)
SELECT * FROM unnest(
    $1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[]
)
ON CONFLICT (stage, minute, route, served_by) DO UPDATE SET
    match = step_count.match + excluded.match,
    known = step_count.known + excluded.known,
    mismatch = step_count.mismatch + excluded.mismatch,
    transient = step_count.transient + excluded.transient,
    failed = step_count.failed + excluded.failed,
    pairs = step_count.pairs + excluded.pairs,
    judged = step_count.judged + excluded.judged,
    effects_compared = step_count.effects_compared + excluded.effects_compared,
    partial = step_count.partial + excluded.partial,
    rows_whole = step_count.rows_whole + excluded.rows_whole,
    rows_in_part = step_count.rows_in_part + excluded.rows_in_part
"""
_VERDICTS: Final = (Verdict.MATCH, Verdict.KNOWN, Verdict.MISMATCH, Verdict.TRANSIENT, Verdict.FAILED)


async def _add_counts(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    sums: dict[tuple[str, dt.datetime, str, str], list[int]] = {}
    for one in fresh:
        judged = is_judged(one)
        figures = (
            *(one.comparison.verdict is verdict for verdict in _VERDICTS),
            one.comparison.cause not in NO_PAIR,
            judged,
            judged and _says_all_of_rows(one.comparison),
            judged and one.comparison.partial and not one.comparison.differing_tables,
            one.comparison.rows_whole,
            one.comparison.partial,
        )
        key = one.exchange.stage, minute_of(served_at(one)), one.exchange.route, str(one.comparison.served_by)
        earlier = sums.get(key) or [0] * len(figures)
        sums[key] = [before + figure for before, figure in zip(earlier, figures, strict=True)]
    await _add(conn, ADD_COUNTS, [(*key, *figures) for key, figures in sorted(sums.items())])


ADD_HITS = """
INSERT INTO shadow.step_hit (stage, minute, route, kind, client, count)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
ON CONFLICT (stage, minute, route, kind, client) DO UPDATE SET count = step_hit.count + excluded.count
"""


async def _add_hits(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    counts = Counter(
        (one.exchange.stage, minute_of(served_at(one)), one.exchange.route, str(kind), one.client_digest)
        for one in fresh
        for kind in hit_kinds(one)
    )
    await _add(conn, ADD_HITS, [(*key, count) for key, count in sorted(counts.items())])


ADD_DURATIONS = """
INSERT INTO shadow.step_duration (stage, minute, served_by, role, bucket, count)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::integer[], $6::bigint[])
ON CONFLICT (stage, minute, served_by, role, bucket) DO UPDATE SET count = step_duration.count + excluded.count
"""


async def _add_durations(conn: Connection, fresh: Iterable[ComparedExchange]) -> None:
    counts = Counter(
        (
            one.exchange.stage,
            minute_of(served_at(one)),
            str(one.comparison.served_by),
            str(role),
            bucket_of(observation.duration_ns / 1000),
        )
        for one in fresh
        if is_judged(one)
        for role, observation in ((Role.SERVED, one.served), (Role.MIRRORED, one.mirrored))
    )
    await _add(conn, ADD_DURATIONS, [(*key, count) for key, count in sorted(counts.items())])


ADD_SKIPPED = """
INSERT INTO shadow.step_skip (stage, minute, route, cause, count)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (stage, minute, route, cause) DO UPDATE SET count = step_skip.count + excluded.count
"""


async def add_skipped(conn: Connection, skipped: SkippedExchanges) -> None:
    """Add exchanges that were not compared."""
    await _add(conn, ADD_SKIPPED, [(*key, count) for key, count in sorted(skipped.items())])


async def _add(conn: Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Run a statement whose arguments are the columns of these rows, unless there are none."""
    if rows:
        await conn.execute(statement, *(list(column) for column in zip(*rows, strict=True)))


DELETE_OLD = (
    "DELETE FROM shadow.step_count WHERE minute < $1",
    "DELETE FROM shadow.step_hit WHERE minute < $1",
    "DELETE FROM shadow.step_skip WHERE minute < $1",
    "DELETE FROM shadow.step_block WHERE ends < $1",
)
DELETE_OLD_DURATIONS = "DELETE FROM shadow.step_duration WHERE minute < $1"


async def delete_old_step_evidence(conn: Connection, now: dt.datetime, before: dt.datetime) -> None:
    """Delete evidence from before a time, and durations older than DURATIONS_KEPT."""
    for statement in DELETE_OLD:
        await conn.execute(statement, before)
    await conn.execute(DELETE_OLD_DURATIONS, now - DURATIONS_KEPT)
