"""Reads JSON without losing anything that a comparison may turn on.

Pure. Decimals and big integers keep every digit, an integer stays apart from a decimal, repeated member names are kept
(`Repeated`), NaN and the infinities are values (`NonFinite`).
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from comparator.exchanges.json_values import NonFinite, Repeated


class InvalidJsonError(ValueError):
    """The text is no JSON at all; the message says why."""


DEPTH_MAX: Final = 128
"""Levels of nesting that are read; whoever walks a document later may recurse."""
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_NO_MARKS: Final = bytes(set(range(256)) - set(b"[{:"))
_UNSURE: Final = object()
_fast: Final = msgspec.json.Decoder(float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder()


def parse(text: bytes) -> object:
    """Read one JSON document.

    A fast decoder reads it first. It drops all but the last of repeated members, which is noticed by writing what was read
    and counting colons in both texts: every member has one, and those inside strings stay (unless one is written as an escape), so
    equal counts mean that nothing was dropped. Everything else goes to the slow, exact reader.

    Raises:
        InvalidJsonError: the text is not JSON, not UTF-8/16/32, nested beyond DEPTH_MAX, or has a number whose
            exponent no decimal holds.
    """
    # Looked at before it is read: readers recurse on the C stack, and a library may have raised Python's limit for it.
    marks = text.translate(None, _NO_MARKS)
    colons = marks.count(b":")
    if len(marks) - colons > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        raise InvalidJsonError("nested too deeply")
    value = _parse_fast(text, colons)
    return _parse_slowly(text) if value is _UNSURE else value


def _depth(text: bytes) -> int:
    """How deep arrays and objects are nested, counted in the text outside of strings."""
    deepest = depth = 0
    for bracket in _STRINGS.sub(b"", text).translate(None, delete=_NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _parse_fast(text: bytes, colons: int) -> object:
    """What the fast decoder reads, _UNSURE when it reads nothing or may have dropped a member."""
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


def _parse_slowly(text: bytes) -> object:
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
