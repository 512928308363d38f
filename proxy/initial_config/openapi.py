"""Read the operations of an OpenAPI document, version 2 or 3. Pure.

Only names are read: paths, methods, parameters, members of bodies and responses. References (`$ref`) inside of the document are followed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

import yaml

from proxy.errors import SettingsError
from proxy.initial_config.operations import ApiOperation

METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
DEPTH_MAX: Final = 6
"""Levels of members that are read; schemas may contain themselves."""
TEXT_MAX: Final = 16 * 1024**2
_NAME: Final = re.compile(r"\{([^}]*)\}")

Document = Mapping[str, Any]


def operations_of(text: str) -> tuple[ApiOperation, ...]:
    """Return the operations of a document in JSON or YAML.

    Raises:
        SettingsError: it is not an OpenAPI document.
    """
    if len(text) > TEXT_MAX:
        raise SettingsError(f"an OpenAPI document of more than {TEXT_MAX} characters is not read")
    try:
        document: Any = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(f"neither JSON nor YAML: {error}") from error
    root = _mapping(document)
    if "paths" not in root or not ("openapi" in root or "swagger" in root):
        raise SettingsError("not an OpenAPI document: it has no `openapi` or `swagger`, or no `paths`")
    return tuple(_operations(root))


def _operations(root: Document) -> Iterator[ApiOperation]:
    prefix = _prefix(root)
    for path, item in _mapping(root["paths"]).items():
        shared = _resolved(root, item)
        for method in METHODS:
            operation = _mapping(shared.get(method))
            if operation:
                yield _operation(root, prefix + _template(str(path)), method, shared, operation)


def _operation(root: Document, template: str, method: str, shared: Document, operation: Document) -> ApiOperation:
    parameters = [_resolved(root, one) for item in (shared, operation) for one in _list(item.get("parameters"))]
    bodies = [one for one in parameters if one.get("in") == "body"] + _contents(root, operation.get("requestBody"))
    responses = [_resolved(root, one) for one in _mapping(operation.get("responses")).values()]
    answers = [one for one in responses if "schema" in one]
    answers += [content for one in responses for content in _contents(root, one)]
    return ApiOperation(
        method=method.upper(),
        template=template,
        query=_names(parameters, "query"),
        headers=frozenset(name.lower() for name in _names(parameters, "header")),
        members=frozenset(path for body in bodies for path in _members(root, body.get("schema"), "", 0)),
        claims=frozenset({"sub"}) if _has_bearer_token(root, operation) else frozenset(),
        response_members=frozenset(
            path.rpartition(".")[2] for answer in answers for path in _members(root, answer.get("schema"), "", 0)
        ),
    )


def _prefix(root: Document) -> str:
    if "swagger" in root:
        return str(root.get("basePath") or "").rstrip("/")
    servers = [_mapping(server) for server in _list(root.get("servers"))]
    url = str(servers[0].get("url") or "") if servers else ""
    try:
        path = "" if "{" in url else urlsplit(url).path
    except ValueError:
        # (a document may say anything: `http://[::1` is no URL)
        path = ""
    return path.rstrip("/")


def _template(path: str) -> str:
    """Return a path with names of parameters that a route may have: `{customer-id}` becomes `{customer_id}`."""
    template = _NAME.sub(lambda name: "{" + re.sub(r"\W", "_", name[1]).strip("_") + "}", path)
    return template if template.startswith("/") else f"/{template}"


def _names(parameters: list[Document], place: str) -> frozenset[str]:
    return frozenset(str(one["name"]) for one in parameters if one.get("in") == place and "name" in one)


def _contents(root: Document, body: object) -> list[Document]:
    """Return the JSON contents of a request body or a response of version 3."""
    contents = _mapping(_resolved(root, body).get("content"))
    return [_mapping(content) for kind, content in contents.items() if "json" in str(kind)]


def _members(root: Document, schema: object, path: str, depth: int) -> Iterator[str]:
    """Yield the dotted path of each member; elements of arrays have the path of the array."""
    if depth > DEPTH_MAX:
        return
    resolved = _resolved(root, schema)
    for part in ("allOf", "oneOf", "anyOf"):
        for one in _list(resolved.get(part)):
            yield from _members(root, one, path, depth + 1)
    if "items" in resolved:
        yield from _members(root, resolved["items"], path, depth + 1)
    for name, member in _mapping(resolved.get("properties")).items():
        place = f"{path}.{name}" if path else str(name)
        yield place
        yield from _members(root, member, place, depth + 1)


def _has_bearer_token(root: Document, operation: Document) -> bool:
    """Tell whether the operation takes a bearer token that may be a JSON Web Token."""
    components = _mapping(root.get("components"))
    schemes = {**_mapping(root.get("securityDefinitions")), **_mapping(components.get("securitySchemes"))}
    wanted = operation["security"] if "security" in operation else root.get("security")
    names = {name for one in _list(wanted) for name in _mapping(one)}
    return any(
        str(scheme.get("scheme", "")).lower() == "bearer" or scheme.get("type") in ("oauth2", "openIdConnect")
        for scheme in (_resolved(root, schemes.get(name)) for name in names)
    )


def _resolved(root: Document, node: object) -> Document:
    """Return the mapping that a node is or refers to, empty for anything else. At most eight references are followed."""
    for _ in range(8):
        mapping = _mapping(node)
        reference = mapping.get("$ref")
        if not isinstance(reference, str):
            return mapping
        node = root
        for part in reference.removeprefix("#/").split("/"):
            node = _mapping(node).get(part.replace("~1", "/").replace("~0", "~"))
    return {}


def _mapping(node: object) -> dict[str, Any]:
    return cast("dict[str, Any]", node) if isinstance(node, dict) else {}


def _list(node: object) -> list[Any]:
    return cast("list[Any]", node) if isinstance(node, list) else []
