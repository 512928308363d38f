"""Decide whether a request that got no response is sent once more, and to which side. Pure."""

from dataclasses import dataclass
from enum import Enum, auto


class RetryDecision(Enum):
    """The side that a request is sent to once more."""

    SAME_SIDE = auto()
    OTHER_SIDE = auto()


@dataclass(frozen=True, slots=True)
class LostResponse:
    """A request that got no response, and of which the client has received nothing.

    Attributes:
        replayable: all of it is still here to be sent again, and the client still waits.
        safe: its method is safe (RFC 9110 section 9.2.1).
        stale: it was sent on a kept connection that was closed before the first byte of a response. Not if it timed out: a backend
            that hangs would get twice the load, and the client would wait twice as long.
        in_time: its total time is not over.
        retried: it was already sent to the same side again.
        fell_back: it was already sent to the other side.
    """

    replayable: bool
    safe: bool
    stale: bool
    in_time: bool
    retried: bool
    fell_back: bool


def retry_decision(lost: LostResponse, *, retries: bool, fall_back: bool) -> RetryDecision | None:
    """Return the side to send the request to: the same once after a stale connection, then the other once; None for neither.

    Args:
        lost: the request.
        retries: whether the settings of the backend allow a retry.
        fall_back: whether `serve.fall_back` allows the other side.
    """
    if not lost.replayable or not lost.safe:
        return None
    if lost.stale and not lost.retried and retries:
        return RetryDecision.SAME_SIDE
    return RetryDecision.OTHER_SIDE if fall_back and not lost.fell_back and lost.in_time else None
