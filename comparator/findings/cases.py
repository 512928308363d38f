"""Define the file format of a case: one compared exchange with the observations of both sides. Pure.

A finding's examples are stored and exported as cases, and `shadow compare` compares them again. A case is one JSON object; bodies are text if
they are UTF-8, else base64. `version` is 1.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from comparator.errors import CaseError
from comparator.exchanges.model import (
    Effects,
    EffectsOutcome,
    Exchange,
    Failed,
    FailureCause,
    HeaderList,
    LeftOutReason,
    Observation,
    Request,
    Response,
    Role,
    Side,
    StoredLeftOut,
    reasons_of,
)
from comparator.exchanges.row_changes import LogicalMessage, Op, Row, RowChange, Transaction
from comparator.exchanges.table_schema import NO_SCHEMA, TableSchema

if TYPE_CHECKING:
    from comparator.findings.redaction import Redactor

VERSION: Final = 1


class CaseBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A body: `text` if it is UTF-8, else `base64`; `truncated` if only its beginning was recorded."""

    text: str | None = None
    base64: str | None = None
    truncated: bool = False


class CaseRequest(msgspec.Struct, frozen=True):
    """The client's request."""

    method: str
    target: str
    headers: HeaderList
    body: CaseBody


class CaseResponse(msgspec.Struct, frozen=True):
    """The response of a side."""

    status: int
    headers: HeaderList
    body: CaseBody


class CaseFailure(msgspec.Struct, frozen=True):
    """The cause for which a side gave no response."""

    cause: FailureCause
    detail: str


class CaseChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row change."""

    table: str
    op: Op
    before: dict[str, str | None] | None = None
    after: dict[str, str | None] | None = None


class CaseTransaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One committed transaction."""

    changes: tuple[CaseChange, ...]
    xid: int = 0
    commit_lsn: int = 0
    end_lsn: int = 0
    committed_us: int = 0
    messages: tuple[tuple[str, str], ...] = ()
    application: str = ""


