"""Dates and times in credentials and queries.

Django parses them in the legacy: with `datetime.fromisoformat` first, then with a pattern of its own that forgives single digits
("2024-1-1 7:05") and a comma before the fraction. Both ways are here.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

_DATE_TIME = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"[T ](?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:[.,](?P<microsecond>\d{1,6})\d{0,6})?)?"
    r"\s*(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?$"
)
_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})$")


def parse_moment(text: str, *, date_pattern: bool = False) -> datetime | None:
    """Parse an ISO 8601 date or date-time, in UTC without an offset; None for any other text.

    Args:
        text: as sent by the client; surrounding blanks are not removed here.
        date_pattern: also accept a date with single digits ("2024-1-1"), as date columns do.
    """
    try:
        moment = _parse(text, date_pattern=date_pattern)
    except (ValueError, OverflowError):
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _parse(text: str, *, date_pattern: bool) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        match = _DATE_TIME.match(text) or (_DATE.match(text) if date_pattern else None)
    if match is None:
        return None
    parts = match.groupdict()
    zone = parts.pop("zone", None)
    fraction = parts.pop("microsecond", None)
    numbers = {name: int(digits) for name, digits in parts.items() if digits is not None}
    return datetime(**numbers, microsecond=int((fraction or "0").ljust(6, "0")), tzinfo=_zone(zone))


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return UTC
    minutes = 60 * int(text[1:3]) + (int(text[-2:]) if len(text) > 3 else 0)
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
