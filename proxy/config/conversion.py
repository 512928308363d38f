"""Convert plain data to a settings type, with errors that name the place, the known fields and the nearest of them. Pure.

msgspec checks every value; on its own it names a table as `$.compare.tables[...]`, a route by its index only, and of a misspelled
field nothing but the spelling. So the document is walked along the type first, one field at a time, and msgspec converts leaves.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import Struct

from proxy.config.document import Unquoted
from proxy.errors import SettingsError

T = TypeVar("T", bound=Struct)

TRUTH: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""The words for truth values in YAML 1.1, which a variable may hold as well."""

_LABELS: Final = ("name", "path")
"""Members that name an item of a list, in errors."""


def convert(document: Mapping[str, Any], kind: type[T], *, place: str = "") -> T:
    """Return the settings that a document holds.

    Args:
        document: plain data, from `read_document`.
        kind: the type of the settings.
        place: the document's own path in the file, e.g. `compare`; "" is the whole file.

    Raises:
        SettingsError: a field is unknown, missing or wrong; the message begins with its place, e.g. `routes[3] (v2_score).sample`.
    """
    return msgspec.convert(_value(document, kind, place), kind)


def _value(value: Any, kind: Any, place: str) -> Any:
    """Return `value` as msgspec takes it for `kind`: checked, and typed where it is `Unquoted`."""
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin, arguments = get_origin(bare), get_args(bare)
    if origin in (Union, UnionType):
        nested = next((one for one in arguments if _is_struct(one)), None)
        return _value(value, nested, place) if nested and isinstance(value, dict) else _leaf(value, kind, place)
    if _is_struct(bare):
        return _struct(_expected(value, dict, "a mapping", place), bare, place)
    if origin is dict:
        members = cast("dict[str, Any]", _expected(value, dict, "a mapping", place))
        return {name: _value(member, arguments[1], f"{place}.{name}") for name, member in members.items()}
    if origin is tuple:
        items = cast("list[Any]", _expected(value, list, "a list", place))
        return [_value(item, arguments[0], f"{place}[{index}]{_label(item)}") for index, item in enumerate(items)]
    return _leaf(value, kind, place)


def _struct(members: Mapping[str, Any], kind: type[Struct], place: str) -> dict[str, Any]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in members:
        if name not in fields:
            known = ", ".join(sorted(fields))
            raise SettingsError(
                f"{place or 'the file'}: unknown field `{name}`{_nearest(name, fields)}. Known fields: {known}"
            )
    for name, field in fields.items():
        if field.required and name not in members:
            raise SettingsError(f"{place or 'the file'}: the field `{name}` is missing")
    return {
        name: _value(value, fields[name].type, f"{place}.{name}" if place else name) for name, value in members.items()
    }


def _nearest(text: str, known: Sequence[str] | Mapping[str, object]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 (slow to import, and only for an error)

    near = get_close_matches(text, known, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _leaf(value: Any, kind: Any, place: str) -> Any:
    """Return a value that is neither a section nor a collection, once it is of type `kind`."""
    choices = _choices(kind)
    if value is False and "off" in choices:
        # (without quotes, YAML 1.1 reads it as false)
        value = "off"
    if isinstance(value, Unquoted):
        value = _typed(value, kind)
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if choices and isinstance(value, str):
            names = ", ".join(choices)
            raise SettingsError(f"{place}: `{value}` is not one of {names}{_nearest(value, choices)}") from error
        raise SettingsError(f"{place}: {_reason(error, value)}") from error
    return value


def _typed(text: str, kind: Any) -> Any:
    """Return the number or truth value that a text stands for where the field takes one, else the text."""
    text = str(text)
    if _fits(text, kind):
        return text
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        truth = TRUTH.get(text.lower())
        return truth if truth is not None and _fits(truth, kind) else text


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _reason(error: msgspec.ValidationError, value: Any) -> str:
    message = re.sub(r" - at `\$`$", "", str(error))
    message = message[0].lower() + message[1:].replace("object", "mapping").replace("array", "list")
    if isinstance(value, bool | int | float) and "got" not in message:
        message += f", got {value}"
    if isinstance(value, str):
        # (a text is not shown, it may be a secret)
        return message + ("; write it without quotes" if _number(value) and "got `str`" in message else "")
    quotable = isinstance(value, bool | int | float | date)
    return message + ("; write it in quotes" if quotable and message.startswith("expected `str`,") else "")


def _number(text: str) -> bool:
    return bool(re.fullmatch(r"[-+]?[0-9.]+", text)) or text.lower() in TRUTH


def _expected(value: Any, kind: type, description: str, place: str) -> Any:
    if not isinstance(value, kind):
        what = "nothing" if value is None else f"`{type(value).__name__}`"
        raise SettingsError(f"{place or 'the file'}: expected {description}, got {what.replace('Unquoted', 'str')}")
    return value


def _label(item: object) -> str:
    """Return ` (v2_score)` for a list's item of that name, "" for one without a name."""
    if not isinstance(item, dict):
        return ""
    members = cast("dict[str, Any]", item)
    label = next((members[name] for name in _LABELS if isinstance(members.get(name), str)), "")
    return f" ({label})" if label else ""


def _choices(kind: Any) -> list[str]:
    """Return the values of an enumeration, [] for another type."""
    return [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)
