"""Move recorded times to this run's clock.

Pure. A recorded time that is marked "now" or "earlier_now" is moved so that it has the same distance from the start of the
scenario in this run; the rest is the tolerance. All other times are compared exactly.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

MOVING = frozenset({"now", "earlier_now"})
TOLERANCE_MS = 120_000
"""Recorded steps are up to a few seconds apart and ours run faster; a wrong hour, day or offset is far outside."""

_MILLISECONDS_Z = re.compile(r"\.\d{3}Z\Z")


def moved(document: Any, volatile: dict[str, str], offset: timedelta) -> Any:
    """Return a copy of the recorded step with its volatile times moved to this run's clock."""
    copy = deepcopy(document)
    for pointer, how in volatile.items():
        if how not in MOVING:
            continue
        holder, last = _holder(copy, pointer)
        if holder is not None and isinstance(holder[last], str):
            holder[last] = shifted(holder[last], offset)
    return copy


def shifted(text: str, offset: timedelta) -> str:
    """Return the time `text` plus `offset` in the format of `text` (milliseconds and Z, or isoformat)."""
    when = datetime.fromisoformat(text) + offset
    if not _MILLISECONDS_Z.search(text):
        return when.isoformat()
    utc = when.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def value_at(document: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer, None if it does not exist."""
    holder, last = _holder(document, pointer)
    return holder[last] if holder is not None else None


def replaced(document: Any, pointer: str, value: Any) -> None:
    """Set the value at a JSON pointer of `document` if it exists."""
    holder, last = _holder(document, pointer)
    if holder is not None:
        holder[last] = value


def parts_of(pointer: str) -> list[str]:
    """Return the reference tokens of a JSON pointer (RFC 6901)."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _holder(document: Any, pointer: str) -> tuple[Any, Any]:
    parts: Sequence[str] = parts_of(pointer)
    for part in parts[:-1]:
        document = _child(document, part)
    last: Any = int(parts[-1]) if isinstance(document, list) else parts[-1]
    if isinstance(document, list):
        return (document, last) if last < len(document) else (None, last)
    return (document, last) if isinstance(document, dict) and last in document else (None, last)


def _child(document: Any, part: str) -> Any:
    if isinstance(document, list):
        return document[int(part)] if int(part) < len(document) else None
    return document.get(part) if isinstance(document, dict) else None
