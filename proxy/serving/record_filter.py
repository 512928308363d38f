"""Select the exchanges of a route that are journaled: by method, status, size, duration, and until a count or a time. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.config.routes import RecordIf
from proxy.errors import SettingsError


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """A compiled `record_if`.

    Attributes:
        until_ns: Unix time after which nothing is selected, None for no limit.
    """

    conditions: RecordIf
    statuses: frozenset[str]
    until_ns: int | None


@dataclass(frozen=True, slots=True)
class RecordCandidate:
    """The properties of an exchange that a filter looks at.

    Attributes:
        ended_ns: Unix time.
        recorded: how many exchanges the filter has selected before.
    """

    method: str
    status: int
    duration_ms: float
    response_bytes: int
    ended_ns: int
    recorded: int


def compile_filter(conditions: RecordIf, location: str) -> RecordFilter:
    """Compile a filter.

    Args:
        conditions: section `record_if` of a route.
        location: of the section in config.yaml, for errors.

    Raises:
        SettingsError: `until` is not a time.
    """
    try:
        until = datetime.fromisoformat(conditions.until) if conditions.until else None
    except ValueError as error:
        raise SettingsError(f"{location}.until: `{conditions.until}` is not an ISO 8601 time") from error
    if until is None:
        return RecordFilter(conditions, frozenset(conditions.statuses), None)
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return RecordFilter(conditions, frozenset(conditions.statuses), round(aware.timestamp() * 1e9))


def selects(record_filter: RecordFilter, candidate: RecordCandidate) -> bool:
    """Return whether an exchange satisfies all conditions of a filter."""
    conditions, status = record_filter.conditions, str(candidate.status)
    return (
        (not conditions.methods or candidate.method in conditions.methods)
        and (
            not record_filter.statuses or status in record_filter.statuses or f"{status[0]}xx" in record_filter.statuses
        )
        and candidate.duration_ms >= conditions.duration_ms_min
        and candidate.response_bytes >= conditions.response_bytes_min
        and (not conditions.response_bytes_max or candidate.response_bytes <= conditions.response_bytes_max)
        and (not conditions.until_count or candidate.recorded < conditions.until_count)
        and (record_filter.until_ns is None or candidate.ended_ns < record_filter.until_ns)
    )
