"""GET /openapi.json: describe the API from the route table, the body schemas and `operations`.

Paths, path parameters and authentication come from the route table, request bodies from the schemas that parse them, so neither can
differ from what is served. `operations` adds the rest: summaries, query parameters and the shapes of responses.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiohttp import web
from pydantic_core import core_schema

from scorer.api.auth import Auth
from scorer.api.operations import COMPONENTS, OPERATIONS, Operation
from scorer.api.responses import FIXED_HEADERS

_PARAMETER = re.compile(r"\{(\w+)(?::([^}]+))?\}")
_DIGITS = "[0-9]+"

_SECURITY_SCHEMES: Mapping[str, Any] = {
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key; the second word of Authorization is read too.",
    },
    "internalToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The token of the internal endpoints, bare.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}
_SCHEME_OF_AUTH = {
    Auth.KEY_ASYNC: "apiKey",
    Auth.KEY_SYNC: "apiKey",
    Auth.INTERNAL: "internalToken",
    Auth.TOKEN: "bearer",
}
_PLAIN_TYPES: Mapping[str, Mapping[str, str]] = {
    "any": {},
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "dict": {"type": "object"},
}
_ERROR = {"$ref": "#/components/schemas/Error"}
_INVALID = {"$ref": "#/components/schemas/ValidationFailure"}


class DescribedRoute(Protocol):
    """The part of a route that the description reads."""

    @property
    def method(self) -> str:
        """The HTTP method, upper case."""
        ...

    @property
    def path(self) -> str:
        """The path, with parameters as `{name}` or `{name:pattern}`."""
        ...

    @property
    def auth(self) -> Auth:
        """The route's authentication."""
        ...


@dataclass(frozen=True, slots=True)
class OpenApiRoute:
    """The route of the description itself, which no table of routes can list without importing in a circle."""

    method: str = "GET"
    path: str = "/openapi.json"
    auth: Auth = Auth.NONE


OPENAPI_ROUTE = OpenApiRoute()


def handler_of(routes: Sequence[DescribedRoute]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler of `OPENAPI_ROUTE`, which describes `routes` and itself."""
    body = b""

    async def handler(_request: web.Request) -> web.Response:
        nonlocal body
        # Built by the first request: processes start faster without it.
        body = body or json.dumps(document([*routes, OPENAPI_ROUTE])).encode()
        headers = {**FIXED_HEADERS, "Content-Type": "application/json; charset=utf-8"}
        return web.Response(body=body, headers=headers)

    return handler


def document(routes: Iterable[DescribedRoute]) -> dict[str, Any]:
    """Build the OpenAPI 3.1 document of these routes.

    Raises:
        KeyError: `operations` does not describe a route.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = OPERATIONS[route.method, shape_of(route.path)]
        paths.setdefault(template_of(route.path), {})[route.method.lower()] = _operation(route, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Passport scorer",
            "version": "1",
            "description": "Scores of addresses by their verified stamps.",
        },
        "paths": paths,
        "components": {"schemas": COMPONENTS, "securitySchemes": _SECURITY_SCHEMES},
    }


def template_of(path: str) -> str:
    """Return the path with bare parameter names."""
    return _PARAMETER.sub(lambda match: f"{{{match[1]}}}", path)


def shape_of(path: str) -> str:
    """Return the path with anonymous parameters, the key of `operations`."""
    return _PARAMETER.sub("{}", path)


def _operation(route: DescribedRoute, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _operation_id(route),
        "tags": [operation.tag],
        "parameters": [*_path_parameters(route.path, operation), *operation.query],
        "responses": _responses(route, operation),
    }
    if operation.deprecated:
        described["deprecated"] = True
    if operation.body is not None:
        content = {"application/json": {"schema": json_schema(operation.body.payload)}}
        described["requestBody"] = {"required": True, "content": content}
    scheme = _SCHEME_OF_AUTH.get(route.auth)
    if scheme:
        described["security"] = [{scheme: []}]
    return described


def _operation_id(route: DescribedRoute) -> str:
    parts = re.findall(r"\w+", template_of(route.path))
    ending = ["slash"] if route.path.endswith("/") else []
    return "_".join([route.method.lower(), *parts, *ending])


def _path_parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name, pattern, operation)}
        for name, pattern in _PARAMETER.findall(path)
    ]


def _path_schema(name: str, pattern: str, operation: Operation) -> dict[str, Any]:
    if pattern == _DIGITS or name in operation.integers:
        return {"type": "integer", **({"minimum": 0} if pattern == _DIGITS else {})}
    return {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}


def _responses(route: DescribedRoute, operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {str(operation.status): _success(operation)}
    if route.auth is not Auth.NONE:
        responses["401"] = _json("Authentication failed.", _ERROR)
    if operation.body is not None or operation.query or operation.integers:
        responses["422"] = _json("A parameter or field is missing or of the wrong type.", _INVALID)
    if operation.body is not None:
        responses["400"] = _json("The body is not JSON.", _ERROR)
    for status, meaning in operation.failures.items():
        responses[str(status)] = _json(meaning, _ERROR)
    return dict(sorted(responses.items()))


def _success(operation: Operation) -> dict[str, Any]:
    if operation.response is None:
        return {"description": "Success; the body is plain text or empty."}
    return _json("Success.", operation.response)


def _json(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def json_schema(shape: core_schema.CoreSchema) -> dict[str, Any]:
    """Translate a body's pydantic-core schema into JSON Schema, for the kinds of schema that the API's bodies use.

    Raises:
        ValueError: a kind of schema that is not translated yet.
    """
    known = cast("dict[str, Any]", shape)
    match known["type"]:
        case plain if plain in _PLAIN_TYPES:
            return dict(_PLAIN_TYPES[plain])
        case "enum":
            return {"enum": [str(member) for member in known["members"]]}
        case "nullable":
            return {"anyOf": [json_schema(known["schema"]), {"type": "null"}]}
        case "list":
            return {"type": "array", "items": json_schema(known["items_schema"])}
        case "function-before":
            return json_schema(known["schema"])
        case "typed-dict":
            return _object(known["fields"])
        case kind:
            raise ValueError(f"no JSON Schema for a pydantic-core schema of type {kind!r}")


def _object(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: json_schema(field["schema"]) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field["required"]],
    }
