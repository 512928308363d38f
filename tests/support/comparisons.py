"""Builders of observations, exchanges and comparisons with valid defaults."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.difference import Difference
from comparator.exchanges.model import (
    Effects,
    EffectsOutcome,
    Exchange,
    HeaderList,
    Observation,
    Request,
    Response,
    Role,
    Side,
)
from comparator.exchanges.release import NO_RELEASE, ReleasePair
from comparator.exchanges.row_changes import Op, RowChange, Transaction
from comparator.findings.cases import case_of
from comparator.findings.clustering import Clusterer
from comparator.findings.redaction import Redactor, keyed_digest
from comparator.settings import CompareSettings, KnownDifference, KnownPlace, RuleSettings
from comparator.store.comparison_detail import ComparedExchange
from comparator.tables import Table
from comparator.verdict import Comparator
from tests.support.schemas import LEGACY_SCHEMAS, with_id

NOW = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)
JSON_TYPE: HeaderList = (("Content-Type", "application/json; charset=utf-8"),)
TIME_RULE = RuleSettings(
    path="last_score_timestamp", time_within_ms=60_000, reason="each side writes its own current time"
)


def body_of(document: object) -> bytes:
    """Encode JSON as the legacy does."""
    return json.dumps(document).encode()


def response(
    document: object = None, *, status: int = 200, headers: HeaderList = JSON_TYPE, body: bytes | None = None
) -> Response:
    """Return a response with a JSON body, or with these bytes."""
    return Response(status, headers, body_of(document) if body is None else body)


def effects(*changes: RowChange) -> Effects:
    """Return attributed effects of one transaction."""
    schemas = {change.table: LEGACY_SCHEMAS.get(change.table) or with_id(data="jsonb") for change in changes}
    return Effects(EffectsOutcome.ATTRIBUTED, (Transaction(1, 1, 1, 1, changes),) if changes else (), schemas)


def served(
    outcome: Response, committed: Effects | None = None, *, side: Side = Side.CANDIDATE, us: int = 1000
) -> Observation:
    """Return an observation of the serving side."""
    return Observation(side, Role.SERVED, outcome, us * 1000, committed or effects())


def mirrored(
    outcome: Response, committed: Effects | None = None, *, side: Side = Side.LEGACY, us: int = 1000
) -> Observation:
    """Return an observation of the mirrored side."""
    return Observation(side, Role.MIRRORED, outcome, us * 1000, committed or effects())


def insert(table: str, **row: object) -> RowChange:
    """Return an inserted row; values become PostgreSQL's text."""
    return RowChange(table, Op.INSERT, None, text_row(row))


def update(table: str, before: dict[str, object], **changed: object) -> RowChange:
    """Return an updated row."""
    return RowChange(table, Op.UPDATE, text_row(before), text_row({**before, **changed}))


def delete(table: str, **row: object) -> RowChange:
    """Return a deleted row."""
    return RowChange(table, Op.DELETE, text_row(row), None)


def text_row(row: dict[str, object]) -> dict[str, str | None]:
    """Convert a row into an image as in the write-ahead log."""
    return {column: _text(value) for column, value in row.items()}


def _text(value: object) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "t" if value else "f"
        case dict() | list():
            return json.dumps(value)
        case _:
            return str(value)


def exchange_with(
    identity: str,
    *differences: Difference,
    route: str = "v2_score",
    at: dt.datetime = NOW,
    key: int | None = 1,
    release: ReleasePair = NO_RELEASE,
    tables: Mapping[str, Table] | None = None,
) -> ComparedExchange:
    """Return a comparison with these differences, which the candidate served; a match if there are none."""
    rows, responses = any(d.table for d in differences), any(not d.table for d in differences)
    cause = {(False, False): None, (True, False): "effects", (False, True): "response"}.get(
        (rows, responses), "response_and_effects"
    )
    comparison = Comparison(
        Verdict.MISMATCH if differences else Verdict.MATCH,
        VerdictCause(cause) if cause else None,
        Side.CANDIDATE,
        differences,
        effects_compared=True,
        rows=(2, 2),
    )
    one, a, b = exchange(identity, route=route, at=at), served(response({})), mirrored(response({}))
    return ComparedExchange(
        exchange=one,
        served=a,
        mirrored=b,
        comparison=comparison,
        compared_at=at + dt.timedelta(seconds=1),
        key_digest=key,
        occurrences=Clusterer(tables=tables or {}).occurrences(route, comparison),
        case=case_of(one, a, b, Redactor((), keyed_digest(b"salt"))),
        release=release,
    )


def exchange(identity: str = "x1", *, route: str = "v2_score", at: dt.datetime = NOW, key: str = "0xabc") -> Exchange:
    """Return an exchange that the candidate served."""
    started_ns = int(at.timestamp()) * 1_000_000_000
    return Exchange(
        id=identity,
        route=route,
        key=key,
        served_by=Side.CANDIDATE,
        stage="candidate_100",
        started_ns=started_ns,
        ended_ns=started_ns + 1_000_000,
        request=Request("GET", "/v2/stamps/1/score/0xabc", (("X-API-Key", "secret"),), b""),
        outcome=response({}),
    )


def _compared(
    identity: str,
    route: str,
    served_score: str,
    mirrored_score: str,
    at: dt.datetime,
    key: int,
    us: Sequence[int],
    *,
    known: bool,
) -> ComparedExchange:
    declared = (
        (KnownDifference(name="rounding", where=(KnownPlace(path="score"),), reason="rounding", ticket="T-1"),)
        if known
        else ()
    )
    comparator = Comparator(CompareSettings(rules=(TIME_RULE,), known_differences=declared))
    a = served(response({"score": served_score, "last_score_timestamp": "2026-03-04T12:00:00+00:00"}), us=us[0])
    b = mirrored(response({"score": mirrored_score, "last_score_timestamp": "2026-03-04T12:00:01+00:00"}), us=us[1])
    comparison = comparator.compare(route, a, b, now=NOW)
    one = exchange(identity, route=route, at=at)
    return ComparedExchange(
        exchange=one,
        served=a,
        mirrored=b,
        comparison=comparison,
        compared_at=at + dt.timedelta(seconds=1),
        key_digest=key,
        occurrences=Clusterer().occurrences(route, comparison),
        case=case_of(one, a, b, Redactor(("x-api-key",), keyed_digest(b"salt"))),
    )


def compared(
    identity: str,
    *,
    route: str = "v2_score",
    at: dt.datetime = NOW,
    key: int = 1,
    served_us: int = 1000,
    mirrored_us: int = 2000,
) -> ComparedExchange:
    """Return a comparison that matched by a rule."""
    return _compared(identity, route, "1.00000", "1.00000", at, key, (served_us, mirrored_us), known=False)


def mismatch(
    identity: str, *, route: str = "v2_score", at: dt.datetime = NOW, key: int = 1, known: bool = False
) -> ComparedExchange:
    """Return a comparison in which the score differs."""
    return _compared(identity, route, "1.00000", "2.00000", at, key, (1000, 2000), known=known)
