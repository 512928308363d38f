"""Parse path, query and body parameters with pydantic-core, reporting errors in its words.

Observed of the legacy: `detail` is a list of {"type", "loc", "msg"[, "ctx"]}, `loc` starts with "path", "query" or "body", "payload";
the request's Content-Type is ignored; a body that is not JSON is another error than an empty one; a value that is not an object counts
as an empty object.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Literal, TypeVar, cast, overload

from aiohttp import web
from pydantic_core import SchemaValidator, core_schema
from pydantic_core import ValidationError as CoreValidationError

from scorer import errors

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

_INT = core_schema.int_schema()
_DEPTH_MAX = 500
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
# Greater than any id that a bigint column can hold.
BEYOND_IDS = 10**19
_BOOL = core_schema.bool_schema()
_Kind = Literal["int", "bool"]
_SCHEMAS: Mapping[_Kind, core_schema.CoreSchema] = {"int": _INT, "bool": _BOOL}


@overload
def together(first: Callable[[], T], second: Callable[[], U], /) -> tuple[T, U]: ...
@overload
def together(first: Callable[[], T], second: Callable[[], U], third: Callable[[], V], /) -> tuple[T, U, V]: ...
def together(*reads: Callable[[], Any]) -> tuple[Any, ...]:
    """Parse several parameters and report the errors of all of them, in the order of the arguments.

    Observed of the legacy: path, query and body are parsed before anything is refused, each with its parameters in the order in which
    the endpoint declares them.

    Raises:
        ValidationError: one of them is invalid; its items are those of all that are.
    """
    values: list[Any] = []
    items: list[dict[str, Any]] = []
    for read in reads:
        try:
            values.append(read())
        except errors.ValidationError as error:
            items += error.items
    if items:
        raise errors.ValidationError(items)
    return tuple(values)


def path_int(request: web.Request, name: str) -> int:
    """Parse an integer in the path; "1.0", " 1" and "+1" are 1, as pydantic reads text.

    Raises:
        ValidationError: the value is not an integer.
    """
    return _value("path", name, "int", request.match_info[name])


def path_id(request: web.Request, name: str) -> int:
    """Parse an id in a segment that the route restricts to digits; a number that no column can hold is BEYOND_IDS."""
    digits = request.match_info[name].lstrip("0")
    return int(digits or "0") if len(digits) < len(str(BEYOND_IDS)) else BEYOND_IDS


def query_int(request: web.Request, name: str, default: int) -> int:
    """Parse an optional integer in the query.

    Raises:
        ValidationError: the value is not an integer.
    """
    raw = _last(request, name)
    return default if raw is None else _value("query", name, "int", raw)


def query_flag(request: web.Request, name: str) -> bool:
    """Parse an optional boolean in the query, False by default.

    Raises:
        ValidationError: the value is not a boolean.
    """
    raw = _last(request, name)
    return False if raw is None else _value("query", name, "bool", raw)


def query_text(request: web.Request, name: str) -> str:
    """Return a required text in the query; it may be empty.

    Raises:
        ValidationError: the parameter is missing.
    """
    raw = _last(request, name)
    if raw is None:
        raise errors.ValidationError([{"type": "missing", "loc": ["query", name], "msg": "Field required"}])
    return raw


def optional_query_text(request: web.Request, name: str, default: str = "") -> str:
    """Return an optional text in the query."""
    raw = _last(request, name)
    return default if raw is None else raw


@dataclass(frozen=True, slots=True)
class BodySchema:
    """The parser of one kind of body; `payload` is its schema, for the API's description."""

    payload: core_schema.CoreSchema
    validator: SchemaValidator


def body_schema(payload: core_schema.CoreSchema) -> BodySchema:
    """Build the schema of a body; its one parameter is called payload, as in all of the API's."""
    field = core_schema.typed_dict_field(payload, required=True)
    return BodySchema(payload, SchemaValidator(core_schema.typed_dict_schema({"payload": field})))


def object_schema(fields: Mapping[str, core_schema.TypedDictField]) -> core_schema.CoreSchema:
    """Build the schema of an object; any other value counts as an empty object, and unknown fields are ignored."""
    inner = core_schema.typed_dict_schema(dict(fields))
    return core_schema.no_info_before_validator_function(_as_object, inner)


def required(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
    """Make a field required."""
    return core_schema.typed_dict_field(schema, required=True)


def optional(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
    """Make a field optional; a missing one is missing in the result too."""
    return core_schema.typed_dict_field(schema, required=False)


async def body(request: web.Request, schema: BodySchema) -> Any:
    """Read the body and parse its payload by `schema` (made by `body_schema`).

    Raises:
        BodyTooLargeError: the body exceeds the size limit.
        BodyUnreadableError: the body is not JSON.
        ValidationError: the body is empty or violates the schema.
    """
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise errors.BodyTooLargeError from error
    data: dict[str, Any] = {}
    if raw:
        try:
            data["payload"] = _parsed(raw)
        except ValueError as error:
            raise errors.BodyUnreadableError from error
    return _validated("body", schema.validator, data)["payload"]


def _parsed(raw: bytes) -> Any:
    """Decode the JSON of a body.

    A library raises the interpreter's recursion limit when it is loaded, after which json would follow a deep nesting until the
    stack overflows and the process dies. So the depth is checked first.
    """
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    if text.count("[") + text.count("{") > _DEPTH_MAX and _depth(text) > _DEPTH_MAX:
        raise ValueError("nested too deeply")
    return json.loads(text)


def _depth(text: str) -> int:
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)


def _last(request: web.Request, name: str) -> str | None:
    # Django returns the last value of a repeated parameter.
    values = request.query.getall(name, [])
    return values[-1] if values else None


def _value(location: str, name: str, kind: _Kind, raw: str) -> Any:
    return _validated(location, _field_validator(name, kind), {name: raw})[name]


@cache
def _field_validator(name: str, kind: _Kind) -> SchemaValidator:
    field = core_schema.typed_dict_field(_SCHEMAS[kind], required=True)
    return SchemaValidator(core_schema.typed_dict_schema({name: field}))


def _validated(location: str, schema: SchemaValidator, data: object) -> Any:
    try:
        return schema.validate_python(data)
    except CoreValidationError as error:
        items = error.errors(include_url=False, include_input=False)
        raise errors.ValidationError([_item(location, dict(item)) for item in items]) from error


def _item(location: str, item: Mapping[str, Any]) -> dict[str, Any]:
    reported = {"type": item["type"], "loc": [location, *item["loc"]], "msg": item["msg"]}
    return {**reported, "ctx": item["ctx"]} if "ctx" in item else reported


def _as_object(value: object) -> object:
    return cast("object", value) if isinstance(value, dict) else {}
