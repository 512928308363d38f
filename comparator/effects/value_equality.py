"""Equality of two column values given as PostgreSQL's text output, by the column's type.

Pure. The texts are known to differ when a predicate of this module is called. `1.10` and `1.1` are one `numeric` value and two
`text` values; `0` and `-0` are one `double precision`; `{1.0,2}` and `{1,2}` are one `numeric[]`. For a type whose output form is
unique for each value (text, uuid, bytea, enum, date, range, ...) two different texts are two values. Where PostgreSQL calls
different texts equal and this module does not (`interval` '1 mon' and '30 days', composite types), the stricter answer is meant:
both sides stored something else.
Source: PostgreSQL documentation, "Data Types"; format_type() for the names.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

from comparator.rules.actions import EpochUnit, moment_of

ArrayItem: TypeAlias = "str | tuple[ArrayItem, ...] | None"
ValueEquality = Callable[[str, str], bool]
"""Tells whether two different texts are the same value."""

_MODIFIER: Final = re.compile(r"\([^)]*\)")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z", re.ASCII)
_EXACT_NUMBERS: Final = frozenset(("smallint", "integer", "bigint", "numeric", "oid"))
_FLOATS: Final = frozenset(("real", "double precision"))
_JSON: Final = frozenset(("json", "jsonb"))
ARRAY_DIMENSIONS_MAX: Final = 6
"""PostgreSQL's limit (MAXDIM)."""


def is_json(type_name: str) -> bool:
    """Return whether the column holds JSON documents, which are compared by structure."""
    return plain_type(type_name) in _JSON


def is_text(type_name: str) -> bool:
    """Return whether the column holds characters; the configuration may declare that these are a JSON document."""
    return plain_type(type_name) in ("text", "character varying", "character", "name", "citext")


def is_time(type_name: str) -> bool:
    """Return whether the column holds points in time, whose distance can be limited."""
    return plain_type(type_name) in ("timestamp with time zone", "timestamp without time zone", "date")


def counts_time(type_name: str, unit: EpochUnit) -> bool:
    """Return whether the column can hold the time since 1970 in this unit; a `real` has too few digits for either."""
    plain = plain_type(type_name)
    return plain in ("bigint", "numeric", "double precision") or (plain == "integer" and unit is EpochUnit.SECONDS)


def plain_type(type_name: str) -> str:
    """Return the type without its modifier: `numeric` for `numeric(10,2)`."""
    return _MODIFIER.sub("", type_name)


def equality_of(type_name: str) -> ValueEquality:
    """Return the predicate for a type, named as format_type() does (a domain by its base type)."""
    plain = plain_type(type_name)
    if plain.endswith("[]"):
        element = equality_of(plain.removesuffix("[]"))
        return lambda left, right: _same_array(left, right, element)
    if plain in _EXACT_NUMBERS:
        return _same_number
    if plain in _FLOATS:
        return _same_float
    if plain == "timestamp with time zone":
        return _same_instant
    return _never


def _never(_left: str, _right: str) -> bool:
    return False


def _same_number(left: str, right: str) -> bool:
    if not (_NUMBER.match(left) and _NUMBER.match(right)):
        return False  # NaN and Infinity have one spelling each
    try:
        return Decimal(left) == Decimal(right)
    except InvalidOperation:
        return False


def _same_float(left: str, right: str) -> bool:
    return bool(_NUMBER.match(left) and _NUMBER.match(right)) and float(left) == float(right)


def _same_instant(left: str, right: str) -> bool:
    instant = moment_of(left)
    return instant is not None and instant == moment_of(right)


def _same_array(left: str, right: str, element: ValueEquality) -> bool:
    try:
        return _same_elements(parse_array(left), parse_array(right), element)
    except ValueError:
        return False


def _same_elements(left: ArrayItem, right: ArrayItem, element: ValueEquality) -> bool:
    if isinstance(left, tuple) and isinstance(right, tuple):
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(_same_elements(a, b, element) for a, b in pairs)
    if isinstance(left, str) and isinstance(right, str):
        return left == right or element(left, right)
    return left is None and right is None


def parse_array(text: str) -> tuple[ArrayItem, ...]:
    """Parse the text output of an array into nested tuples of texts, None for NULL.

    `{1,NULL,"a,b"}` is `("1", None, "a,b")`; `[0:1]={1,2}` keeps its bounds as the first element, for they are part of the value.

    Raises:
        ValueError: the text is not an array.
    """
    bounds, equals, body = text.partition("=") if text.startswith("[") else ("", "", text)
    items, end = _array(body, 0, 1)
    if end != len(body):
        raise ValueError("text after the end of an array")
    return ((bounds,), items) if equals else items


def _array(text: str, at: int, depth: int) -> tuple[tuple[ArrayItem, ...], int]:
    if at >= len(text) or text[at] != "{" or depth > ARRAY_DIMENSIONS_MAX:
        raise ValueError("not an array")
    if text[at + 1 : at + 2] == "}":
        return (), at + 2
    items: list[ArrayItem] = []
    while True:
        at += 1
        if text[at : at + 1] == "{":
            item, at = _array(text, at, depth + 1)
        elif text[at : at + 1] == '"':
            item, at = _quoted(text, at + 1)
        else:
            item, at = _bare(text, at)
        items.append(item)
        separator = text[at : at + 1]
        if separator == "}":
            return tuple(items), at + 1
        if separator != ",":
            raise ValueError("an element that does not end")


def _bare(text: str, at: int) -> tuple[str | None, int]:
    end = at
    while end < len(text) and text[end] not in ",}":
        end += 1
    value = text[at:end]
    return (None if value == "NULL" else value), end


def _quoted(text: str, at: int) -> tuple[str, int]:
    characters: list[str] = []
    while at < len(text):
        character = text[at]
        if character == '"':
            return "".join(characters), at + 1
        if character == "\\":
            at += 1
            character = text[at : at + 1]
        characters.append(character)
        at += 1
    raise ValueError("a quoted element that does not end")
