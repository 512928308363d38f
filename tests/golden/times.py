"""Moves the recording's times to this run's clock.

Pure. A recorded time that is "now" or "an earlier now" becomes the time of this run that lies as far after the start of the
scenario as the recorded one did; what is left is the tolerance. Every other time is compared exactly.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

MOVING = frozenset({"now", "earlier_now"})
TOLERANCE_MS = 120_000
"""Recorded steps lie up to a few seconds apart and ours run faster; a wrong hour, day or offset is far outside."""

_MILLISECONDS_Z = re.compile(r"\.\d{3}Z\Z")


def moved(document: Any, volatile: dict[str, str], offset: timedelta) -> Any:
    """A copy of the recorded step with its moving times put on this run's clock."""
    copy = deepcopy(document)
    for pointer, how in volatile.items():
        if how not in MOVING:
            continue
        holder, last = _holder(copy, pointer)
        if holder is not None and isinstance(holder[last], str):
            holder[last] = shifted(holder[last], offset)
    return copy


def shifted(text: str, offset: timedelta) -> str:
    """The time `text` plus `offset`, in the style of `text` (milliseconds and Z, or isoformat)."""
    when = datetime.fromisoformat(text) + offset
    if not _MILLISECONDS_Z.search(text):
        return when.isoformat()
    utc = when.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def value_at(document: Any, pointer: str) -> Any:
    """What a JSON pointer names, None when there is nothing."""
    holder, last = _holder(document, pointer)
    return holder[last] if holder is not None else None


def replaced(document: Any, pointer: str, value: Any) -> None:
    """Put `value` at a JSON pointer of `document`, when the place exists."""
    holder, last = _holder(document, pointer)
    if holder is not None:
        holder[last] = value


def parts_of(pointer: str) -> list[str]:
    """The reference tokens of a JSON pointer (RFC 6901)."""
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
