"""Which exchanges of a route are journaled when only some are wanted: by method, status, size, time taken, and until when. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from proxy.errors import SettingsError

StatusPattern = Annotated[str, Meta(pattern="^[1-5](xx|[0-9]{2})$")]


class Only(StrEnum):
    """`all`: the rule decides what is journaled. `mismatches`: what is kept of the exchanges that were found to differ."""

    ALL = "all"
    MISMATCHES = "mismatches"


class CaptureRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What an exchange has to be to be journaled; what is left out does not matter. A route's `sample` holds besides.

    Attributes:
        only: with `mismatches` the route is journaled as without a rule, and of the exchanges that the runner finds to differ those
            that the rule wants are copied to `journal.captures`, where they stay longer.
        methods: one of these.
        statuses: one of these: `404`, or `5xx` for all of a hundred.
        duration_ms_min: from the request's head to the end of its reply.
        reply_bytes_min, reply_bytes_max: of the reply's body as sent, up to `journal.body_max_bytes`; 0 is no limit.
        until_count: this many in each worker process since it began (with `mismatches`: in the runner); 0 is no limit.
        until: an ISO 8601 time after which nothing is taken; "" is never.
    """

    only: Only = Only.ALL
    methods: tuple[str, ...] = ()
    statuses: tuple[StatusPattern, ...] = ()
    duration_ms_min: Annotated[float, Meta(ge=0)] = 0.0
    reply_bytes_min: Annotated[int, Meta(ge=0)] = 0
    reply_bytes_max: Annotated[int, Meta(ge=0)] = 0
    until_count: Annotated[int, Meta(ge=0)] = 0
    until: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A rule, made ready. `until_ns` is Unix nanoseconds, None for never."""

    rule: CaptureRule
    statuses: frozenset[str]
    until_ns: int | None


@dataclass(frozen=True, slots=True)
class Served:
    """What is asked of an exchange. `taken` is how many were taken before by this rule."""

    method: str
    status: int
    duration_ms: float
    reply_bytes: int
    ended_ns: int
    taken: int


def compile_rule(rule: CaptureRule, place: str) -> Wanted:
    """Make a rule ready.

    Raises:
        SettingsError: `until` is no time.
    """
    try:
        until = datetime.fromisoformat(rule.until) if rule.until else None
    except ValueError as error:
        raise SettingsError(f"{rule.until!r} is no ISO 8601 time - at `{place}.until`") from error
    if until is None:
        return Wanted(rule, frozenset(rule.statuses), None)
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return Wanted(rule, frozenset(rule.statuses), round(aware.timestamp() * 1e9))


def takes(wanted: Wanted, served: Served) -> bool:
    """Whether this exchange is journaled."""
    rule, status = wanted.rule, str(served.status)
    return (
        (not rule.methods or served.method in rule.methods)
        and (not wanted.statuses or status in wanted.statuses or f"{status[0]}xx" in wanted.statuses)
        and served.duration_ms >= rule.duration_ms_min
        and served.reply_bytes >= rule.reply_bytes_min
        and (not rule.reply_bytes_max or served.reply_bytes <= rule.reply_bytes_max)
        and (not rule.until_count or served.taken < rule.until_count)
        and (wanted.until_ns is None or served.ended_ns < wanted.until_ns)
    )
