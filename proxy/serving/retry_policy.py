"""Whether a request that got no response is sent once more, and where to. Pure."""

from dataclasses import dataclass
from enum import Enum, auto


class RetryDecision(Enum):
    """Where a request is sent once more."""

    SAME_SIDE = auto()
    OTHER_SIDE = auto()


@dataclass(frozen=True, slots=True)
class LostResponse:
    """A request that got no response, and of which the client has seen nothing.

    Attributes:
        whole: everything of it is still here to be sent again, and somebody waits for it.
        safe: its method may be repeated (RFC 9110 section 9.2.1).
        stale: it was sent on a kept connection, which was closed before a byte of a response. Not where its time was over: a backend
            that hangs would have twice the load, and its client twice the wait.
        in_time: its total time is not over.
        retried, fell_back: what was done before.
    """

    whole: bool
    safe: bool
    stale: bool
    in_time: bool
    retried: bool
    fell_back: bool


def retry_decision(lost: LostResponse, *, retries: bool, fall_back: bool) -> RetryDecision | None:
    """The same side once, where a stale connection was to blame; then the other side once, where settings allow it."""
    if not lost.whole or not lost.safe:
        return None
    if lost.stale and not lost.retried and retries:
        return RetryDecision.SAME_SIDE
    return RetryDecision.OTHER_SIDE if fall_back and not lost.fell_back and lost.in_time else None
