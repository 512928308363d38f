"""Represent JSON values that Python has no type for, and write any value down as text. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Final, cast


class Absent(Enum):
    """The absence of a value at a place. JSON null is a value, so None cannot stand for it."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Repeated:
    """The values of a member name that occurs more than once in one JSON object, in order: `{"a": 1, "a": 2}`."""

    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class NonFinite:
    """NaN, Infinity or -Infinity. Python's `json` writes them, although JSON has no such numbers."""

    name: str


@dataclass(frozen=True, slots=True)
class Digest:
    """A body or document that was compared as a whole: its SHA-256 (hex) and its length in bytes."""

    sha256: str
    bytes: int

    def __str__(self) -> str:
        return f"sha256:{self.sha256[:16]}… ({self.bytes} bytes)"


def digest_of(body: bytes) -> Digest:
    """Return the digest of a body."""
    return Digest(sha256(body).hexdigest(), len(body))


@dataclass(frozen=True, slots=True)
class TruncatedBody:
    """A body of which at least one side recorded only the beginning.

    Attributes:
        bytes: length of the recorded part.
        truncated: whether this side's body was longer than what was recorded.
        prefix_equal: whether both recorded parts agree as far as the shorter one goes.
    """

    bytes: int
    truncated: bool
    prefix_equal: bool

    def __str__(self) -> str:
        note = "equal up to the cut" if self.prefix_equal else "different before the cut"
        return f"{self.bytes} bytes{' (truncated)' if self.truncated else ''}, {note}"


def value_text(value: object) -> str:
    """Write a value as JSON text: `1.50` keeps its zero, ABSENT is "", a repeated member is `repeated(1, 2)`.

    The text of `Repeated` and `NonFinite` values is not JSON; it is meant for people and is never parsed.
    """
    if value is ABSENT:
        return ""
    return _write(value)


def _write(value: object) -> str:
    match value:
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case Decimal() | int():
            return str(value)
        case str():
            return json.dumps(value, ensure_ascii=not value.isprintable())
        case Mapping():
            members = cast("Mapping[str, object]", value)
            return "{" + ", ".join(f"{json.dumps(name)}: {_write(item)}" for name, item in members.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_write, cast("Sequence[object]", value))) + "]"
        case Repeated(values):
            return "repeated(" + ", ".join(_write(item) for item in values) + ")"
        case NonFinite(name):
            return name
        case bytes():
            return json.dumps(value.decode("utf-8", "backslashreplace"))
        case _:
            return json.dumps(str(value))


def shortened(text: str, limit: int) -> str:
    """Cut a text to `limit` characters and append how many are missing: `abc… (97 more characters)`."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
