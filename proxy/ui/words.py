"""Write numbers, times and shares as the screens show them; all are filters of the templates. Pure.

2182 -> 2,182    0.1235 -> 12.35 %    2026-11-30T04:02:18Z -> 04:02:18    84 s -> 1 min 24 s
"""

import datetime as dt
import math
from typing import Final

import msgspec

MINUS: Final = "\u2212"
NO_VALUE: Final = "\u2013"
TEXT_MAX: Final = 2_000


def number(value: float | None) -> str:
    """Write a count with commas; a dash for none."""
    return NO_VALUE if value is None else f"{value:,.0f}".replace("-", MINUS)


def percent(share: float | None, digits: int = 2) -> str:
    """Write a share, 0 to 1, in percent; a dash for none."""
    if share is None or math.isnan(share):
        return NO_VALUE
    return f"{share * 100:.{digits}f} %".replace("-", MINUS)


def plain_percent(value: float) -> str:
    """Write a figure that is in percent already: 25 -> 25 %, 0.5 -> 0.5 %."""
    return f"{value:g} %"


def milliseconds(value: float | None) -> str:
    """Write a duration in milliseconds, with one decimal below a thousand; without the unit."""
    if value is None or math.isnan(value):
        return NO_VALUE
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Write a duration: 43 s, 1 min 24 s, 2 h 5 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 86_400:
        return _two(whole // 3_600, "h", whole % 3_600 // 60, "min")
    return _two(whole // 86_400, "d", whole % 86_400 // 3_600, "h")


def _two(first: int, unit: str, rest: int, smaller: str) -> str:
    return f"{first} {unit} {rest} {smaller}" if rest else f"{first} {unit}"


def clock(at: dt.datetime | None, now: dt.datetime | None = None) -> str:
    """Write a time in UTC with seconds; with the date in front where it is not that of `now`."""
    if at is None:
        return NO_VALUE
    utc = at.astimezone(dt.UTC)
    same_day = now is None or utc.date() == now.astimezone(dt.UTC).date()
    return f"{utc:%H:%M:%S}" if same_day else f"{utc:%Y-%m-%d %H:%M:%S}"


def ago(at: dt.datetime | None, now: dt.datetime) -> str:
    """Write how long ago a time was: 6 s ago."""
    return NO_VALUE if at is None else f"{rough_duration((now - at).total_seconds())} ago"


def rough_duration(seconds: float) -> str:
    """Write a duration in its largest unit, rounded down, as an age or an estimate needs no second one: 8 min, 3 d."""
    unit = next((unit for unit in (86_400, 3_600, 60) if seconds >= unit), 1)
    return duration(max(0.0, seconds // unit * unit))


def parsed_time(text: str | None) -> dt.datetime | None:
    """Parse a time in ISO 8601, as the proxies write it; None for none or another form."""
    try:
        at = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def shortened_id(identity: str, head: int = 8, tail: int = 4) -> str:
    """Shorten an id in its middle: c38cdd93…027f."""
    return identity if len(identity) <= head + tail + 1 else f"{identity[:head]}…{identity[-tail:]}"


def shortened(text: str, limit: int = TEXT_MAX) -> str:
    """Shorten a text at its end, and say how much is left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Write a count with its noun: 1 cause, 4 causes."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def pretty(value: object) -> str:
    """Write a value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def clock_fine(at: dt.datetime) -> str:
    """Write a time of day in UTC with microseconds: 04:00:30.937569."""
    return f"{at.astimezone(dt.UTC):%H:%M:%S.%f}"


FILTERS: Final = {
    "ago": ago,
    "clock": clock,
    "clock_fine": clock_fine,
    "duration": duration,
    "milliseconds": milliseconds,
    "number": number,
    "percent": percent,
    "plain_percent": plain_percent,
    "plural": plural,
    "pretty": pretty,
    "shortened": shortened,
    "shortened_id": shortened_id,
}
