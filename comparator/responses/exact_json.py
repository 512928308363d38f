"""Parse JSON without losing anything that a comparison may depend on. Pure.

Decimals and big integers keep every digit, `1` is an integer and `1.0` a decimal, repeated member names are kept (`Repeated`), and NaN and
the infinities are values (`NonFinite`).
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from comparator.exchanges.json_values import NonFinite, Repeated


class InvalidJsonError(ValueError):
    """The text is not JSON; the message has the reason."""


DEPTH_MAX: Final = 128
"""Deepest nesting that is parsed, so that code which walks a document may recurse."""
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_NO_MARKS: Final = bytes(set(range(256)) - set(b"[{:"))
_UNSURE: Final = object()
_fast: Final = msgspec.json.Decoder(float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder()


def parse(text: bytes) -> object:
    """Parse one JSON document.

    A fast decoder parses it first. It silently drops all but the last of repeated members. That is detected by encoding the result again
    and counting colons in both texts: each member has one, and colons inside of strings are kept (unless written as an escape).

        {"a": 1, "b": "x:y"}   encoded again {"a":1,"b":"x:y"}: 3 colons and 3, nothing was dropped
        {"a": 1, "a": 2}       encoded again {"a":2}: 2 colons and 1, so the exact parser is used

    Everything that the fast decoder does not accept goes to the exact parser too.

    Raises:
        InvalidJsonError: the text is not JSON, not in UTF-8, UTF-16 or UTF-32, nested beyond DEPTH_MAX, or contains a number whose
            exponent is out of a decimal's range.
    """
    # Check the depth before parsing: parsers recurse on the C stack, and a library may have raised Python's recursion limit.
    marks = text.translate(None, _NO_MARKS)
    colons = marks.count(b":")
    if len(marks) - colons > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        raise InvalidJsonError(f"nested more than {DEPTH_MAX} levels deep")
    value = _parse_fast(text, colons)
    return _parse_exactly(text) if value is _UNSURE else value


def _depth(text: bytes) -> int:
    """Return the depth of nested arrays and objects, counted in the text outside of strings."""
    deepest = depth = 0
    for bracket in _STRINGS.sub(b"", text).translate(None, delete=_NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _parse_fast(text: bytes, colons: int) -> object:
    """Parse with the fast decoder; return _UNSURE when it fails or may have dropped a member."""
    try:
        value: object = _fast.decode(text)
        written = _encoder.encode(value)
        if written == text:
            return value
        if colons == written.count(b":") and (b"\\" not in text or b"\\u003" not in text):
            return value
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        return _UNSURE
    return _UNSURE


def _parse_exactly(text: bytes) -> object:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=NonFinite, object_pairs_hook=_object_of_pairs)
    except (ValueError, ArithmeticError) as error:
        raise InvalidJsonError(str(error)) from error
    except RecursionError as error:
        raise InvalidJsonError("nested too deeply") from error


def _object_of_pairs(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    all_values: dict[str, list[object]] = {}
    for name, value in pairs:
        all_values.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else Repeated(tuple(values)) for name, values in all_values.items()}
