"""Path, query and body read into values, refused in pydantic's words: the only module that knows pydantic-core.

Observed of the legacy: `detail` is a list of {"type", "loc", "msg"[, "ctx"]}, `loc` starts with "path", "query" or "body", "payload";
the request's Content-Type is ignored; a body that is no JSON is another error than an empty one; what is no object counts as an
empty object.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

from aiohttp import web
from pydantic_core import SchemaValidator, core_schema
from pydantic_core import ValidationError as CoreValidationError

from scorer import errors

_INT = core_schema.int_schema()
_DEPTH_MAX = 500
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
# A number that no id reaches.
BEYOND_IDS = 10**19
_BOOL = core_schema.bool_schema()
_OPTIONAL_INT = core_schema.nullable_schema(_INT)


def path_int(request: web.Request, name: str) -> int:
    """A whole number in the path; "1.0", " 1" and "+1" are 1, as pydantic reads text.

    Raises:
        ValidationError: anything else.
    """
    return _value("path", name, _INT, request.match_info[name])


def path_id(request: web.Request, name: str) -> int:
    """An id from a segment that the route takes only as digits; whatever no column can hold is BEYOND_IDS."""
    digits = request.match_info[name].lstrip("0")
    return int(digits or "0") if len(digits) < len(str(BEYOND_IDS)) else BEYOND_IDS


def query_int(request: web.Request, name: str, default: int) -> int:
    """A whole number in the query.

    Raises:
        ValidationError: it is there and no number.
    """
    raw = _last(request, name)
    return default if raw is None else _value("query", name, _INT, raw)


def query_flag(request: web.Request, name: str) -> bool:
    """A true or false in the query, false without it.

    Raises:
        ValidationError: it is there and neither.
    """
    raw = _last(request, name)
    return False if raw is None else _value("query", name, _BOOL, raw)


def query_text(request: web.Request, name: str) -> str:
    """A text that must be in the query; it may be empty.

    Raises:
        ValidationError: it is not there.
    """
    raw = _last(request, name)
    if raw is None:
        raise errors.ValidationError([{"type": "missing", "loc": ["query", name], "msg": "Field required"}])
    return raw


def optional_query_text(request: web.Request, name: str, default: str = "") -> str:
    """A text that may be in the query."""
    raw = _last(request, name)
    return default if raw is None else raw


@dataclass(frozen=True, slots=True)
class BodySchema:
    """How one kind of body is read; `payload` is the same as data, for the API's description."""

    payload: core_schema.CoreSchema
    validator: SchemaValidator


def body_schema(payload: core_schema.CoreSchema) -> BodySchema:
    """The schema of a body whose one parameter is called payload, as all of the API's are."""
    field = core_schema.typed_dict_field(payload, required=True)
    return BodySchema(payload, SchemaValidator(core_schema.typed_dict_schema({"payload": field})))


def object_schema(fields: Mapping[str, core_schema.TypedDictField]) -> core_schema.CoreSchema:
    """An object; what is no object counts as an empty one, unknown fields are ignored."""
    inner = core_schema.typed_dict_schema(dict(fields))
    return core_schema.no_info_before_validator_function(_as_object, inner)


def required(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
    """A field that must be there."""
    return core_schema.typed_dict_field(schema, required=True)


def optional(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
    """A field that may be missing; it is then missing in the result too."""
    return core_schema.typed_dict_field(schema, required=False)


async def body(request: web.Request, schema: BodySchema) -> Any:
    """The body's payload, as `schema` (made by `body_schema`) reads it.

    Raises:
        BodyTooLargeError: over the cap.
        BodyUnreadableError: no JSON.
        ValidationError: empty, or not of the schema.
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
    """The JSON of a body.

    json follows any nesting down until the stack overruns and the process dies, because a library raises the interpreter's
    recursion limit when it is loaded; so the depth is looked at first.
    """
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    if text.count("[") + text.count("{") > _DEPTH_MAX and _depth(text) > _DEPTH_MAX:
        raise ValueError("nested too deep")
    return json.loads(text)


def _depth(text: str) -> int:
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)


def _last(request: web.Request, name: str) -> str | None:
    # Django keeps every value of a repeated parameter and hands out the last one.
    values = request.query.getall(name, [])
    return values[-1] if values else None


def _value(place: str, name: str, schema: core_schema.CoreSchema, raw: str) -> Any:
    field = core_schema.typed_dict_field(schema, required=True)
    return _validated(place, SchemaValidator(core_schema.typed_dict_schema({name: field})), {name: raw})[name]


def _validated(place: str, schema: SchemaValidator, data: object) -> Any:
    try:
        return schema.validate_python(data)
    except CoreValidationError as error:
        items = error.errors(include_url=False, include_input=False)
        raise errors.ValidationError([_item(place, dict(item)) for item in items]) from error


def _item(place: str, item: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"type": item["type"], "loc": [place, *item["loc"]], "msg": item["msg"]}
    return {**shown, "ctx": item["ctx"]} if "ctx" in item else shown


def _as_object(value: object) -> object:
    return cast("object", value) if isinstance(value, dict) else {}
