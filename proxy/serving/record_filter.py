"""Which exchanges of a route are journaled when only some are wanted: by method, status, size, time taken, and until when. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.config.routes import RecordIf
from proxy.errors import SettingsError


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """A rule, made ready. `until_ns` is Unix nanoseconds, None for never."""

    rule: RecordIf
    statuses: frozenset[str]
    until_ns: int | None


@dataclass(frozen=True, slots=True)
class RecordCandidate:
    """What is asked of an exchange. `taken` is how many were taken before by this rule."""

    method: str
    status: int
    duration_ms: float
    response_bytes: int
    ended_ns: int
    taken: int


def compile_rule(rule: RecordIf, place: str) -> RecordFilter:
    """Make a rule ready.

    Raises:
        SettingsError: `until` is no time.
    """
    try:
        until = datetime.fromisoformat(rule.until) if rule.until else None
    except ValueError as error:
        raise SettingsError(f"{place}.until: `{rule.until}` is not an ISO 8601 time") from error
    if until is None:
        return RecordFilter(rule, frozenset(rule.statuses), None)
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return RecordFilter(rule, frozenset(rule.statuses), round(aware.timestamp() * 1e9))


def selects(wanted: RecordFilter, served: RecordCandidate) -> bool:
    """Whether this exchange is journaled."""
    rule, status = wanted.rule, str(served.status)
    return (
        (not rule.methods or served.method in rule.methods)
        and (not wanted.statuses or status in wanted.statuses or f"{status[0]}xx" in wanted.statuses)
        and served.duration_ms >= rule.duration_ms_min
        and served.response_bytes >= rule.response_bytes_min
        and (not rule.response_bytes_max or served.response_bytes <= rule.response_bytes_max)
        and (not rule.until_count or served.taken < rule.until_count)
        and (wanted.until_ns is None or served.ended_ns < wanted.until_ns)
    )
