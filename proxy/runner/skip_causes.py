"""Causes for which the runner does not mirror or compare an exchange. Pure. Their texts are labels of `shadow_skipped_total`."""

from enum import StrEnum
from typing import TypeAlias

from comparator.exchanges.model import EffectsOutcome, Exchange
from comparator.exchanges.skip import Skip


class RunnerSkip(StrEnum):
    """Causes that only the runner finds; those of the proxy's policies are in `Skip`."""

    # Found when the exchange is read.
    OTHER_SLICE = "other_slice"
    """Its key belongs to another slice (`runner.slices`), whose runner mirrors and counts it."""
    SERVED_FAILED = "served_failed"
    """The served side gave no response."""
    TRUNCATED_REQUEST = "truncated_request"
    """The journal has only the beginning of the request's body."""
    NO_SHADOW_INSTANCE = "no_shadow_instance"
    """The other side has no instance that is wired to the shadow."""
    NO_KEY = "no_key"
    """A request that writes, on a route without an ordering key that is not declared `safe`: no row can be attributed to it."""
    UNCAPTURED_WRITE = "uncaptured_write"
    """A request that writes, while row changes are not captured: values that each side generates would differ in every response."""
    REDACTED = "redacted"
    """A secret of the request is gone, so the other side would refuse it."""
    SLOW = "slow"
    """It took longer than `claim_wait_ms`: its changes may have been released as background."""
    LATE = "late"
    """It was read so late that its changes may have been released as background."""
    CLOCK = "clock"
    """By its proxy's clock it ended later than the database's clock says now: rows cannot be attributed by time."""
    DUPLICATE_ID = "duplicate_id"
    """An earlier exchange has the same id."""
    REPEATED = "repeated"
    """It was read again after a restart, and may have had its outcome before."""
    UNKNOWN_POLICY = "unknown_policy"
    """A newer proxy skipped it for a cause that this version does not know."""

    # Found when the rows of the served side are attributed; as `EffectsOutcome` has them.
    AMBIGUOUS = "ambiguous"
    INTERFERED = "interfered"
    OVERLAPPED = "overlapped"
    UNJOURNALED = "unjournaled"
    """A request that is not in the journal may have written its rows: a process of the proxy was killed, or exchanges were lost."""
    UNTAGGED = "untagged"
    """The side is in `runner.tagged_sides`, and did not name the request in its transactions."""
    LOST = "lost"

    # Found when it is its turn: the shadow is not in the state that the served side started from.
    SCHEMA_DIFFERS = "schema_differs"
    """It has to do with a table that live and shadow define differently, or did while it ran."""
    NOT_CAPTURABLE = "not_capturable"
    """Its route lists a table of which not every change is captured (`routes[].tables`)."""
    NEEDS_CLONE = "needs_clone"
    """The shadow contradicts live as a whole."""
    NOT_CAPTURED = "not_captured"
    """It began before both databases were captured, or before the last resync."""
    UNSETTLED = "unsettled"
    """An earlier mirrored request on its keys gave no response, and its late writes are not taken back yet."""
    REPAIRED = "repaired"
    """Its rows were copied from live, which may be ahead, after it began."""
    DRIFTED = "drifted"
    """Rows of its keys differ on the shadow, for a reason of their own, and are not mended yet."""
    OVERLOAD = "overload"
    """Too much waits for the shadow."""
    CAPTURE_LOST = "capture_lost"
    """The capture of the shadow was interrupted while it ran."""
    INTERNAL = "internal"
    """A defect of the runner; the log has the traceback."""


SkipCause: TypeAlias = Skip | RunnerSkip


def policy_of(exchange: Exchange) -> SkipCause | None:
    """Return the cause for which the proxy keeps this exchange from being mirrored; None when it does not."""
    if not exchange.skip:
        return None
    try:
        return Skip(exchange.skip)
    except ValueError:
        return RunnerSkip.UNKNOWN_POLICY


def attribution_skip(outcome: EffectsOutcome) -> RunnerSkip | None:
    """Return the cause that an attribution gives; None when the exchange can be compared: by rows, or (`off`) by its response."""
    return None if outcome in (EffectsOutcome.ATTRIBUTED, EffectsOutcome.OFF) else RunnerSkip(outcome.value)