class CaseSide(msgspec.Struct, frozen=True, omit_defaults=True):
    """The observation of one side: `response` or `failure`, and its effects with the schemas of the changed tables.

    `started_ns` is when it was given the request, in Unix nanoseconds; 0 for the serving side, which began with the exchange, and if it
    is unknown.
    """

    side: Side
    duration_ns: int
    effects_outcome: EffectsOutcome
    transactions: tuple[CaseTransaction, ...] = ()
    schemas: dict[str, TableSchema] = {}
    response: CaseResponse | None = None
    failure: CaseFailure | None = None
    stored_left_out: StoredLeftOut = msgspec.field(default={}, name="left_out")
    started_ns: int = 0

    @property
    def left_out(self) -> Mapping[str, LeftOutReason]:
        """The tables of which rows may be another request's, each with the reason."""
        return reasons_of(self.stored_left_out)


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exchange with the observations of both sides.

    Attributes:
        version: version of the format.
        route: name of the route.
        exchange: id of the exchange.
        key: ordering key, redacted; "" for none.
        stage: rollout stage in which it was served.
        started_ns: start of the exchange in Unix nanoseconds.
        request: the client's request.
        served: observation of the serving side.
        mirrored: observation of the mirrored side.
        before: by table, the rows that either side changed, as they were before the request.
        finding: id of the finding of which this is an example, "" for none.
    """

    version: int = VERSION
    route: str
    exchange: str
    key: str = ""
    stage: str = ""
    started_ns: int = 0
    request: CaseRequest
    served: CaseSide
    mirrored: CaseSide
    before: dict[str, list[dict[str, str | None]]] = msgspec.field(
        default_factory=dict[str, list[dict[str, str | None]]]
    )
    finding: str = ""


@dataclass(frozen=True, slots=True)
class OpenedCase:
    """A case as values that can be compared."""

    route: str
    exchange: Exchange
    served: Observation
    mirrored: Observation


def case_of(
    exchange: Exchange, served: Observation, mirrored: Observation, redactor: "Redactor", *, finding: str = ""
) -> Case:
    """Make a redacted case of one compared exchange.

    Args:
        exchange: the exchange.
        served: observation of the serving side.
        mirrored: observation of the mirrored side.
        redactor: removes secrets.
        finding: id of the finding of which it is an example, "" for none.
    """
    sides = [_side_of(served, redactor), _side_of(mirrored, redactor)]
    request = redactor.request(exchange.request)
    return Case(
        route=exchange.route,
        exchange=exchange.id,
        key=redactor.value(exchange.key) if exchange.key else "",
        stage=exchange.stage,
        started_ns=exchange.started_ns,
        request=CaseRequest(
            request.method, request.target, request.headers, _body_of(request.body, cut=request.body_truncated)
        ),
        served=sides[0],
        mirrored=sides[1],
        before=_before_of(sides),
        finding=finding,
    )


def _body_of(body: bytes, *, cut: bool) -> CaseBody:
    try:
        return CaseBody(text=body.decode(), truncated=cut)
    except UnicodeDecodeError:
        return CaseBody(base64=base64.b64encode(body).decode(), truncated=cut)


def _side_of(observation: Observation, redactor: "Redactor") -> CaseSide:
    outcome = observation.outcome
    changed = {change.table for transaction in observation.effects.transactions for change in transaction.changes}
    response, failure = None, None
    if isinstance(outcome, Response):
        clean = redactor.response(outcome)
        response = CaseResponse(clean.status, clean.headers, _body_of(clean.body, cut=clean.body_truncated))
    else:
        failure = CaseFailure(outcome.cause, outcome.detail)
    return CaseSide(
        observation.side,
        observation.duration_ns,
        observation.effects.outcome,
        tuple(_transaction_of(redactor.transaction(t)) for t in observation.effects.transactions),
        {table: schema for table, schema in observation.effects.schemas.items() if table in changed},
        response,
        failure,
        dict(sorted(observation.effects.left_out.items())),
        observation.started_ns if observation.role is Role.MIRRORED else 0,
    )


def _transaction_of(transaction: Transaction) -> CaseTransaction:
    return CaseTransaction(
        tuple(CaseChange(c.table, c.op, _plain(c.before), _plain(c.after)) for c in transaction.changes),
        transaction.xid,
        transaction.commit_lsn,
        transaction.end_lsn,
        transaction.committed_us,
        tuple((m.prefix, m.content) for m in transaction.messages),
        transaction.application,
    )


def _plain(row: Row | None) -> dict[str, str | None] | None:
    return None if row is None else dict(row)


def _before_of(sides: Sequence[CaseSide]) -> dict[str, list[dict[str, str | None]]]:
    """Return the first image before of every row that either side changed, each once."""
    rows: dict[str, list[dict[str, str | None]]] = {}
    for side in sides:
        changed: set[tuple[str, tuple[str | None, ...]]] = set()
        for change in (c for t in side.transactions for c in t.changes):
            primary_key = side.schemas.get(change.table, NO_SCHEMA).primary_key
            row = change.after or change.before or {}
            identity = (change.table, tuple(row.get(column) for column in primary_key or sorted(row)))
            if change.before is None:
                changed.add(identity)
            elif identity not in changed and change.before not in rows.setdefault(change.table, []):
                rows[change.table].append(change.before)
            changed.add(identity)
    return {table: images for table, images in rows.items() if images}


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Case)


def dump(case: Case) -> bytes:
    """Write a case as JSON."""
    return _encoder.encode(case)


def load(text: bytes) -> Case:
    """Parse a case.

    Raises:
        CaseError: the text is not a case, or one of another version.
    """
    try:
        case = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CaseError(f"not a case: {error}") from error
    if case.version != VERSION:
        raise CaseError(f"version {case.version} of the case format is not supported (supported: {VERSION})")
    return case


def open_case(case: Case) -> OpenedCase:
    """Convert a case into values that can be compared.

    Raises:
        CaseError: a body is not base64, or a side has neither response nor failure.
    """
    served = replace(_observation(case.served, Role.SERVED), started_ns=case.started_ns)
    exchange = Exchange(
        id=case.exchange,
        route=case.route,
        key=case.key,
        served_by=case.served.side,
        stage=case.stage,
        started_ns=case.started_ns,
        ended_ns=case.started_ns + case.served.duration_ns,
        request=Request(
            case.request.method,
            case.request.target,
            case.request.headers,
            _bytes(case.request.body),
            case.request.body.truncated,
        ),
        outcome=served.outcome,
    )
    return OpenedCase(case.route, exchange, served, _observation(case.mirrored, Role.MIRRORED))


def _bytes(body: CaseBody) -> bytes:
    if body.base64 is None:
        return (body.text or "").encode()
    try:
        return base64.b64decode(body.base64, validate=True)
    except binascii.Error as error:
        raise CaseError(f"a body is not base64: {error}") from error


def _observation(side: CaseSide, role: Role) -> Observation:
    if side.response is not None:
        outcome: Response | Failed = Response(
            side.response.status, side.response.headers, _bytes(side.response.body), side.response.body.truncated
        )
    elif side.failure is not None:
        outcome = Failed(side.failure.cause, side.failure.detail)
    else:
        raise CaseError(f"the {role} side has neither response nor failure")
    transactions = tuple(map(_transaction, side.transactions))
    effects = Effects(side.effects_outcome, transactions, side.schemas, side.left_out)
    return Observation(side.side, role, outcome, side.duration_ns, effects, side.started_ns)


def _transaction(case: CaseTransaction) -> Transaction:
    return Transaction(
        case.xid,
        case.commit_lsn,
        case.end_lsn,
        case.committed_us,
        tuple(RowChange(c.table, c.op, c.before, c.after) for c in case.changes),
        tuple(LogicalMessage(prefix, content) for prefix, content in case.messages),
        case.application,
    )
