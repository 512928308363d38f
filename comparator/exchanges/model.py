"""Define an exchange (one request and its served response) and an observation (what one side did with the request).

Pure. Bodies are the bytes that crossed the wire, still content-encoded; header lists keep order, case and duplicates.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from comparator.exchanges.row_changes import Transaction
from comparator.exchanges.table_schema import Schemas, TableSchema

HeaderList = tuple[tuple[str, str], ...]
"""Pairs of field name and field value, decoded as latin-1."""


class Side(StrEnum):
    """An implementation of the service: the new one is the candidate."""

    CANDIDATE = "candidate"
    LEGACY = "legacy"

    # An enumeration's own hash is by name and slow; every request counts by side. Members equal their text, so hash as it does.
    __hash__ = str.__hash__

    @property
    def other(self) -> "Side":
        """The opposite side: it mirrors the request when this one serves."""
        return Side.LEGACY if self is Side.CANDIDATE else Side.CANDIDATE


class Role(StrEnum):
    """The part of a side in one exchange: it served the client, or it repeated the request on the shadow database."""

    SERVED = "served"
    MIRRORED = "mirrored"


@dataclass(frozen=True, slots=True)
class Request:
    """The client's request as it was forwarded; `target` is path and query byte for byte (latin-1)."""

    method: str
    target: str
    headers: HeaderList
    body: bytes
    body_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """The response of a side."""

    status: int
    headers: HeaderList
    body: bytes
    body_truncated: bool = False


class FailureCause(StrEnum):
    """The cause for which a side gave no response."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    PROTOCOL = "protocol"
    OVERLOAD = "overload"
    EJECTED = "ejected"


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome of a side that gave no response; a value rather than an exception, so that it can be journaled and compared."""

    cause: FailureCause
    detail: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the response that the client received.

    Attributes:
        id: X-Request-Id; unique.
        route: name of the route in the configuration.
        key: the route's ordering key (the address by default), "" for none.
        served_by: the side that served.
        stage: rollout stage in which it was served.
        started_ns: when the proxy received the request, in Unix nanoseconds of its clock.
        ended_ns: when the response was complete, in Unix nanoseconds.
        request: the request as forwarded.
        outcome: the served response, or the cause of its absence.
        overlapped: another request with the same key was in flight at the proxy between `started_ns` and `ended_ns`.
        skip: cause for which the exchange is not mirrored, the text of a `comparator.exchanges.skip.Skip`; "" for none.
        first_byte_us: microseconds from `started_ns` until the head of the response arrived; 0 if it is unknown or none came.
    """

    id: str
    route: str
    key: str
    served_by: Side
    stage: str
    started_ns: int
    ended_ns: int
    request: Request
    outcome: Response | Failed
    overlapped: bool = False
    skip: str = ""
    first_byte_us: int = 0


class EffectsOutcome(StrEnum):
    """Confidence that the captured effects are those of the request, and all of them. Only `attributed` effects are compared.

    Attributes:
        ATTRIBUTED: the effects are complete and belong to this request alone.
        AMBIGUOUS: a transaction matches several requests.
        INTERFERED: a background writer changed rows of this request while it ran.
        OVERLAPPED: another request with a common key ran at the same time.
        UNJOURNALED: a request that is in no journal may have made them: a process of the proxy was killed, or exchanges were lost.
        UNTAGGED: the side is configured to name the request in its transactions, and has named it in none.
        LOST: change data capture was interrupted while the request ran.
        OFF: there is no change data capture.
    """

    ATTRIBUTED = "attributed"
    AMBIGUOUS = "ambiguous"
    INTERFERED = "interfered"
    OVERLAPPED = "overlapped"
    UNJOURNALED = "unjournaled"
    UNTAGGED = "untagged"
    LOST = "lost"
    OFF = "off"


class LeftOutReason(StrEnum):
    """The reasons for which the rows of a table are not compared although those of others are; a closed set, as a metric's label needs.

    Attributes:
        SHARED: a row without a key was committed while several requests ran.
        OTHER_WRITER: such rows are also committed while no request runs.
        EMPTIED: the table was emptied (TRUNCATE) while the request ran, which names no request.
        UNKNOWN: an earlier version stored the table without a reason.
    """

    SHARED = "shared"
    OTHER_WRITER = "other_writer"
    EMPTIED = "emptied"
    UNKNOWN = "unknown"

    @property
    def text(self) -> str:
        """The reason in words."""
        return _LEFT_OUT_TEXT[self]


_LEFT_OUT_TEXT = {
    LeftOutReason.SHARED: "its rows carry no key, and several requests ran when one was committed",
    LeftOutReason.OTHER_WRITER: "its rows carry no key, and are also committed while no request runs",
    LeftOutReason.EMPTIED: "it was emptied, by this request or by another writer",
    LeftOutReason.UNKNOWN: "its rows may be another request's",
}

StoredLeftOut = dict[str, LeftOutReason] | tuple[str, ...]
"""Tables that were left out, as they are stored: with the reasons, or in the form of earlier versions, the tables alone."""


def reasons_of(stored: StoredLeftOut) -> Mapping[str, LeftOutReason]:
    """Return the tables that were left out with their reasons, in whichever form they were stored."""
    return stored if isinstance(stored, dict) else dict.fromkeys(stored, LeftOutReason.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Effects:
    """The committed effects of one request on one side.

    Attributes:
        outcome: confidence that they are complete and belong to this request alone.
        transactions: committed transactions, in commit order.
        schemas: schemas of the captured tables in the database that they were committed to.
        left_out: tables of which rows may be this request's or another's, with the reason; they are not compared, on either side.
    """

    outcome: EffectsOutcome
    transactions: tuple[Transaction, ...] = ()
    schemas: Schemas = field(default_factory=dict[str, TableSchema])
    left_out: Mapping[str, LeftOutReason] = field(default_factory=dict[str, LeftOutReason])

    def without(self, tables: Collection[str]) -> "Effects":
        """Return the effects without the rows of these tables."""
        transactions = tuple(
            replace(transaction, changes=tuple(change for change in transaction.changes if change.table not in tables))
            for transaction in self.transactions
        )
        return replace(self, transactions=tuple(t for t in transactions if t.changes), left_out={})


NO_EFFECTS = Effects(EffectsOutcome.OFF)


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of one request on one side.

    Attributes:
        side: the side.
        role: its part in the exchange.
        outcome: its response, or the cause of its absence.
        duration_ns: time until the response was complete.
        effects: its committed row changes.
        started_ns: when it was given the request, in Unix nanoseconds; 0 if that is unknown.
    """

    side: Side
    role: Role
    outcome: Response | Failed
    duration_ns: int
    effects: Effects = NO_EFFECTS
    started_ns: int = 0
