"""TODO."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Final, cast


class Absent(Enum):
    """The value of the role that has nothing at a place (JSON null is a value)."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Repeated:
    """What a JSON object has under a member name that occurs more than once, in order."""

    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class NonFinite:
    """NaN, Infinity or -Infinity, which Python writes into JSON although no JSON number may be one."""

    name: str


@dataclass(frozen=True, slots=True)
class Digest:
    """A body or document compared as a whole: its SHA-256 (hex) and length in bytes."""

    sha256: str
    bytes: int

    def __str__(self) -> str:
        return f"sha256:{self.sha256[:16]}… ({self.bytes} bytes)"


def digest_of(body: bytes) -> Digest:
    """Name a body by its content."""
    return Digest(sha256(body).hexdigest(), len(body))


def value_text(value: object) -> str:
    """Write a value as JSON text, numbers digit by digit as they are; absent is "" and a repeated member lists its values.

    Text that is no JSON (`NaN`, repeated members) is for people, and never read back.
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
    """At most `limit` characters, saying how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
