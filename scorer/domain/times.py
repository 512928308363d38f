"""Dates and times in credentials and queries."""

from datetime import UTC, datetime


def parse_moment(text: str) -> datetime | None:
    """Parse an ISO 8601 date or date-time, in UTC without an offset; None for any other text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
