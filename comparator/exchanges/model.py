"""The values every part speaks of: an exchange, what each side did, and who that side was.

Pure. Bodies are the bytes as they crossed the wire (still content-encoded); header lists keep order, case and duplicates.
"""

from dataclasses import dataclass
from enum import StrEnum

from comparator.exchanges.row_changes import Transaction

HeaderList = tuple[tuple[str, str], ...]


class Side(StrEnum):
    """Whose implementation: the new scorer is the candidate."""

    CANDIDATE = "candidate"
    LEGACY = "legacy"

    # Equal to its text, so hashed like it; an enumeration's own hash is by name, and slow where every request counts by side.
    __hash__ = str.__hash__

    @property
    def other(self) -> "Side":
        """The side that mirrors when this one serves."""
        return Side.LEGACY if self is Side.CANDIDATE else Side.CANDIDATE


class Role(StrEnum):
    """What a side was for one exchange: it served the client, or it mirrored against the shadow database."""

    SERVED = "served"
    MIRRORED = "mirrored"


@dataclass(frozen=True, slots=True)
class Request:
    """What the client sent, as forwarded: `target` is path and query byte for byte (latin-1)."""

    method: str
    target: str
    headers: HeaderList
    body: bytes
    body_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """What a side answered."""

    status: int
    headers: HeaderList
    body: bytes
    body_truncated: bool = False


class FailureCause(StrEnum):
    """Why a side gave no response."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    PROTOCOL = "protocol"
    OVERLOAD = "overload"
    EJECTED = "ejected"


@dataclass(frozen=True, slots=True)
class Failed:
    """A side that gave no response: a value, never an exception in the client's path."""

    cause: FailureCause
    detail: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what the served side answered.

    `id` is the X-Request-Id and unique. `key` is the ordering key of the route (the address by default), "" for none.
    Times are Unix nanoseconds of the proxy's clock; `ended_ns` is when the response was complete.
    `overlapped`: another request with the same key was in flight at the proxy at some time between both.
    `skip` names the policy that keeps the exchange from being mirrored ("" = mirror it).
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


class EffectsOutcome(StrEnum):
    """How sure we are that the effects are those of this request, and complete.

    Only `attributed` effects are compared; the other outcomes are counted, never guessed.
    `overlapped`: another request with a common key ran at the same time. `ambiguous`: a transaction fits several open
    requests. `interfered`: a background write touched rows of this request inside its window. `off`: no capture.
    `lost`: the capture was interrupted inside the window.
    """

    ATTRIBUTED = "attributed"
    AMBIGUOUS = "ambiguous"
    INTERFERED = "interfered"
    OVERLAPPED = "overlapped"
    LOST = "lost"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Effects:
    """The committed transactions of one request on one side, in commit order."""

    outcome: EffectsOutcome
    transactions: tuple[Transaction, ...] = ()


NO_EFFECTS = Effects(EffectsOutcome.OFF)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one side did with one request."""

    side: Side
    role: Role
    outcome: Response | Failed
    duration_ns: int
    effects: Effects = NO_EFFECTS
