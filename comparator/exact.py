"""Reads JSON without losing anything that a comparison may turn on.

Pure. Decimals and big integers keep every digit, an integer stays apart from a decimal, repeated member names are kept
(`Repeated`), NaN and the infinities are values (`NonFinite`).
"""

# Decoded JSON is of any type: pyright cannot know it and the code asks for it at every step.
# pyright: reportUnknownVariableType=false

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from comparator.difference import NonFinite, Repeated


class InvalidJsonError(ValueError):
    """The text is no JSON at all; the message says why."""


_fast: Final = msgspec.json.Decoder(float_hook=Decimal)
_SPACE_BEFORE_COLON: Final = re.compile(rb'"[ \t\r\n]+:')


def parse(text: bytes) -> object:
    """Read one JSON document.

    A fast decoder reads it first. It drops all but the last of repeated members, which is noticed by counting: without
    white space before a colon, `":` occurs at least once for each member written, so as many occurrences as members read
    means that none was dropped and no string contains `":`. Everything else goes to the slow, exact reader.

    Raises:
        InvalidJsonError: the text is not JSON, not UTF-8/16/32, or nested beyond the interpreter's depth.
    """
    try:
        value: object = _fast.decode(text)
        if text.count(b'":') == _members(value) and not _SPACE_BEFORE_COLON.search(text):
            return value
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    return _parse_slowly(text)


def _members(value: object) -> int:
    """How many members all objects of the document have together."""
    count = 0
    open_values: list[Any] = [value]
    while open_values:
        item = open_values.pop()
        kind = type(item)
        if kind is dict:
            count += len(item)
            open_values.extend([v for v in item.values() if type(v) is dict or type(v) is list])
        elif kind is list:
            open_values.extend([v for v in item if type(v) is dict or type(v) is list])
    return count


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
