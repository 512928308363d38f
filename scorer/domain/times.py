"""Dates and times as texts of credentials and queries."""

from datetime import UTC, datetime


def parse_moment(text: str) -> datetime | None:
    """An ISO 8601 date or date-time; without an offset it is UTC. None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
